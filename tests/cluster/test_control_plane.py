"""The local control plane: what its clients get, and that it leaves nothing behind.

Proves: it is a real API server whose controllers work; its audit log holds writes, and reads of service accounts alone;
several live side by side; it ends with its owner however that ends, and the next one sweeps what is left.
Leaves out: anything that needs a node (see test_node.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from handlers.waiting import eventually
from localcluster import instances, paths
from localcluster.access import Access
from localcluster.errors import ClusterError
from localcluster.processes import ProcessFolder

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nowhere.invalid/web}]}
"""


def test_a_deployment_gets_its_pods_and_loses_them_when_it_is_deleted(control_plane: Access) -> None:
    def pods() -> list[str]:
        return control_plane.kubectl("get", "pods", "--namespace", namespace, "--output", "name").split()

    with control_plane.namespace() as namespace:
        control_plane.apply(DEPLOYMENT, namespace=namespace)
        eventually(lambda: len(pods()), 2, within_s=120)
        control_plane.kubectl("delete", "deployment", "web", "--namespace", namespace)
        eventually(pods, [], within_s=120)


def test_a_namespace_is_gone_after_its_block(control_plane: Access) -> None:
    with control_plane.namespace() as namespace:
        control_plane.apply(DEPLOYMENT, namespace=namespace)
    eventually(lambda: control_plane.kubectl("get", "namespace", namespace, "--ignore-not-found"), "", within_s=120)


def test_the_audit_log_names_who_wrote_what_and_holds_no_reads_of_people(control_plane: Access) -> None:
    def entries() -> list[dict[str, object]]:
        return [json.loads(line) for line in control_plane.audit_log.read_text().splitlines()]

    with control_plane.namespace() as namespace:
        control_plane.kubectl("get", "pods", "--namespace", namespace)
    ours = [
        (entry["verb"], entry["user"]["username"], entry["objectRef"]["resource"])  # type: ignore[index]
        for entry in entries()
        if entry.get("objectRef", {}).get("name") == namespace  # type: ignore[attr-defined]
    ]
    assert ("create", "admin", "namespaces") in ours
    assert {verb for verb, *_ in ours} <= {"create", "update", "patch", "delete", "deletecollection"}


def test_someone_without_rights_is_refused(control_plane: Access) -> None:
    with pytest.raises(ClusterError, match="forbidden"):
        control_plane.kubectl("get", "secrets", "--as", "nobody")


def test_a_second_control_plane_lives_beside_the_first(control_plane: Access) -> None:
    with instances.control_plane_instance() as other, other.namespace("only-here") as namespace:
        assert namespace in other.kubectl("get", "namespaces")
        assert namespace not in control_plane.kubectl("get", "namespaces")


def test_two_runs_in_a_row_leave_no_process_and_no_folder() -> None:
    for _ in range(2):
        with instances.control_plane_instance() as access:
            processes = ProcessFolder(access.folder).all()
            assert [process.name for process in processes] == ["etcd", "kube-apiserver", "kube-controller-manager"]
            assert all(process.running() for process in processes)
        assert not any(process.running() for process in processes)
        assert not access.folder.exists()


OWNER = """
import sys, time
from localcluster import instances
with instances.control_plane_instance() as access:
    print(access.folder, flush=True)
    time.sleep(600)
"""


def test_a_killed_owner_takes_its_control_plane_along_and_the_next_run_sweeps_the_rest() -> None:
    search_path = os.pathsep.join([str(paths.REPOSITORY / "dev"), os.environ.get("PYTHONPATH", "")])
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], env={**os.environ, "PYTHONPATH": search_path}, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        folder = Path(owner.stdout.readline().strip())
        processes = ProcessFolder(folder).all()
        assert len(processes) == 3
        owner.send_signal(signal.SIGKILL)
    eventually(lambda: [process.name for process in processes if process.running()], [], within_s=120)
    assert folder.exists()
    instances.sweep()
    assert not folder.exists()


def test_a_living_owner_is_not_swept(control_plane: Access) -> None:
    instances.sweep()
    assert "default" in control_plane.kubectl("get", "namespaces")
