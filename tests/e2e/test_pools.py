"""Pools as workloads on a real node: pods of Python and of Go, scaled, evicted and replaced while they run tasks.

Proved: nobody who runs a task is interrupted, by a scale-in, an eviction or a roll-out, and no task is lost; the budget
of a pool holds an eviction back; a Go server in a pool is scaled and spared like a worker of ours; pods with init
containers, sidecars, volumes and variables from ConfigMaps run, and all of it under the restricted security standard.
The operator is a process with the rights of rbac.py. Left out: the chart (test_shop.py).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from handlers.harness import KINDS, Namespace, Refused, broker, pool, running_operator
from handlers.waiting import eventually
from localcluster import paths
from localcluster.cluster import NodeAccess
from longshore import Client, Inspector, Task
from longshore.protocol.snapshots import TaskInfo
from longshore.testing import RedisServer

pytestmark = [pytest.mark.node, pytest.mark.timeout(400, func_only=True)]

GO_WORKER = paths.REPOSITORY / "examples" / "go-worker"
CRDS = paths.REPOSITORY / "crds"
APP = """
import asyncio, os, socket
import longshore

app = longshore.App()
assert os.environ["GREETING"] == "hello"
assert open("/made/by-init").read() == "made"

@app.task("wait")
async def wait(payload: dict) -> str:
    await asyncio.sleep(payload["seconds"])
    return socket.gethostname()
"""


@dataclass(frozen=True, kw_only=True)
class Yard:
    """A namespace on the node with a Broker and an operator."""

    node: NodeAccess
    namespace: Namespace
    url: str  # of the Redis, from this machine

    def enqueue(self, queue: str, *seconds: float) -> None:
        """Tasks that take so long each."""

        async def run() -> None:
            async with Client(self.url) as client:
                tasks = [Task("wait", {"seconds": each}, queue=queue, retention=timedelta(hours=1)) for each in seconds]
                await client.enqueue_many(tasks)

        asyncio.run(run())

    def tasks(self, queue: str, *states: str) -> list[TaskInfo]:
        """The tasks in these states."""

        async def run() -> list[TaskInfo]:
            async with Inspector(self.url) as inspector:
                return [task for state in states for task in await inspector.list_tasks(queue, state, size=1000)]

        return asyncio.run(run())

    def busy_hosts(self, queue: str) -> set[str]:
        """Where tasks of the queue run, as heartbeats tell."""

        async def run() -> set[str]:
            async with Inspector(self.url) as inspector:
                servers = await inspector.servers()
            return {server.info.host for server in servers for worker in server.workers if worker.queue == queue}

        return asyncio.run(run())

    def pods(self, name: str, *, image: str | None = None) -> dict[str, dict[str, Any]]:
        """The pods of a pool (of one image) that are not on their way out, by name."""
        return {
            each["metadata"]["name"]: each
            for each in self.namespace.list("Pod")
            if each["metadata"]["labels"].get("longshore.dev/pool") == name
            and "deletionTimestamp" not in each["metadata"]
            and image in (None, each["spec"]["containers"][0]["image"])
        }

    def ready(self, name: str) -> set[str]:
        """Those of them that are ready."""
        return {
            pod
            for pod, each in self.pods(name).items()
            if any(one["type"] == "Ready" and one["status"] == "True" for one in each["status"].get("conditions", ()))
        }

    def evict(self, pod: str) -> None:
        """As `kubectl drain` does. Raises Refused when a budget forbids it now."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        self.namespace.request("POST", KINDS["Pod"].path(self.namespace.name, pod, "eviction"), body)

    def all_done_at_once(self, queue: str, count: int) -> list[TaskInfo]:
        """Wait until so many tasks are completed, each at its first attempt and none more."""
        eventually(lambda: len(self.tasks(queue, "completed")), count, within_s=120)
        assert self.tasks(queue, "pending", "active", "scheduled", "retry", "archived") == []
        done = self.tasks(queue, "completed")
        assert [task.message.retried for task in done] == [0] * count
        return done


