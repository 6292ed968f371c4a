"""A pool's PodDisruptionBudget on a real API server with its disruption controller.

Proved, with the operator as a process that has only the rights of rbac.py: it is made, followed, put back, made again,
and removed; one of its name that is somebody else's is left alone; an eviction is refused beyond it.
"""

from __future__ import annotations

from typing import Any

import pytest

from handlers.harness import KINDS, Namespace, OperatorProcess, Refused, broker, pool
from handlers.waiting import eventually, stays

pytestmark = pytest.mark.cluster


def budget(namespace: Namespace) -> dict[str, Any] | None:
    return namespace.get("PodDisruptionBudget", "crew-worker")


def allowed(namespace: Namespace) -> Any:
    """What the budget says about missing workers; None when there is no budget."""
    return ((budget(namespace) or {}).get("spec") or {}).get("maxUnavailable")


def test_a_budget_follows_its_pool(namespace: Namespace, operator: OperatorProcess, redis_url: str) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", replicas=2, disruption={}))
    made = eventually(lambda: budget(namespace), lambda now: now is not None)
    assert made is not None
    assert made["spec"]["maxUnavailable"] == 1
    assert made["metadata"]["ownerReferences"][0]["name"] == "crew"
    # The controller has found the pods through the Deployment: a selector or an owner that is wrong gives no count.
    eventually(lambda: (budget(namespace) or {}).get("status", {}).get("expectedPods"), 2)

    namespace.patch("WorkerPool", "crew", {"spec": {"disruption": {"maxUnavailable": "50%"}}})
    eventually(lambda: allowed(namespace), "50%")
    assert (budget(namespace) or {})["metadata"]["uid"] == made["metadata"]["uid"]
    generation = (budget(namespace) or {})["metadata"]["generation"]
    stays(lambda: (budget(namespace) or {})["metadata"]["generation"], generation, for_s=3)

    namespace.patch("PodDisruptionBudget", "crew-worker", {"spec": {"maxUnavailable": 5}}, manager="kubectl-edit")
    eventually(lambda: allowed(namespace), "50%")
    event = eventually(lambda: namespace.events("crew", "EditUndone"), lambda found: len(found) == 1)[0]
    assert "crew-worker: put back what kubectl-edit edited: spec.maxUnavailable." in event["message"]

    namespace.delete("PodDisruptionBudget", "crew-worker")
    again = eventually(lambda: budget(namespace), lambda now: now is not None)
    assert (again or {})["metadata"]["uid"] != made["metadata"]["uid"]

    namespace.patch("WorkerPool", "crew", {"spec": {"replicas": 1}})
    eventually(lambda: budget(namespace), None)
    namespace.patch("WorkerPool", "crew", {"spec": {"replicas": 2}})
    eventually(lambda: budget(namespace), lambda now: now is not None)
    namespace.patch("WorkerPool", "crew", {"spec": {"disruption": None}})
    eventually(lambda: budget(namespace), None)


def test_a_budget_of_our_name_that_is_not_ours_is_left_alone_and_the_pool_works(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    theirs = {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "crew-worker"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "theirs"}}},
    }
    before = namespace.apply(theirs)
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", autoscaling={"maxReplicas": 4}, disruption={}))
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("False", "NameConflict"))
    assert "PodDisruptionBudget crew-worker" in namespace.message("WorkerPool", "crew")
    assert namespace.replicas("crew-worker") == 0
    assert (budget(namespace) or {})["spec"] == before["spec"]

    namespace.delete("PodDisruptionBudget", "crew-worker")
    eventually(lambda: allowed(namespace), 1, within_s=60)
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("True", "ScaledToZero"))


def test_a_budget_that_the_api_server_refuses_is_told_and_the_pool_works(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    quota = {"hard": {"count/poddisruptionbudgets.policy": "0"}}
    namespace.apply({"kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": quota})
    eventually(lambda: (namespace.get("ResourceQuota", "none") or {}).get("status", {}).get("hard"), quota["hard"])
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", autoscaling={"maxReplicas": 4}, disruption={}))
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("False", "DisruptionBudgetRefused"))
    assert "exceeded quota" in namespace.message("WorkerPool", "crew")
    namespace.patch("WorkerPool", "crew", {"spec": {"autoscaling": {"minReplicas": 3}}})
    eventually(lambda: namespace.replicas("crew-worker"), 3)

    namespace.delete("ResourceQuota", "none")
    eventually(lambda: allowed(namespace), 1, within_s=60)
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("False", "WorkersStarting"))


def test_an_eviction_beyond_the_budget_is_refused(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", replicas=3, disruption={"maxUnavailable": 1}))
    names = [pod["metadata"]["name"] for pod in eventually(lambda: namespace.list("Pod"), lambda now: len(now) == 3)]
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    for name in names:  # there is no kubelet that would say so
        namespace.patch("Pod", name, {"status": {"phase": "Running", "conditions": [ready]}}, subresource="status")
    eventually(lambda: (budget(namespace) or {}).get("status", {}).get("disruptionsAllowed"), 1)

    def evict(name: str) -> None:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        namespace.request("POST", KINDS["Pod"].path(namespace.name, name, "eviction"), body)

    evict(names[0])
    with pytest.raises(Refused, match="disruption budget"):
        evict(names[1])
