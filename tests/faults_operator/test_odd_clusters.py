"""A cluster where others get in the way: on purpose, by accident, or because it is being torn down.

Proved: what was deleted while no operator ran is gone or made again; owner references and labels that somebody edits,
and pods that only claim to be of a pool, change no count; quotas and policies are told in the API server's words and
asked again at a sane pace; a namespace that is being deleted costs neither a hot loop nor a flood of lines.
Left out: a Deployment of our name that is not ours, and edits of its other fields (the tests of the handlers).
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from faults_operator.api_proxy import ApiProxy, Asked
from faults_operator.scene import enqueue
from handlers.harness import Namespace, OperatorProcess, broker, pool, queue
from handlers.waiting import eventually, stays

pytestmark = pytest.mark.cluster
AUTOSCALING = {"maxReplicas": 9, "targetPerReplica": 1}


def of_deployments(asked: Asked) -> bool:
    return asked.writes and "/deployments" in asked.path


def test_what_others_do_to_owner_references_labels_and_pods_changes_no_count(
    namespace: Namespace, proxy: ApiProxy, behind: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    for name in ("kept", "lost", "left"):
        namespace.apply(pool(name, name, autoscaling=AUTOSCALING))
    behind.start()
    behind.wait_leading()
    for name in ("kept", "lost", "left"):
        asyncio.run(enqueue(redis_url, name, 3))
        eventually(lambda name=name: namespace.replicas(f"{name}-worker"), 3)

    # A pod that says that it is of the pool, and that nobody of it knows.
    claim = namespace.list("Pod")[0]["metadata"]["labels"] | {"longshore.dev/pool": "kept"}
    claim.pop("pod-template-hash")
    container = {"name": "worker", "image": "other:1"}
    namespace.apply({"kind": "Pod", "metadata": {"name": "fake", "labels": claim}, "spec": {"containers": [container]}})
    # Without its owner reference a Deployment is nobody's: it is told, and not taken.
    namespace.patch("Deployment", "lost-worker", {"metadata": {"ownerReferences": None}})
    eventually(lambda: namespace.condition("WorkerPool", "lost"), ("False", "NameConflict"))
    # Labels of the pool and of who manages it are put back.
    away = {"app.kubernetes.io/managed-by": "somebody", "longshore.dev/pool": "nobody"}
    namespace.patch("Deployment", "left-worker", {"metadata": {"labels": away}})
    eventually(
        lambda: (namespace.get("Deployment", "left-worker") or {})["metadata"]["labels"]["longshore.dev/pool"], "left"
    )
    started_at = time.monotonic()
    stays(lambda: [namespace.replicas(f"{name}-worker") for name in ("kept", "lost", "left")], [3, 3, 3], for_s=4)
    assert len(proxy.since(started_at, of_deployments)) <= 2

    # What goes while no operator runs: a Deployment by hand, a pool with its Deployment by owner reference.
    assert behind.stop() == 0
    namespace.delete("Deployment", "kept-worker")
    namespace.delete("WorkerPool", "left")
    eventually(lambda: namespace.replicas("left-worker"), None, within_s=60)
    behind.start()
    eventually(lambda: namespace.replicas("kept-worker"), 3, within_s=60)
    assert namespace.replicas("left-worker") is None
    assert "a visit met a defect" not in behind.log


def test_quotas_and_policies_are_told_in_the_api_servers_words_and_asked_again_at_a_sane_pace(
    namespace: Namespace, proxy: ApiProxy, behind: OperatorProcess, redis_url: str
) -> None:
    rules = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    name = namespace.name
    policy: dict[str, Any] = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["deployments"],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            },
            "validations": [
                {
                    "expression": "!object.metadata.name.startsWith('barred')",
                    "message": "teams name their pools otherwise",
                }
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "2"}},
    }
    namespace.request("POST", f"/api/v1/namespaces/{name}/resourcequotas", quota)
    namespace.request("POST", f"{rules}ies", policy)
    namespace.request("POST", f"{rules}ybindings", binding)
    try:
        namespace.apply(broker(redis_url))
        behind.start()
        behind.wait_leading()
        # A binding takes effect a moment after it is made.
        eventually(lambda: _refused(namespace), True)
        namespace.apply(pool("barred", "barred", autoscaling=AUTOSCALING))
        namespace.apply(pool("many", "many", replicas=5))
        eventually(lambda: namespace.condition("WorkerPool", "barred"), ("False", "InvalidTemplate"))
        assert "teams name their pools otherwise" in namespace.message("WorkerPool", "barred")
        eventually(lambda: namespace.condition("WorkerPool", "many"), ("False", "WorkersFailing"), within_s=60)
        assert "exceeded quota: few" in namespace.message("WorkerPool", "many")
        started_at = time.monotonic()
        asyncio.run(enqueue(redis_url, "barred", 4))  # news about a pool that is refused
        time.sleep(6)
        assert len(proxy.since(started_at, of_deployments)) <= 3
        assert len(namespace.events("barred", "InvalidTemplate")) == 1
    finally:
        namespace.request("DELETE", f"{rules}ybindings/{name}")
        namespace.request("DELETE", f"{rules}ies/{name}")
    # It is tried again by itself, though nobody touches the pool.
    eventually(lambda: namespace.replicas("barred-worker"), 4, within_s=60)


def _refused(namespace: Namespace) -> bool:
    labels = {"app": "barred"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "barred"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "worker", "image": "other:1"}]},
            },
        },
    }
    path = f"/apis/apps/v1/namespaces/{namespace.name}/deployments?dryRun=All"
    try:
        namespace.request("POST", path, deployment)
    except Exception as error:
        return "teams name" in str(error)
    return False


def test_a_namespace_that_is_being_deleted_costs_no_hot_loop_and_no_flood_of_lines(
    namespace: Namespace, proxy: ApiProxy, tmp_path: Path, redis_url: str
) -> None:
    with namespace.access.namespace("doomed") as name:
        doomed = Namespace(namespace.access, name)
        operator = OperatorProcess(namespace, tmp_path, server=proxy.url, LONGSHORE_WATCH_NAMESPACE="")
        operator.start()
        try:
            operator.wait_leading()
            doomed.apply(broker(redis_url))
            for number in range(4):
                doomed.apply(pool(f"crew-{number}", "mail", replicas=1))
                eventually(lambda number=number: doomed.replicas(f"crew-{number}-worker"), 1)
            # Something that keeps the namespace, and a pool in it, from going at once.
            doomed.patch("WorkerPool", "crew-0", {"metadata": {"finalizers": ["example.org/wait"]}})
            doomed.patch("WorkerPool", "crew-1", {"metadata": {"finalizers": ["example.org/wait"]}})
            started_at = time.monotonic()
            lines = operator.log.count("\n")
            doomed.request("DELETE", f"/api/v1/namespaces/{name}")
            eventually(lambda: len(doomed.list("WorkerPool")), 2)
            eventually(lambda: doomed.list("Deployment"), [])
            time.sleep(5)
            assert proxy.counts(started_at, lambda asked: asked.writes).total() <= 40
            said = operator.log.splitlines()[lines:]
            assert len(said) <= 40
            assert not [line for line in said if "being terminated" in line and " debug " not in line]
            for pool_name in ("crew-0", "crew-1"):
                doomed.patch("WorkerPool", pool_name, {"metadata": {"finalizers": None}})
            eventually(lambda: doomed.list("Broker"), [])  # it has waited for its users, and holds nothing up
            assert "a visit met a defect" not in operator.log
            # The other namespace is served as ever.
            namespace.apply(broker(redis_url))
            namespace.apply(queue("mail"))
            eventually(lambda: namespace.condition("Queue", "mail"), ("True", "OK"))
        finally:
            operator.stop()
