"""The metrics of objects: Brokers, their queues, WorkerPools and PeriodicTasks, as they were last planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.metrics_core import Metric

from longshore.metrics.queues import QueueReading, queue_families
from longshore_operator.cluster.resources import OWN_KINDS, PERIODIC_TASKS, QUEUES, WORKER_POOLS, Resource
from longshore_operator.handlers.context import Context
from longshore_operator.metrics import families as table
from longshore_operator.metrics.families import BROKER_LABELS
from longshore_operator.metrics.leading import Leading
from longshore_operator.metrics.work import distributed

Status = Mapping[str, Any]
Row = tuple[str, str, Status]  # namespace, name and status

_OF_POOLS = {
    "replicas": table.POOL_REPLICAS,
    "readyReplicas": table.POOL_READY,
    "desiredReplicas": table.POOL_DESIRED,
    "busyReplicas": table.POOL_BUSY,
    "backlog": table.POOL_BACKLOG,
    "throughputPerReplica": table.POOL_THROUGHPUT,
}
_OF_PERIODIC_TASKS = {
    "missedTicks": table.TASK_MISSED,
    "skippedTicks": table.TASK_SKIPPED,
    "lastTick": table.TASK_LAST_TICK,
    "nextTick": table.TASK_NEXT_TICK,
}
_CONDITION_VALUES = {"True": 1.0, "False": 0.0}


def condition_families(leading: Leading) -> list[Metric]:
    """How many objects there are, and their conditions."""
    objects, conditions = table.OBJECTS.empty(), table.CONDITION.empty()
    for resource in OWN_KINDS:
        rows = list(_rows(leading.context, resource))
        objects.add_metric([resource.kind], len(rows))
        for namespace, name, status in rows:
            for condition in status.get("conditions") or ():
                value = _CONDITION_VALUES.get(condition["status"])
                if value is not None:
                    conditions.add_metric([resource.kind, namespace, name, condition["type"]], value)
    return [objects, conditions]


def broker_families(leading: Leading, now: datetime) -> list[Metric]:
    """What polls found of the Brokers themselves."""
    reachable, age = table.BROKER_REACHABLE.empty(), table.BROKER_POLL_AGE.empty()
    failures, latency = table.BROKER_POLL_FAILURES.empty(), table.BROKER_LATENCY.empty()
    servers = table.BROKER_SERVERS.empty()
    pollers = list(leading.context.pollers)
    for place, poller in pollers:
        reading = poller.reading
        reachable.add_metric(place, float(reading.reachable))
        failures.add_metric(place, poller.failures)
        if reading.read_at is not None:
            age.add_metric(place, max(0.0, (now - reading.read_at).total_seconds()))
        if reading.snapshot is not None and reading.reachable:
            latency.add_metric(place, reading.snapshot.latency.total_seconds())
            servers.add_metric(place, len(reading.snapshot.servers))
    durations = distributed(table.BROKER_POLL_DURATION, ((place, poller.durations) for place, poller in pollers))
    return [reachable, age, durations, failures, latency, servers]


def asynq_families(leading: Leading) -> list[Metric]:
    """The queues that objects name, as Asynq's exporter shows them. Those of a Redis that is away have no series."""
    readings = []
    for place, poller in leading.context.pollers:
        reading = poller.reading
        if reading.snapshot is None or reading.read_at is None or not reading.reachable:
            continue
        memory = leading.memory.of(place)
        readings += [
            QueueReading(snapshot=queue, read_at=reading.read_at, memory_bytes=memory.get(name), labels=place)
            for name, queue in reading.snapshot.queues.items()
        ]
    return queue_families(readings, labels=BROKER_LABELS)


def pool_families(leading: Leading) -> list[Metric]:
    """Pools, and the objectives of Queues."""
    metrics = {field: family.empty() for field, family in _OF_POOLS.items()}
    low, high, objective = table.POOL_MIN.empty(), table.POOL_MAX.empty(), table.QUEUE_OBJECTIVE.empty()
    view = leading.context.view
    for namespace, name, status in _rows(leading.context, WORKER_POOLS):
        for field, metric in metrics.items():
            value = _number(status.get(field))
            if value is not None:
                metric.add_metric([namespace, name], value)
        pool = view.worker_pool(namespace, name)
        auto = None if pool is None else pool.spec.autoscaling
        if auto is not None:
            low.add_metric([namespace, name], auto.min_replicas)
            high.add_metric([namespace, name], auto.max_replicas)
    for namespace, name in view.places(QUEUES):
        queue = view.queue(namespace, name)
        if queue is not None and queue.spec.max_latency is not None:
            labels = [namespace, queue.spec.broker_ref, queue.queue_name]
            objective.add_metric(labels, queue.spec.max_latency.total_seconds())
    return [*metrics.values(), low, high, objective]


def periodic_families(leading: Leading) -> list[Metric]:
    """Ticks."""
    metrics = {field: family.empty() for field, family in _OF_PERIODIC_TASKS.items()}
    for namespace, name, status in _rows(leading.context, PERIODIC_TASKS):
        for field, metric in metrics.items():
            value = _number(status.get(field))
            if value is not None:
                metric.add_metric([namespace, name], value)
    return [*metrics.values()]


def _rows(context: Context, resource: Resource) -> Iterator[Row]:
    """Every object of a kind with its status as it was last planned, seconds before it is written perhaps."""
    for namespace, name in context.view.places(resource):
        manifest = context.view.manifest_at(resource, (namespace, name))
        if manifest is not None:
            status = context.reported.get(manifest["metadata"]["uid"]) or manifest.get("status") or {}
            yield namespace, name, status


def _number(value: Any) -> float | None:
    """A number of a status: as such, as a text, or as a time."""
    match value:
        case None | bool():
            return None
        case int() | float():
            return float(value)
        case str() if value.endswith("Z") and "T" in value:
            return datetime.fromisoformat(value).timestamp()
        case _:
            return float(value)
