"""For tests of applications and of Longshore itself: a real Redis, its whole content as a value, and messages.

Everything here talks to a real Redis; there is no in-memory double, because what matters in it are the scripts.
"""

from longshore.testing.keyspace import KeySpace, read_keyspace, read_lifetimes, seed_keyspace
from longshore.testing.messages import new_message
from longshore.testing.queue_content import queue_content
from longshore.testing.redis_cluster import RedisCluster
from longshore.testing.redis_sentinel import RedisSentinel
from longshore.testing.redis_server import RedisServer

__all__ = [
    "KeySpace",
    "RedisCluster",
    "RedisSentinel",
    "RedisServer",
    "new_message",
    "queue_content",
    "read_keyspace",
    "read_lifetimes",
    "seed_keyspace",
]
