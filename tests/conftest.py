"""Fixtures for every test: a real Redis, started once a session and empty at each test's start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from go_peer import GoPeer, build_peer
from localcluster.fixtures import control_plane, node_cluster
from longshore.testing import RedisServer

__all__ = ["control_plane", "go_peer", "node_cluster", "redis_client", "redis_server", "redis_url"]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The session's Redis. A test that stops or freezes one starts its own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A plain client of ``redis_url``, to look at bytes and to write them."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def go_peer(tmp_path_factory: pytest.TempPathFactory) -> GoPeer:
    """Asynq's own library. Its tests carry the marker ``go``."""
    return build_peer(tmp_path_factory.mktemp("peer"))
