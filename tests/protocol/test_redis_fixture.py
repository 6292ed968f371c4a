"""The Redis that tests run on: its whole content reads back as it was seeded."""

from __future__ import annotations

import redis

from longshore.testing import RedisServer, read_keyspace, seed_keyspace


def test_a_seeded_keyspace_reads_back_the_same(redis_client: redis.Redis) -> None:
    content = {
        "text": b"\xff\x00",
        "list": [b"a", b"b", b"a"],
        "set": {b"x", b"y"},
        "hash": {b"f": b"v"},
        "zset": {b"m": 3.0, b"n": -1.0},
    }
    seed_keyspace(redis_client, content)
    assert read_keyspace(redis_client) == content


def test_each_test_starts_with_an_empty_redis(redis_client: redis.Redis) -> None:
    assert read_keyspace(redis_client) == {}


def test_a_server_comes_back_on_its_own_port_and_empty() -> None:
    with RedisServer() as server:
        first = server.url
        with redis.Redis.from_url(first) as client:
            client.set("k", "v")
        server.stop()
        server.start()
        assert server.url == first
        with redis.Redis.from_url(first) as client:
            assert client.get("k") is None
