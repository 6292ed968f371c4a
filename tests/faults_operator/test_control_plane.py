"""What befalls a whole control plane: definitions that are missing, at the start or later, and a restart.

Proved, on a control plane of the test's own and with an operator that a kubelet keeps alive: it waits for definitions
and says so; it outlives the API server's restart and sees what happened meanwhile; with the definitions go the objects
and all that was made for them; when they are back, so is the service, by itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from faults_operator.kubelet import Kubelet
from faults_operator.scene import enqueue, restarted
from handlers.harness import Namespace, OperatorProcess, broker, pool, queue
from handlers.waiting import eventually
from localcluster import paths
from localcluster.access import Access
from localcluster.fixtures import a_control_plane

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
DEFINITIONS = paths.REPOSITORY / "crds"


def install_definitions(access: Access) -> None:
    access.kubectl("apply", "--server-side", "--filename", DEFINITIONS)
    access.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", DEFINITIONS)


def test_missing_definitions_a_restart_of_the_api_server_and_their_deletion_are_outlived(
    tmp_path: Path, redis_url: str
) -> None:
    with a_control_plane() as access, access.namespace("faults") as name:
        namespace = Namespace(access, name)
        operator = OperatorProcess(namespace, tmp_path)
        try:
            with Kubelet(operator).running() as kubelet:
                _lives_through_it_all(access, namespace, operator, kubelet, redis_url)
        finally:
            print(operator.log, file=sys.stderr)


def _lives_through_it_all(
    access: Access, namespace: Namespace, operator: OperatorProcess, kubelet: Kubelet, redis_url: str
) -> None:
    missing = "the custom resource definitions are not installed: brokers, queues, workerpools, periodictasks"
    eventually(lambda: missing in operator.probe()[1], True, within_s=60)
    assert operator.probe("/livez") == (200, "ok\n")
    install_definitions(access)
    operator.wait_leading()
    namespace.apply(broker(redis_url))
    namespace.apply(pool("mail", "mail", autoscaling={"maxReplicas": 9, "targetPerReplica": 1}))
    eventually(lambda: namespace.condition("WorkerPool", "mail"), ("True", "ScaledToZero"))
    assert kubelet.exits == []

    with restarted(access, down_s=2):
        asyncio.run(enqueue(redis_url, "mail", 5))
    eventually(lambda: namespace.replicas("mail-worker"), 5, within_s=60)
    namespace.apply(queue("mail", paused=True))
    eventually(lambda: namespace.condition("Queue", "mail", "Paused"), ("True", "PausedBySpec"))
    eventually(lambda: operator.probe("/livez"), (200, "ok\n"), within_s=60)
    assert kubelet.exits in ([], [1])  # it was away for less than the Lease may wait, or for more

    # Perhaps a definition goes before the operator could let go of the Broker: then that of brokers stays for a while.
    kubelet.exits.clear()
    access.kubectl("delete", "--wait=false", "--filename", DEFINITIONS)
    eventually(lambda: re.search("are not installed: .*workerpools", operator.probe()[1]), bool, within_s=90)
    assert operator.probe("/livez") == (200, "ok\n")
    assert "longshore-operator: the watcher failed: " in operator.log
    eventually(lambda: namespace.replicas("mail-worker"), None, within_s=60)

    eventually(lambda: _installed_for_good(access), True, within_s=90)
    eventually(operator.probe, (200, "ok\n"), within_s=60)
    namespace.apply(broker(redis_url))
    namespace.apply(queue("mail", paused=False))
    namespace.apply(pool("mail", "mail", autoscaling={"maxReplicas": 9, "targetPerReplica": 1}))
    eventually(lambda: namespace.replicas("mail-worker"), 5, within_s=60)
    assert set(kubelet.exits) == {1}
    assert len(kubelet.exits) <= 2  # once more when the definition of brokers went at last
    assert kubelet.complaints == []
    assert "a visit met a defect" not in operator.log


def _installed_for_good(access: Access) -> bool:
    """Install them, as often as it takes: what is applied to a definition that is being deleted goes with it."""
    install_definitions(access)
    listed = json.loads(access.kubectl("get", "crds", "--output", "json"))["items"]
    return len(listed) == 4 and not [each for each in listed if "deletionTimestamp" in each["metadata"]]
