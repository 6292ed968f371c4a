"""The scale subresource of a WorkerPool: `kubectl scale`, and a HorizontalPodAutoscaler with its own controller.

The controller acts on a count outside its bounds without asking for a metric, so there is no metrics server here.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from handlers.harness import KINDS, Namespace, OperatorProcess, broker, pool
from handlers.waiting import eventually, stays
from longshore_operator.cluster.resources import WORKER_POOLS

pytestmark = pytest.mark.cluster


def scale(namespace: Namespace, replicas: int) -> None:
    command = ("scale", "workerpool/crew", f"--replicas={replicas}", "--namespace", namespace.name)
    namespace.access.kubectl(*command)


def autoscaler(low: int, high: int) -> dict[str, Any]:
    target = {"apiVersion": "longshore.dev/v1alpha1", "kind": "WorkerPool", "name": "crew"}
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "crew"},
        "spec": {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high},
    }


def test_kubectl_scale_sets_the_count_and_sees_the_pods(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail"))
    eventually(lambda: namespace.replicas("crew-worker"), 1)
    scale(namespace, 3)
    eventually(lambda: namespace.replicas("crew-worker"), 3)
    path = WORKER_POOLS.path(namespace.name, "crew", "scale")
    told = eventually(lambda: namespace.request("GET", path) or {}, lambda now: now["status"].get("replicas") == 3)
    assert told["spec"]["replicas"] == 3
    selected = namespace.access.kubectl(
        "get", "pods", "--output=name", "--selector", told["status"]["selector"], "--namespace", namespace.name
    )
    assert len(selected.split()) == 3
    columns, row = namespace.access.kubectl("get", "workerpool", "crew", "--namespace", namespace.name).splitlines()
    told_at_a_glance = ["READY", "REASON", "DESIRED", "READY-WORKERS", "BUSY", "BACKLOG", "DECISION", "AGE"]
    assert columns.split() == ["NAME", *told_at_a_glance]
    assert row.split()[:7] == ["crew", "False", "WorkersStarting", "3", "0", "0", "0"]
    scale(namespace, 0)
    eventually(lambda: namespace.replicas("crew-worker"), 0)
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("True", "ScaledToZero"))


@pytest.mark.timeout(300, func_only=True)
def test_a_horizontal_pod_autoscaler_moves_a_pool_without_autoscaling(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    manifest = {"apiVersion": "longshore.dev/v1alpha1", **pool("crew", "mail")}
    namespace.access.apply(yaml.safe_dump(manifest), namespace=namespace.name)
    eventually(lambda: namespace.replicas("crew-worker"), 1)
    namespace.apply(autoscaler(3, 9))
    # The controller looks every 15 s, and for new kinds every 30 s.
    eventually(lambda: namespace.replicas("crew-worker"), 3, within_s=120)
    # Whoever applies the pool again, without a count, leaves the autoscaler's.
    manifest["spec"]["concurrency"] = 7
    namespace.access.apply(yaml.safe_dump(manifest), namespace=namespace.name)
    eventually(lambda: (namespace.get("WorkerPool", "crew") or {})["status"]["observedGeneration"], lambda now: now > 2)
    assert namespace.replicas("crew-worker") == 3
    namespace.apply(autoscaler(1, 2))
    eventually(lambda: namespace.replicas("crew-worker"), 2, within_s=60)


def test_scaling_an_autoscaled_pool_by_hand_changes_nothing_and_says_so(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", autoscaling={"minReplicas": 2, "maxReplicas": 4}))
    eventually(lambda: namespace.replicas("crew-worker"), 2)
    scale(namespace, 9)
    eventually(
        lambda: namespace.message("WorkerPool", "crew", "ScalingActive"),
        lambda now: "spec.replicas, 9, is not used, nor is what `kubectl scale` writes" in now,
    )
    stays(lambda: namespace.replicas("crew-worker"), 2, for_s=3)
    scaled = namespace.request("GET", KINDS["WorkerPool"].path(namespace.name, "crew", "scale"))
    assert scaled is not None
    assert scaled["status"]["replicas"] == 2
