"""Fixtures for every test: a real Redis, started once a session and empty at each test's start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from go_peer import GoPeer, build_peer
from localcluster import paths
from localcluster.access import Access
from localcluster.fixtures import control_plane, node_cluster, pytest_runtest_makereport
from longshore.testing import RedisServer

__all__ = [
    "control_plane",
    "go_peer",
    "installed_definitions",
    "node_cluster",
    "pytest_runtest_makereport",
    "redis_client",
    "redis_server",
    "redis_url",
]

# On a new machine they compile for minutes, which is not the time of the test that happens to be the first.
_COMPILING = {"control_plane", "node_cluster", "go_peer", "ask_robfig", "installed", "harness"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the time limit of a test that waits for a compiler count from its call, not from its fixtures."""
    for item in items:
        if not _COMPILING.isdisjoint(getattr(item, "fixturenames", ())) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(180, func_only=True))


@pytest.fixture(scope="session")
def installed_definitions(control_plane: Access) -> Access:
    """A control plane that serves our four kinds. They stay: every test of the session may rely on them."""
    crds = paths.REPOSITORY / "crds"
    control_plane.kubectl("apply", "--server-side", "--filename", crds)
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", crds)
    return control_plane


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
