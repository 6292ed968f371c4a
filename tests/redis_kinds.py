"""The kinds of Redis that the tests run on, each with `pytest --redis KIND`. All keep the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

import redis_servers
from longshore.testing import RedisCluster, RedisSentinel, RedisServer

KINDS = ("installed", *redis_servers.SERVERS, "sentinel", "cluster")

AnyRedis = RedisServer | RedisSentinel | RedisCluster


@contextmanager
def started(kind: str) -> Iterator[AnyRedis]:
    """A Redis of that kind; skips the test when it is not to be had."""
    new: dict[str, Any] = {"installed": RedisServer, "sentinel": RedisSentinel, "cluster": RedisCluster}
    with new[kind]() if kind in new else RedisServer(executable=executable(kind)) as server:
        yield server


def executable(name: str) -> str:
    """The binary of another version; skips the test when it is not there."""
    path = redis_servers.server(name)
    if path is None:
        pytest.skip(f"{name} is not there; `make redis-servers` fetches it where it is to be had")
    return str(path)


def plain_client(server: AnyRedis) -> Any:
    """A client that sees the bytes of that Redis."""
    if isinstance(server, RedisCluster):
        return _ClusterClient(host=server.masters[0].host, port=server.masters[0].port)
    return redis.Redis(port=server.master.port if isinstance(server, RedisSentinel) else server.port)


def go_address(server: AnyRedis) -> str:
    """What the Go peer takes for that Redis."""
    if isinstance(server, RedisCluster):
        return "cluster:" + ",".join(f"{node.host}:{node.port}" for node in server.servers)
    if isinstance(server, RedisSentinel):
        nodes = ",".join(f"{node.host}:{node.port}" for node in server.sentinels)
        return f"sentinel:{server.master_name}:{nodes}"
    return f"{server.host}:{server.port}"


class _ClusterClient(redis.RedisCluster):
    """Sees all masters as one Redis, where redis-py's asks just one of them, or answers for each."""

    def keys(self, pattern: str = "*", **_: Any) -> list[bytes]:
        return [*self.scan_iter(pattern, count=1000)]

    def client_list(self, **_: Any) -> list[Any]:
        return [client for some in super().client_list(target_nodes=self.PRIMARIES).values() for client in some]

    def config_resetstat(self, **_: Any) -> None:
        for node in self.get_primaries():
            node.redis_connection.config_resetstat()

    def dbsize(self, **_: Any) -> int:
        return sum(node.redis_connection.dbsize() for node in self.get_primaries())

    def pubsub_channels(self, pattern: str = "*", **_: Any) -> list[bytes]:
        return [name for node in self.get_primaries() for name in node.redis_connection.pubsub_channels(pattern)]

    def pubsub_numsub(self, *channels: str, **_: Any) -> list[tuple[bytes, int]]:
        answers = [dict(node.redis_connection.pubsub_numsub(*channels)) for node in self.get_primaries()]
        return [(name, sum(answer[name] for answer in answers)) for name in answers[0]]

    def info(self, section: str | None = None, **_: Any) -> dict[str, Any]:
        """Numbers are sums."""
        total: dict[str, Any] = {}
        for node in self.get_primaries():
            _add(total, node.redis_connection.info(section))
        return total


def _add(total: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict):
            _add(total.setdefault(name, {}), value)
        elif isinstance(value, (int, float)):
            total[name] = total.get(name, 0) + value
        else:
            total[name] = value
