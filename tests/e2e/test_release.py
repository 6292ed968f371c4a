"""The life of a release on a real node, with tasks in flight: install, upgrade, rollback, uninstall, install again.

Proved: `helm test` finds a ready operator; no step replaces, restarts or interrupts a worker or the scheduler, and each
task runs once, also while no operator is installed; what people declared outlives the release, and the next one finds
it. All pods are admitted under the restricted security standard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from handlers.harness import Namespace, broker, periodic_task, pool
from handlers.waiting import eventually
from localcluster import paths
from localcluster.cluster import NodeAccess
from longshore import Client, Inspector, Task
from longshore.testing import RedisServer

pytestmark = [pytest.mark.node, pytest.mark.timeout(500, func_only=True)]

CHART = paths.REPOSITORY / "helm" / "longshore"
CRDS = paths.REPOSITORY / "crds"
HOME = "longshore-release-test"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
APP = """
import asyncio
import longshore

app = longshore.App()

@app.task("wait")
async def wait(payload: dict) -> None:
    await asyncio.sleep(payload["seconds"])

@app.task("report:daily")
async def report() -> None:
    pass
"""
WORKERS = 2
# A machine that runs other tests may starve a container for half a minute; that is not what is tried here.
PATIENT = {"httpGet": {"path": "/livez", "port": "health"}, "timeoutSeconds": 60, "failureThreshold": 30}


@dataclass(frozen=True, kw_only=True)
class Harbour:
    """A namespace with a Redis, and the release beside it."""

    node: NodeAccess
    namespace: Namespace
    url: str  # of the Redis, from this machine
    broker_url: str  # and from pods

    def helm(self, command: str, *more: str) -> str:
        """Run one step of the release, and wait for what it starts."""
        return self.node.helm(command, "longshore", *more, "--namespace", HOME)

    def declare(self) -> None:
        """Two workers, who take no more than one task at a time each, and a scheduler that ticks all the time."""
        self.node.kubectl(
            "create", "configmap", "app", f"--from-literal=app_of_the_test.py={APP}", "-n", self.namespace.name
        )
        scheduler = {"name": "scheduler", "livenessProbe": PATIENT}
        self.namespace.apply(broker(self.broker_url, scheduler={"template": {"spec": {"containers": [scheduler]}}}))
        mounts = [{"name": "app", "mountPath": "/app-of-the-test"}]
        worker = {
            "name": "worker",
            "env": [{"name": "PYTHONPATH", "value": "/app-of-the-test"}],
            "volumeMounts": mounts,
            "livenessProbe": PATIENT,
        }
        template = {"spec": {"volumes": [{"name": "app", "configMap": {"name": "app"}}], "containers": [worker]}}
        self.namespace.apply(
            pool(
                "crew", "default", image="longshore:dev", app="app_of_the_test:app", replicas=WORKERS, concurrency=4,
                template=template,
            )
        )  # fmt: skip
        self.namespace.apply(periodic_task("pulse", "@every 1s", task={"type": "report:daily", "retention": "1h"}))

    def pods(self) -> dict[str, int]:
        """Pods by uid, with how often their container was restarted."""
        return {
            pod["metadata"]["uid"]: sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))
            for pod in self.namespace.list("Pod")
            if "deletionTimestamp" not in pod["metadata"]
        }

    def enqueue(self, *seconds: float) -> None:
        """Tasks that take so long each."""

        async def run() -> None:
            async with Client(self.url) as client:
                await client.enqueue_many(
                    [Task("wait", {"seconds": each}, retention=timedelta(hours=1)) for each in seconds]
                )

        asyncio.run(run())

    def count(self, state: str, task_type: str = "wait") -> int:
        """How many tasks of a type are in a state. Raises AssertionError when any has needed a second attempt."""

        async def run() -> int:
            async with Inspector(self.url) as inspector:
                tasks = await inspector.list_tasks("default", state, size=1000)
            assert [task.message.retried for task in tasks if task.message.retried] == []
            return sum(task.message.type == task_type for task in tasks)

        return asyncio.run(run())

    def operators_log(self) -> str:
        """What the operators that run have logged."""
        return self.node.kubectl(
            "logs", "-l", "app.kubernetes.io/name=longshore-operator", "-n", HOME, "--tail=-1"
        )  # fmt: skip

    def replicas(self) -> int:
        """Give the ready replicas of the operator."""
        path = "--output=jsonpath={.status.readyReplicas}"
        return int(self.node.kubectl("get", "deployment/longshore", "-n", HOME, path))


@pytest.fixture
def harbour(node_cluster: NodeAccess) -> Iterator[Harbour]:
    """Give a cluster without an operator and its definitions; so it is left, too."""
    if "longshore" in node_cluster.kubectl("get", "deployments", "--all-namespaces", "--output=name"):
        pytest.skip("an operator is installed in this cluster; `make cluster-down` first")
    node_cluster.kubectl("delete", "--ignore-not-found", "--filename", CRDS)
    node_cluster.kubectl("create", "namespace", HOME)
    node_cluster.kubectl("label", "namespace", HOME, *(f"{key}={value}" for key, value in RESTRICTED.items()))
    try:
        with (
            RedisServer("--bind", node_cluster.gateway, "127.0.0.1", "--protected-mode", "no") as server,
            node_cluster.namespace("harbour", labels=RESTRICTED) as name,
        ):
            yield Harbour(
                node=node_cluster,
                namespace=Namespace(node_cluster, name),
                url=server.url,
                broker_url=f"redis://{node_cluster.gateway}:{server.port}/0",
            )
    finally:
        node_cluster.helm("uninstall", "longshore", "--namespace", HOME, "--ignore-not-found")
        node_cluster.kubectl("delete", "namespace", HOME, "--wait=false")
        # A Broker that nobody serves any more would hold its definition for ever.
        for place in node_cluster.kubectl(
            "get",
            "brokers",
            "-A",
            "--output=jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{'\\n'}{end}",
        ).splitlines():
            namespace, broker_name = place.split()
            node_cluster.kubectl(
                *("patch", f"broker/{broker_name}", "-n", namespace, "--type=merge"),
                '--patch={"metadata": {"finalizers": null}}',
            )
        node_cluster.kubectl("delete", "--filename", CRDS)


def test_a_release_comes_changes_and_goes_while_tasks_run(harbour: Harbour) -> None:
    values = ("--set", "image.tag=dev", "--set", "image.pullPolicy=Never")
    harbour.helm("install", str(CHART), "--wait", *values)
    assert "Succeeded" in harbour.helm("test")
    assert harbour.replicas() == 2

    harbour.declare()
    eventually(lambda: harbour.namespace.condition("WorkerPool", "crew"), ("True", "WorkersReady"), within_s=120)
    eventually(lambda: harbour.namespace.condition("PeriodicTask", "pulse"), ("True", "OK"), within_s=120)
    crew = harbour.pods()
    assert len(crew) == WORKERS + 1  # and the scheduler
    enqueued = 0

    def step(command: str, *more: str) -> None:
        """Take a step of the release while tasks run and more of them wait."""
        nonlocal enqueued
        batch = [15] * 4 + [0.5] * 40
        harbour.enqueue(*batch)
        enqueued += len(batch)
        eventually(lambda: harbour.count("active") > 0, True)
        done, ticks = harbour.count("completed"), harbour.count("completed", "report:daily")
        harbour.helm(command, *more, "--wait")
        # Work and ticks went on, in the same containers.
        eventually(lambda: harbour.count("completed") > done, True)
        eventually(lambda: harbour.count("completed", "report:daily") > ticks, True)
        assert harbour.pods() == crew

    step(
        *("upgrade", str(CHART), "--reset-then-reuse-values"),
        *("--set", "replicas=1,logLevel=debug,networkPolicy.enabled=true"),
    )
    assert harbour.replicas() == 1
    step("rollback", "1")
    assert harbour.replicas() == 2
    step("uninstall")
    assert harbour.namespace.get("WorkerPool", "crew") is not None
    step("install", str(CHART), *values)

    eventually(lambda: harbour.count("completed"), enqueued, within_s=120)
    assert [harbour.count(state) for state in ("pending", "active", "retry", "archived")] == [0, 0, 0, 0]
    assert harbour.pods() == crew
    # The one before could not give its Lease back, for its rights went with the release.
    eventually(lambda: "leading" in harbour.operators_log(), True, within_s=60)
    assert "forbidden" not in harbour.operators_log()
    harbour.node.kubectl("delete", "workerpools,periodictasks,brokers", "--all", "-n", harbour.namespace.name)
    eventually(harbour.pods, {}, within_s=120)
