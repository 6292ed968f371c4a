"""What the operator makes of pods as the kubelet describes them."""

from __future__ import annotations

from typing import Any

import pytest

from longshore_operator.cluster.resources import PODS
from longshore_operator.observe.children import Children
from longshore_operator.observe.view import View
from longshore_operator.plan.observed import PodReading


def read(status: dict[str, Any], **metadata: Any) -> PodReading:
    view = View()
    labels = {"longshore.dev/pool": "crew"}
    named = {"name": "crew-1", "namespace": "shop", "uid": "u", "resourceVersion": "1", "labels": labels, **metadata}
    view.put(PODS, {"metadata": named, "status": status})
    client: Any = None  # it is not asked about pods
    (pod,) = Children(client, view, clock=lambda: 0.0).observe_pods("shop", "crew")
    return pod


def waiting(name: str, reason: str) -> dict[str, Any]:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": f"{reason} of {name}"}}}


def ran(name: str, state: str = "running") -> dict[str, Any]:
    return {"name": name, "state": {state: {}}}


@pytest.mark.parametrize(
    ("initial", "main", "found"),
    [
        pytest.param([], [ran("worker")], (None, None), id="it runs"),
        pytest.param([], [waiting("worker", "ContainerCreating")], (None, None), id="it is being made"),
        pytest.param([], [waiting("worker", "ErrImagePull")], ("worker", "ErrImagePull"), id="the worker"),
        pytest.param(
            [ran("make", "terminated"), waiting("migrate", "CrashLoopBackOff")],
            [waiting("worker", "PodInitializing")],
            ("migrate", "CrashLoopBackOff"),
            id="an init container, for which the worker waits",
        ),
        pytest.param(
            [waiting("side", "ImagePullBackOff")],
            [waiting("worker", "PodInitializing")],
            ("side", "ImagePullBackOff"),
            id="a sidecar that starts first",
        ),
        pytest.param(
            [],
            [ran("worker"), waiting("side", "CrashLoopBackOff")],
            ("side", "CrashLoopBackOff"),
            id="a container beside the worker",
        ),
    ],
)
def test_the_container_that_holds_a_pod_up_is_found(
    initial: list[Any], main: list[Any], found: tuple[str | None, str | None]
) -> None:
    pod = read({"phase": "Pending", "initContainerStatuses": initial, "containerStatuses": main})
    assert (pod.waiting_container, pod.waiting_reason) == found


@pytest.mark.parametrize(
    ("phase", "metadata", "active"),
    [
        ("Pending", {}, True),
        ("Running", {}, True),
        ("Unknown", {}, True),
        ("Failed", {}, False),
        ("Succeeded", {}, False),
        ("Running", {"deletionTimestamp": "2026-03-01T12:00:00Z"}, False),
    ],
)
def test_a_pod_counts_as_a_replica_as_kubernetes_counts_it(phase: str, metadata: dict[str, Any], active: bool) -> None:
    assert read({"phase": phase}, **metadata).active is active
