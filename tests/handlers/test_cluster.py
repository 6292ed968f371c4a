"""The operator and the state of the cluster as a whole, on an API server of its own.

Proved: it waits for definitions that come after it; one operator serves all namespaces, each apart from the others; an
API server that is away for a moment is got over; one that is away for longer costs the leader its Lease.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from handlers.harness import REPOSITORY, Namespace, OperatorProcess, broker, pool, queue
from handlers.waiting import eventually, stays
from localcluster.access import Access
from localcluster.fixtures import a_control_plane
from localcluster.processes import ProcessFolder

pytestmark = pytest.mark.cluster


@pytest.fixture
def access() -> Iterator[Access]:
    """A control plane without our definitions."""
    with a_control_plane() as access:
        yield access


@contextmanager
def frozen_api_server(access: Access) -> Iterator[None]:
    """It accepts connections and answers nothing, as one whose machine swaps."""
    (server,) = [each for each in ProcessFolder(access.folder).all() if each.name == "kube-apiserver"]
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_the_operator_meets_a_cluster_as_it_is(access: Access, tmp_path: Path, redis_url: str) -> None:
    with access.namespace("home") as home, access.namespace("one") as one, access.namespace("two") as two:
        operator = OperatorProcess(Namespace(access, home), tmp_path, LONGSHORE_WATCH_NAMESPACE="")
        first, second = Namespace(access, one), Namespace(access, two)
        operator.start()
        try:
            _waits_for_definitions(access, operator)
            _serves_every_namespace(first, second, operator, redis_url)
            _gets_over_a_short_outage(access, first, operator)
            _a_long_outage_ends_leadership(access, first, operator)
        finally:
            operator.kill()
            print(operator.log)


def _waits_for_definitions(access: Access, operator: OperatorProcess) -> None:
    eventually(lambda: "are not installed" in operator.log, True)
    assert operator.probe("/readyz")[0] == 503
    assert operator.probe("/livez")[0] == 200
    access.kubectl("apply", "--server-side", "--filename", REPOSITORY / "crds")
    eventually(lambda: operator.probe("/readyz")[0], 200)


def _serves_every_namespace(first: Namespace, second: Namespace, operator: OperatorProcess, redis_url: str) -> None:
    for namespace in (first, second):
        namespace.apply(broker(redis_url))
        namespace.apply(pool("crew", "mail"))
    second.patch("WorkerPool", "crew", {"spec": {"replicas": 2}})
    eventually(lambda: first.replicas("crew-worker"), 1)
    eventually(lambda: second.replicas("crew-worker"), 2)
    first.delete("Broker", "default")
    eventually(lambda: first.condition("Broker", "default", "InUse"), ("True", "StillUsed"))
    assert "WorkerPool/crew." in first.message("Broker", "default", "InUse")
    second.delete("WorkerPool", "crew")
    second.delete("Broker", "default")
    eventually(lambda: second.get("Broker", "default"), None)
    assert operator.probe("/livez") == (200, "ok\n")


def _gets_over_a_short_outage(access: Access, namespace: Namespace, operator: OperatorProcess) -> None:
    with frozen_api_server(access):
        stays(lambda: operator.probe("/livez")[0], 200, for_s=4)
    namespace.patch("WorkerPool", "crew", {"spec": {"replicas": 3}})
    eventually(lambda: namespace.replicas("crew-worker"), 3)
    assert operator.log.count("leading") == 1


def _a_long_outage_ends_leadership(access: Access, namespace: Namespace, operator: OperatorProcess) -> None:
    with frozen_api_server(access):
        assert operator.wait(60) == 1
    assert "could not be renewed for 10 s" in operator.log.splitlines()[-1]
    assert "Traceback" not in operator.log
    namespace.apply(queue("mail"))
    operator.start()
    eventually(lambda: operator.log.count("leading"), 2, within_s=60)
    eventually(lambda: namespace.condition("Queue", "mail"), ("True", "OK"))
