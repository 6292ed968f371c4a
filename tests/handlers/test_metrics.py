"""What a running operator tells Prometheus, on a real control plane.

Proved: the figures of a pool, its queue and its Broker during a burst; the process' own counts; that what is deleted
has no series any more; that a Redis that is away has no depth; that a standby answers; and that every metric of the
table, and no other, is served. Left out: the names of Asynq's exporter (tests/interop), the dashboard (tests/chart).
"""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from handlers.harness import Namespace, OperatorProcess, broker, periodic_task, pool, queue
from handlers.waiting import eventually
from longshore import Client, Task
from longshore.metrics.queues import FAMILIES as QUEUE_FAMILIES
from longshore.testing import RedisServer
from longshore_operator.metrics.families import OBJECT_FAMILIES, REPLICA_FAMILIES, WORK_FAMILIES

pytestmark = pytest.mark.cluster

OURS = "longshore_operator_"


def enqueue(url: str, count: int) -> None:
    async def run() -> None:
        async with Client(url) as client:
            await client.enqueue_many([Task("mail:send", queue="mail") for _ in range(count)])

    asyncio.run(run())


def test_a_burst_is_seen_and_what_is_deleted_is_gone(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    place = namespace.name
    namespace.apply(broker(redis_url))
    namespace.apply(queue("mail", maxLatency="30s"))
    namespace.apply(pool("senders", "mail", autoscaling={"maxReplicas": 9, "targetPerReplica": 10}))
    eventually(lambda: namespace.condition("Queue", "mail"), ("True", "OK"))
    enqueue(redis_url, 200)

    def pool_figure(name: str) -> float | None:
        return operator.metrics()(f"{OURS}pool_{name}", place, "senders")

    eventually(lambda: pool_figure("desired_replicas"), 9.0)
    eventually(lambda: pool_figure("backlog_tasks"), 200.0)
    eventually(
        lambda: operator.metrics()("asynq_queue_memory_usage_approx_bytes", place, "default", "mail") is not None, True
    )
    told = operator.metrics()
    assert told(f"{OURS}pool_max_replicas", place, "senders") == 9
    assert told(f"{OURS}pool_busy_replicas", place, "senders") == 0
    assert told("asynq_tasks_enqueued_total", place, "default", "mail", "pending") == 200
    assert told("asynq_queue_size", place, "default", "mail") == 200
    assert told("asynq_queue_latency_seconds", place, "default", "mail") > 0
    assert told(f"{OURS}queue_max_latency_seconds", place, "default", "mail") == 30
    assert told(f"{OURS}broker_reachable", place, "default") == 1
    assert told(f"{OURS}broker_poll_duration_seconds_count", place, "default") > 0
    assert told(f"{OURS}decisions_total", "up", "MaxReplicas") == 1
    assert told(f"{OURS}condition", "Queue", place, "mail", "LatencyHigh") == 0
    assert told(f"{OURS}condition", "Broker", place, "default", "Reachable") == 1
    assert told(f"{OURS}objects", "WorkerPool") == 1

    assert told(f"{OURS}leader") == 1
    assert told(f"{OURS}reconcile_duration_seconds_count", "WorkerPool") > 0
    assert told(f"{OURS}api_requests_total", "patch", "workerpools/status", "200") > 0
    assert told(f"{OURS}api_requests_total", "list", "pods", "200") > 0
    watches = f"workerpools.longshore.dev in {place}"
    assert told(f"{OURS}watches_opened_total", watches) >= 1
    assert told(f"{OURS}watch_silent_seconds", watches) < 180
    assert told(f"{OURS}actions_total", "ApplyDeployment") >= 1
    assert told(f"{OURS}status_writes_total", "WorkerPool") > 0
    assert told("process_resident_memory_bytes") > 0

    for kind, name in (("WorkerPool", "senders"), ("Queue", "mail"), ("Broker", "default")):
        namespace.delete(kind, name)
    eventually(lambda: [series for series in operator.metrics().series if place in series], [])


def test_every_metric_of_the_table_is_served_and_the_answer_is_well_formed(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(periodic_task("report", "@every 1h"))
    eventually(lambda: namespace.condition("PeriodicTask", "report", "SchedulerReady"), bool)
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.metrics_port}/metrics", timeout=30) as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        found = {family.name: family for family in text_string_to_metric_families(response.read().decode())}
    table = (*REPLICA_FAMILIES, *WORK_FAMILIES, *OBJECT_FAMILIES, *QUEUE_FAMILIES)
    of_any_process = {name for name in found if name.startswith(("process_", "python_"))}
    assert "process_cpu_seconds" in of_any_process
    wanted = {each.name.removesuffix("_total") if each.type == "counter" else each.name for each in table}
    assert found.keys() - of_any_process == wanted
    for family in table:
        served = found[family.name.removesuffix("_total") if family.type == "counter" else family.name]
        assert (served.type, served.documentation) == (family.type, family.help)
        for sample in served.samples:
            whose = {"namespace", "broker"} if family in QUEUE_FAMILIES else set()
            assert sample.labels.keys() - {"le"} == whose | set(family.labels)


def test_a_redis_that_is_away_has_no_depth(namespace: Namespace, operator: OperatorProcess) -> None:
    place = namespace.name
    with RedisServer() as server:
        namespace.apply(broker(server.url, pollInterval="500ms", timeout="500ms"))
        namespace.apply(queue("mail"))
        eventually(lambda: operator.metrics()("asynq_queue_size", place, "default", "mail"), 0.0)
    eventually(lambda: operator.metrics()(f"{OURS}broker_reachable", place, "default"), 0.0)
    told = operator.metrics()
    assert told("asynq_queue_size", place, "default", "mail") is None
    assert told(f"{OURS}broker_poll_failures_total", place, "default") > 0
    eventually(lambda: (operator.metrics()(f"{OURS}broker_poll_age_seconds", place, "default") or 0) > 2, True)


def test_a_standby_says_that_it_does_not_lead(namespace: Namespace, operator: OperatorProcess, tmp_path: Path) -> None:
    second = OperatorProcess(namespace, tmp_path, identity="operator-1")
    second.start()
    try:
        second.wait_standing_by()
        told = second.metrics()
        assert told(f"{OURS}leader") == 0
        assert not [series for series in told.series if "reconcile" in series[0]]
        assert told(f"{OURS}api_requests_total", "get", "leases", "200") >= 1
    finally:
        second.stop()
