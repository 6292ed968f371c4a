"""The whole content of a Redis as one value: to seed it, act once, and compare everything, unchanged keys included."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import redis

Value: TypeAlias = bytes | list[bytes] | set[bytes] | dict[bytes, bytes] | dict[bytes, float]

KeySpace: TypeAlias = dict[str, Any]
"""Key to value: str or bytes (string), list (list), set (set), dict of bytes or str (hash), dict of numbers (zset)."""


def read_keyspace(client: redis.Redis) -> KeySpace:
    """Everything in the client's database. Strings and members are bytes, scores are floats."""
    names = list(dict.fromkeys(client.scan_iter(count=1000)))
    # in two round trips, whatever their number: tests read it after each step
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.type(name)
        kinds = pipe.execute()
        for name, kind in zip(names, kinds, strict=True):
            _READERS[kind](pipe, name)
        values = pipe.execute()
    return {
        name.decode(): dict(value) if kind == b"zset" else value
        for name, kind, value in zip(names, kinds, values, strict=True)
    }


def read_lifetimes(client: redis.Redis) -> dict[str, int]:
    """When each key that has a lifetime expires, in Unix seconds."""
    times = {key.decode(): _expires_at_s(client, key) for key in client.scan_iter(count=1000)}
    return {key: time for key, time in times.items() if time >= 0}


def _expires_at_s(client: redis.Redis, key: bytes) -> int:
    try:
        return int(client.expiretime(key.decode()))
    except redis.ResponseError:  # Redis 6
        left = int(client.pttl(key))
        return left if left < 0 else round(time.time() + left / 1000)


def seed_keyspace(client: redis.Redis, content: Mapping[str, Any]) -> None:
    """Write ``content`` (the shape of read_keyspace; text may stand for bytes). Other keys stay."""
    for key, value in content.items():
        if isinstance(value, dict):
            if all(isinstance(score, (int, float)) for score in value.values()):
                client.zadd(key, value)
            else:
                client.hset(key, mapping=value)
        elif isinstance(value, list):
            client.rpush(key, *value)
        elif isinstance(value, (set, frozenset)):
            client.sadd(key, *value)
        else:
            client.set(key, value)


_READERS: Mapping[Any, Any] = {
    b"string": lambda client, key: client.get(key),
    b"list": lambda client, key: client.lrange(key, 0, -1),
    b"set": lambda client, key: client.smembers(key),
    b"hash": lambda client, key: client.hgetall(key),
    b"zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
}
