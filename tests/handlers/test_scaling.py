"""Autoscaling beyond the backlog, on a real API server and a real Redis: looks ahead, windows, fallback, dry run.

Left out: what is decided in detail (tests/plan), and pods that run (tests/e2e).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from handlers.harness import Namespace, OperatorProcess, broker, pool
from handlers.waiting import eventually, stays
from longshore import Client, Task
from longshore.testing import RedisServer

pytestmark = pytest.mark.cluster


def enqueue(url: str, count: int, *, process_in: timedelta | None = None) -> None:
    async def run() -> None:
        async with Client(url) as client:
            for _ in range(count):
                await client.enqueue(Task("t", {}, queue="mail"), process_in=process_in)

    asyncio.run(run())


def decision(namespace: Namespace, name: str) -> str:
    status = (namespace.get("WorkerPool", name) or {}).get("status") or {}
    return str(status.get("decision"))


def test_pools_look_ahead_each_as_far_as_it_says_and_windows_hold_a_minimum(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    auto = {"maxReplicas": 5, "targetPerReplica": 1}
    namespace.apply(pool("far", "mail", autoscaling={**auto, "lookahead": "1h"}))
    namespace.apply(pool("near", "mail", autoscaling={**auto, "lookahead": "1m"}))
    namespace.apply(pool("blind", "mail", autoscaling=auto))
    # One opens each minute and is open for an hour: it is open now, whenever now is.
    window = {"cron": "* * * * *", "timeZone": "Asia/Kathmandu", "duration": "1h", "minReplicas": 2}
    namespace.apply(pool("kept", "other", autoscaling={**auto, "schedules": [window]}))
    lost = {**window, "timeZone": "Europe/Atlantis"}
    namespace.apply(pool("lost", "other", autoscaling={**auto, "schedules": [lost]}))
    for name in ("far", "near", "blind"):
        eventually(lambda name=name: namespace.replicas(f"{name}-worker"), 0)
    enqueue(redis_url, 9, process_in=timedelta(minutes=30))
    eventually(lambda: namespace.replicas("far-worker"), 3)  # its third of nine
    assert "3 waiting / 1 per replica = 3" in decision(namespace, "far")
    eventually(lambda: namespace.replicas("kept-worker"), 2)
    eventually(lambda: namespace.condition("WorkerPool", "lost"), ("False", "InvalidTimeZone"))
    assert "spec.autoscaling.schedules[0].timeZone" in namespace.message("WorkerPool", "lost")
    assert [namespace.replicas(f"{name}-worker") for name in ("near", "blind", "lost")] == [0, 0, 0]


def test_a_fallback_gives_the_count_while_redis_is_away_and_ends_with_it(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    auto = {"maxReplicas": 10, "targetPerReplica": 20, "scaleDown": {"stabilization": "1s"}, "zeroAfter": "1s"}
    static = {"behavior": "Static", "replicas": 2, "afterFailures": 5}
    higher = {"behavior": "CurrentIfHigher", "replicas": 7}
    with RedisServer() as server:
        namespace.apply(broker(server.url))
        namespace.apply(pool("static", "mail", autoscaling={**auto, "fallback": static}))
        namespace.apply(pool("higher", "idle", autoscaling={**auto, "fallback": higher}))
        eventually(lambda: namespace.replicas("higher-worker"), 0)
        enqueue(server.url, 100)
        eventually(lambda: namespace.replicas("static-worker"), 5)
        server.stop()
        eventually(lambda: namespace.replicas("higher-worker"), 7)
        eventually(lambda: namespace.replicas("static-worker"), 2)
        eventually(lambda: namespace.condition("WorkerPool", "static", "Fallback"), ("True", "FallbackStatic"))
        assert namespace.condition("WorkerPool", "higher", "Fallback") == ("True", "FallbackCurrentIfHigher")
        eventually(lambda: len(namespace.events("higher", "FallbackCurrentIfHigher")), 1)
        server.start()  # empty
        eventually(lambda: namespace.condition("WorkerPool", "static", "Fallback"), ("False", "NoFallback"))
        eventually(lambda: namespace.replicas("static-worker"), 0)
        eventually(lambda: namespace.replicas("higher-worker"), 0)


def test_a_dry_run_tells_the_count_and_leaves_the_deployment_to_others(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    auto = {"maxReplicas": 10, "targetPerReplica": 10}
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", autoscaling={**auto, "dryRun": True}))
    eventually(lambda: namespace.replicas("crew-worker"), 0)
    enqueue(redis_url, 40)
    told = "dry run: would go 0 → 4: 40 waiting / 10 per replica = 4"
    eventually(lambda: decision(namespace, "crew"), told)
    assert namespace.condition("WorkerPool", "crew", "ScalingActive") == ("False", "DryRun")
    namespace.patch("Deployment", "crew-worker", {"spec": {"replicas": 6}})
    eventually(lambda: decision(namespace, "crew"), told.replace("0 → 4", "6 → 4"))
    stays(lambda: namespace.replicas("crew-worker"), 6, for_s=3)
    assert namespace.events("crew", "EditUndone") == []
    namespace.apply(pool("crew", "mail", autoscaling={**auto, "scaleDown": {"stabilization": "1s"}}))
    eventually(lambda: namespace.replicas("crew-worker"), 4)