@pytest.fixture(scope="module")
def yard(node_cluster: NodeAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Serve a namespace that admits restricted pods only."""
    try:  # one that another test has uninstalled may take a moment to go
        eventually(lambda: "longshore" in _deployments(node_cluster), False, within_s=30)
    except AssertionError:
        pytest.skip("an operator is installed in this cluster; `make demo-down` or `make cluster-down` first")
    before = node_cluster.kubectl("get", "crd", "--output=name")
    node_cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename", CRDS)
    node_cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", CRDS)
    try:
        with (
            RedisServer("--bind", node_cluster.gateway, "127.0.0.1", "--protected-mode", "no") as server,
            node_cluster.namespace("pools", labels={"pod-security.kubernetes.io/enforce": "restricted"}) as name,
        ):
            namespace = Namespace(node_cluster, name)
            with running_operator(namespace, tmp_path_factory.mktemp("operator")):
                namespace.apply(broker(f"redis://{node_cluster.gateway}:{server.port}/0"))
                yield Yard(node=node_cluster, namespace=namespace, url=server.url)
                # The Broker goes while there is an operator to let it go.
                node_cluster.kubectl("delete", "workerpools,brokers", "--all", "--namespace", name)
    finally:
        if "longshore.dev" not in before:
            node_cluster.kubectl("delete", "--wait=false", "--filename", CRDS)


def _deployments(node: NodeAccess) -> str:
    return node.kubectl("get", "deployments", "--all-namespaces", "--output=name")


def load_go_worker(node: NodeAccess, folder: Path, *versions: str) -> None:
    """Compile the example and load an image of it for each version."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    environment = {**os.environ, "CGO_ENABLED": "0"}
    command = [go, "build", "-C", str(GO_WORKER), "-trimpath", "-o", str(folder / "worker"), "."]
    subprocess.run(command, check=True, timeout=600, env=environment)
    for version in versions:
        node.load_image(GO_WORKER / "Dockerfile", folder, f"go-worker:{version}", {"VERSION": version})


def test_go_servers_are_scaled_evicted_and_replaced_without_interrupting_a_task(yard: Yard, tmp_path: Path) -> None:
    load_go_worker(yard.node, tmp_path, "1", "2")
    autoscaling = {
        "maxReplicas": 4,
        "targetPerReplica": 1,
        "scaleDown": {"stabilization": "1s"},
        "zeroAfter": "1s",
    }
    go = pool(
        "go",
        "go",
        image="go-worker:1",
        concurrency=1,
        drainSeconds=45,
        autoscaling=autoscaling,
        disruption={"maxUnavailable": 1},
    )
    del go["spec"]["app"]
    yard.namespace.apply(go)
    eventually(lambda: yard.namespace.condition("WorkerPool", "go"), ("True", "ScaledToZero"))

    # Up by the backlog; then down to the busy ones, which are known by their own heartbeats.
    yard.enqueue("go", 30, 1, 30, 1)
    eventually(lambda: len(yard.ready("go")), 4, within_s=60)
    eventually(lambda: len(yard.busy_hosts("go")), 2, within_s=60)
    busy = yard.busy_hosts("go")
    eventually(lambda: yard.namespace.replicas("go-worker"), 2, within_s=60)
    assert eventually(lambda: set(yard.pods("go")), lambda now: len(now) == 2) == busy

    # An evicted one finishes its task; the budget lets one go at a time.
    eventually(
        lambda: (yard.namespace.get("PodDisruptionBudget", "go-worker") or {})["status"]["disruptionsAllowed"], 1
    )
    evicted, other = sorted(busy)
    yard.evict(evicted)
    with pytest.raises(Refused, match="disruption budget"):
        yard.evict(other)

    # Another image while tasks come and run.
    yard.namespace.patch("WorkerPool", "go", {"spec": {"image": "go-worker:2"}})
    latest = eventually(lambda: yard.pods("go", image="go-worker:2").keys() & yard.ready("go"), bool, within_s=60)
    yard.enqueue("go", *[2] * 6)
    done = yard.all_done_at_once("go", 10)
    hosts = {(task.result or b"").decode() for task in done}
    assert {evicted, other} <= hosts
    assert latest & hosts, "workers of the new image took tasks"
    eventually(lambda: yard.namespace.condition("WorkerPool", "go", "Progressing"), ("False", "Complete"), within_s=120)
    eventually(lambda: yard.namespace.replicas("go-worker"), 0)


def test_workers_that_crash_replace_none_that_work(yard: Yard, tmp_path: Path) -> None:
    """Without a readiness probe: a pod of theirs is ready for a moment, each time that it starts."""
    load_go_worker(yard.node, tmp_path, "1")
    steady = pool("steady", "steady", image="go-worker:1", replicas=2, rollout={"minReadySeconds": 5})
    del steady["spec"]["app"]
    yard.namespace.apply(steady)
    eventually(lambda: len(yard.ready("steady")), 2, within_s=60)
    eventually(
        lambda: yard.namespace.condition("WorkerPool", "steady", "Progressing"), ("False", "Complete"), within_s=60
    )
    working = yard.ready("steady")
    broken = {"name": "worker", "env": [{"name": "LONGSHORE_CONCURRENCY", "value": "many"}]}
    yard.namespace.patch("WorkerPool", "steady", {"spec": {"template": {"spec": {"containers": [broken]}}}})
    eventually(lambda: yard.namespace.condition("WorkerPool", "steady"), ("False", "WorkersFailing"), within_s=90)
    assert "CrashLoopBackOff" in yard.namespace.message("WorkerPool", "steady")
    assert working <= yard.ready("steady")
    yard.namespace.patch("WorkerPool", "steady", {"spec": {"template": None}})
    eventually(lambda: yard.namespace.condition("WorkerPool", "steady"), ("True", "WorkersReady"), within_s=60)
    assert yard.ready("steady") == working


def test_a_roll_out_under_load_keeps_the_count_and_interrupts_nobody(yard: Yard) -> None:
    namespace = yard.namespace
    yard.node.kubectl(
        "create", "configmap", "app", f"--from-literal=yard_app.py={APP}", "--from-literal=GREETING=hello",
        "--namespace", namespace.name,
    )  # fmt: skip
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    side = {"image": "longshore:dev", "imagePullPolicy": "IfNotPresent", "securityContext": restricted}
    made = {"name": "made", "mountPath": "/made"}
    template: dict[str, Any] = {
        "metadata": {"annotations": {"version": "1"}},
        "spec": {
            "volumes": [{"name": "app", "configMap": {"name": "app"}}, {"name": "made", "emptyDir": {}}],
            "initContainers": [
                {
                    **side,
                    "name": "make",
                    "command": ["python3", "-c", "open('/made/by-init', 'w').write('made')"],
                    "volumeMounts": [made],
                },
                {
                    **side,
                    "name": "beside",
                    "restartPolicy": "Always",
                    "command": ["python3", "-c", "import signal; signal.sigwait([signal.SIGTERM])"],
                },
            ],
            "containers": [
                {
                    "name": "worker",
                    "imagePullPolicy": "IfNotPresent",
                    "env": [
                        {"name": "PYTHONPATH", "value": "/app-of-the-test"},
                        {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "GREETING"}}},
                    ],
                    "volumeMounts": [{"name": "app", "mountPath": "/app-of-the-test"}, made],
                }
            ],
        },
    }
    crew = pool(
        "crew",
        "crew",
        image="longshore:dev",
        app="yard_app:app",
        replicas=2,
        concurrency=2,
        drainSeconds=45,
        rollout={"maxUnavailable": 1, "maxSurge": 0},
        template=template,
    )
    namespace.apply(crew)
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("True", "WorkersReady"), within_s=120)
    eventually(lambda: len(yard.ready("crew")), 2, within_s=60)
    old = set(yard.pods("crew"))

    yard.enqueue("crew", *[8] * 4)
    eventually(lambda: yard.busy_hosts("crew"), old, within_s=60)
    namespace.patch("WorkerPool", "crew", {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}})
    yard.enqueue("crew", *[1] * 8)
    done = yard.all_done_at_once("crew", 12)
    hosts = [(task.result or b"").decode().strip('"') for task in done]
    assert old <= set(hosts)
    assert set(hosts) - old, "workers of the new template took tasks"
    eventually(lambda: len(yard.ready("crew") - old), 2, within_s=60)
    eventually(lambda: namespace.condition("WorkerPool", "crew", "Progressing"), ("False", "Complete"), within_s=120)
    assert namespace.replicas("crew-worker") == 2
