"""An API server in trouble, under an operator that a kubelet keeps alive.

Proved: answers of 409, 429, 500 and 503 to everything but the Lease end no process, are told, are not repeated in a hot
loop, and are forgotten soon after; an API server that fails wholly costs the Lease, and work goes on by itself; a slow
one only takes longer. LONGSHORE_API_FAULT=90 lets each fault last for so many seconds.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator

import pytest

from faults_operator.api_proxy import ApiProxy, Asked, Fault, but_the_lease, writes
from faults_operator.kubelet import Kubelet
from faults_operator.scene import enqueue
from handlers.harness import Namespace, OperatorProcess, broker, pool, queue
from handlers.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
LASTS_S = float(os.environ.get("LONGSHORE_API_FAULT") or 8)
# Objects below, each of which may be tried again with a back-off that doubles from a quarter of a second, beside the
# lists and watches.
OBJECTS = 6
REFUSALS = (
    Fault(on=writes, status=409, reason="Conflict", message="changed meanwhile, for a while"),
    Fault(
        on=but_the_lease,
        status=429,
        reason="TooManyRequests",
        headers={"Retry-After": "3"},
        message="too many requests, for a while",
    ),
    Fault(on=but_the_lease, status=500, message="broken, for a while"),
)


@pytest.fixture
def crews(namespace: Namespace, kubelet: Kubelet, redis_url: str) -> Iterator[tuple[str, ...]]:
    """Two pools at zero, with their queues; a third queue, "seen", has none."""
    names = ("mail", "scan")
    namespace.apply(broker(redis_url))
    namespace.apply(queue("seen"))
    for name in names:
        namespace.apply(queue(name))
        namespace.apply(pool(name, name, autoscaling={"maxReplicas": 9, "targetPerReplica": 1}))
    for name in names:
        eventually(lambda name=name: namespace.condition("WorkerPool", name), ("True", "ScaledToZero"))
    return names


def requests_at_most(lasts_s: float) -> int:
    """What back-off allows: some ten tries of each object, then one in ten seconds; and the lists of six kinds."""
    return round(OBJECTS * (10 + lasts_s / 10) + 6 * (10 + lasts_s / 10))


def not_the_lease(asked: Asked) -> bool:
    return "/leases" not in asked.path


def test_refusals_are_told_and_not_repeated_in_a_hot_loop_and_work_resumes(
    namespace: Namespace,
    proxy: ApiProxy,
    behind: OperatorProcess,
    kubelet: Kubelet,
    crews: tuple[str, ...],
    redis_url: str,
) -> None:
    waiting = 0
    for fault in REFUSALS:
        waiting += 2
        with proxy.fault(fault):
            proxy.cut_watches()
            started_at = time.monotonic()
            for name in crews:
                asyncio.run(enqueue(redis_url, name, 2))
            time.sleep(LASTS_S)
            counts = proxy.counts(started_at, not_the_lease)
        over_at = time.monotonic()
        print(f"{fault.status} for {LASTS_S:g} s:", counts)
        assert counts.total() <= requests_at_most(LASTS_S)
        assert re.search(rf"warning .*a visit (failed|conflicts).*{fault.message}", behind.log)
        for name in crews:
            eventually(lambda name=name: namespace.replicas(f"{name}-worker"), waiting, within_s=40)
            eventually(
                lambda name=name: (namespace.get("WorkerPool", name) or {})["status"]["desiredReplicas"], waiting
            )
        # The watches are back, too: nothing but a watch tells of this.
        paused = {"paused": fault is not REFUSALS[1]}
        expected = ("True", "PausedBySpec") if paused["paused"] else ("False", "NotPaused")
        namespace.patch("Queue", "seen", {"spec": paused})
        eventually(lambda expected=expected: namespace.condition("Queue", "seen", "Paused"), expected, within_s=60)
        eventually(lambda: behind.probe("/livez"), (200, "ok\n"), within_s=60)
        print(f"resumed after {time.monotonic() - over_at:.1f} s; exits {kubelet.exits}")
    if LASTS_S < 30:  # kopf gives a watch up after 40 s, and the process starts anew
        assert kubelet.exits == []
    assert "a visit met a defect" not in behind.log


def test_an_api_server_that_fails_wholly_or_is_slow_costs_the_lease_or_time_and_work_resumes(
    namespace: Namespace,
    proxy: ApiProxy,
    behind: OperatorProcess,
    kubelet: Kubelet,
    crews: tuple[str, ...],
    redis_url: str,
) -> None:
    lives = behind.log.count("leading")
    with proxy.fault(Fault(status=500, message="etcdserver: no leader")):
        started_at = time.monotonic()
        asyncio.run(enqueue(redis_url, "mail", 3))
        eventually(lambda: kubelet.exits, [1], within_s=60)
        assert "could not be renewed for 10 s" in behind.log
        # The next one stands by, which is no reason to end it, and asks for the Lease every two seconds.
        eventually(lambda: "the Lease could not be acquired" in behind.log, True)
        lasted_s = time.monotonic() - started_at
        assert proxy.counts(started_at, lambda asked: "/leases" in asked.path).total() <= 10 + lasted_s
    eventually(lambda: behind.log.count("leading") > lives, True, within_s=60)
    eventually(lambda: namespace.replicas("mail-worker"), 3, within_s=60)

    with proxy.fault(Fault(delay_s=2)):
        asyncio.run(enqueue(redis_url, "scan", 4))
        eventually(lambda: namespace.replicas("scan-worker"), 4, within_s=60)
        namespace.apply(pool("late", "late", autoscaling={"maxReplicas": 9}))
        eventually(lambda: namespace.condition("WorkerPool", "late"), ("True", "ScaledToZero"), within_s=90)
        assert behind.probe("/livez") == (200, "ok\n")
    assert kubelet.exits == [1]
    assert kubelet.complaints == []
