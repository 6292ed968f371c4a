"""The one place that decides what kind of Redis a URL means."""

from __future__ import annotations

from datetime import timedelta

from longshore.broker.base import RedisSettings
from longshore.broker.cluster import ClusterConnection
from longshore.broker.connection import RedisConnection
from longshore.broker.node import RedisNode
from longshore.broker.redis_url import Topology, redis_target
from longshore.broker.sentinel import SentinelConnection
from longshore.errors import InvalidOption


def open_redis(settings: RedisSettings) -> RedisConnection:
    """A connection for those settings. Nothing is sent yet. Raises InvalidOption when they cannot be used."""
    target = redis_target(settings)
    if not isinstance(settings.timeout, timedelta):
        raise InvalidOption("redis timeout", f"must be a timedelta, not {type(settings.timeout).__name__}")
    if settings.timeout <= timedelta():
        raise InvalidOption("redis timeout", "must be more than zero")
    match target.topology:
        case Topology.ONE:
            endpoint = target.endpoints[0] if target.endpoints else None
            return RedisNode(target.factory(endpoint), target.address, timeout=settings.timeout)
        case Topology.SENTINEL:
            return SentinelConnection(target, timeout=settings.timeout)
        case Topology.CLUSTER:
            return ClusterConnection(target, timeout=settings.timeout)
