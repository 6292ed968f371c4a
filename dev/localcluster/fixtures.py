"""pytest fixtures: `control_plane` and `node_cluster`, both for the whole session. And a hook for a test that failed.

Under pytest-xdist every worker has a control plane of its own. There is one cluster with a node, and workers would take
turns, each for the whole of its session: its tests belong in one process.

Where the machine cannot (no root, no Go), tests are skipped with one line that says why; with CI=true or
LONGSHORE_FAIL_ON_SKIP=1 they fail with that line instead.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from localcluster import cluster, diagnosis, instances, kind, machine
from localcluster.access import Access
from localcluster.cluster import NodeAccess
from localcluster.errors import MachineCannot


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Access]:
    """A real API server with its controllers and no node, ready in seconds."""
    with a_control_plane() as access:
        yield access


@contextmanager
def a_control_plane() -> Iterator[Access]:
    """Run one for the length of a block: for a test that changes what others on the session's rely on."""
    with ExitStack() as stack:
        with skipped_where_impossible():
            access = stack.enter_context(instances.control_plane_instance())
        yield access


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[NodeAccess]:
    """The cluster with a node and the product's image loaded, one session at a time.

    A cluster that is up already (`make cluster`) is used and left up; otherwise it comes up for this session, tied to
    it, and goes down at its end.
    """
    with skipped_where_impossible():
        if not kind.usable():
            machine.require(machine.missing_for_node())
    with cluster.held():
        there_before = cluster.running() is not None
        try:
            yield cluster.up(tied=True)
        finally:
            if not there_before:
                cluster.down()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the cluster's state beside a failure of a test on the node, while it is still there."""
    report = yield
    if report.failed and "node_cluster" in getattr(item, "fixturenames", ()):
        report.sections.append(("the local cluster", diagnosis.of_the_cluster()))
    return report


@contextmanager
def skipped_where_impossible() -> Iterator[None]:
    """Skip the test where the block raises MachineCannot; fail it where skipping is not allowed."""
    try:
        yield
    except MachineCannot as error:
        if _skips_are_failures():
            pytest.fail(f"cannot run here, and skipping is not allowed: {error}", pytrace=False)
        pytest.skip(str(error))


def _skips_are_failures() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"} or os.environ.get("LONGSHORE_FAIL_ON_SKIP") == "1"
