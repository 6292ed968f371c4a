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
from redis_kinds import KINDS, AnyRedis, plain_client, started

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
_COMPILING = {
    *("control_plane", "node_cluster", "installed"),
    *("go_peer", "asynqmon", "old_peer", "ask_robfig", "harness", "go_worker", "kinds_reader"),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the time limit of a test that waits for a compiler count from its call, not from its fixtures.

    And skip what is about one server where there are several.
    """
    several = config.getoption("--redis") in ("sentinel", "cluster")
    for item in items:
        if several and item.get_closest_marker("one_server"):
            item.add_marker(pytest.mark.skip(reason="is about one server"))
        if not _COMPILING.isdisjoint(getattr(item, "fixturenames", ())) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(180, func_only=True))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have to tell though they pass: fault tests their counts. Also of tests that ran in workers."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call":
                for name, told in report.user_properties:
                    if name == "told":
                        terminalreporter.write_line(str(told))


@pytest.fixture(scope="session")
def installed_definitions(control_plane: Access) -> Access:
    """A control plane that serves our four kinds. They stay: every test of the session may rely on them."""
    crds = paths.REPOSITORY / "crds"
    control_plane.kubectl("apply", "--server-side", "--filename", crds)
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", crds)
    return control_plane


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--redis KIND``"""
    parser.addoption("--redis", choices=KINDS, default="installed", help="the kind of Redis that the tests run on")


@pytest.fixture(scope="session")
def any_redis(request: pytest.FixtureRequest) -> Iterator[AnyRedis]:
    """The session's Redis, of the kind that was asked for."""
    with started(request.config.getoption("--redis")) as server:
        yield server


@pytest.fixture
def redis_server(any_redis: AnyRedis) -> RedisServer:
    """The session's Redis, for what is about one server. A test that stops or freezes one starts its own."""
    if not isinstance(any_redis, RedisServer):
        pytest.skip("is about one server")
    return any_redis


@pytest.fixture
def redis_url(any_redis: AnyRedis) -> str:
    """URL of an empty Redis."""
    with plain_client(any_redis) as client:
        client.flushall()
    return any_redis.url


@pytest.fixture
def redis_client(any_redis: AnyRedis, redis_url: str) -> Iterator[redis.Redis]:
    """A plain client of ``redis_url``, to look at bytes and to write them."""
    with plain_client(any_redis) as client:
        yield client


@pytest.fixture(scope="session")
def go_peer(tmp_path_factory: pytest.TempPathFactory) -> GoPeer:
    """Asynq's own library. Its tests carry the marker ``go``."""
    return build_peer(tmp_path_factory.mktemp("peer"))
