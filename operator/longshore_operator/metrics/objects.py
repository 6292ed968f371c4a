"""The metrics of objects: Brokers, their queues, WorkerPools and PeriodicTasks, as they were last planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client.metrics_core import Metric

from longshore.metrics.family import Family
from longshore.metrics.queues import QueueReading, queue_families
from longshore_operator.api.conditions import CONDITIONS
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
# The others say how an object is, not whether it is well; they would be as many series again.
_JUDGED = frozenset((each.kind, each.type) for each in CONDITIONS if each.good is not None)
_CONDITION_VALUES = {"True": 1.0, "False": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What there is to tell of objects, taken in one turn of the event loop. Nothing in it changes afterwards."""

    rows: Mapping[str, Sequence[Row]]  # by kind
    bounds: Sequence[tuple[tuple[str, str], int, int]]  # minReplicas and maxReplicas of the pools that are scaled
    objectives: Sequence[tuple[tuple[str, str, str], float]]  # maxLatency in seconds, by the labels of a queue
    queues: Sequence[QueueReading]


def see(leading: Leading) -> Seen:
    """Look at all objects: some milliseconds for thousands. To be called in the event loop."""
    view = leading.context.view
    bounds, objectives = [], []
    for namespace, name in view.places(WORKER_POOLS):
        pool = view.worker_pool(namespace, name)
        if pool is not None and (auto := pool.spec.autoscaling) is not None:
            bounds.append(((namespace, name), auto.min_replicas, auto.max_replicas))
    for namespace, name in view.places(QUEUES):
        queue = view.queue(namespace, name)
        if queue is not None and queue.spec.max_latency is not None:
            labels = (namespace, queue.spec.broker_ref, queue.queue_name)
            objectives.append((labels, queue.spec.max_latency.total_seconds()))
    return Seen(
        rows={resource.kind: list(_rows(leading.context, resource)) for resource in OWN_KINDS},
        bounds=bounds,
        objectives=objectives,
        queues=list(_readings(leading)),
    )


def object_families(seen: Seen) -> list[Metric]:
    """The families of all objects. Slow where there are thousands; any thread may do it."""
    return [
        *queue_families(seen.queues, labels=BROKER_LABELS),
        *_condition_families(seen),
        *_pool_families(seen),
        *_status_families(seen.rows[PERIODIC_TASKS.kind], _OF_PERIODIC_TASKS),
    ]


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


def _readings(leading: Leading) -> Iterator[QueueReading]:
    """The queues that objects name. Those of a Redis that is away are not known."""
    for place, poller in leading.context.pollers:
        reading = poller.reading
        if reading.snapshot is None or reading.read_at is None or not reading.reachable:
            continue
        memory = leading.memory.of(place)
        for name, queue in reading.snapshot.queues.items():
            yield QueueReading(snapshot=queue, read_at=reading.read_at, memory_bytes=memory.get(name), labels=place)


def _condition_families(seen: Seen) -> list[Metric]:
    objects, conditions = table.OBJECTS.empty(), table.CONDITION.empty()
    for kind, rows in seen.rows.items():
        objects.add_metric([kind], len(rows))
        for namespace, name, status in rows:
            for condition in status.get("conditions") or ():
                value = _CONDITION_VALUES.get(condition["status"])
                if value is not None and (kind, condition["type"]) in _JUDGED:
                    conditions.add_metric([kind, namespace, name, condition["type"]], value)
    return [objects, conditions]


def _pool_families(seen: Seen) -> list[Metric]:
    low, high, objective = table.POOL_MIN.empty(), table.POOL_MAX.empty(), table.QUEUE_OBJECTIVE.empty()
    for pool, minimum, maximum in seen.bounds:
        low.add_metric(pool, minimum)
        high.add_metric(pool, maximum)
    for labels, seconds in seen.objectives:
        objective.add_metric(labels, seconds)
    return [*_status_families(seen.rows[WORKER_POOLS.kind], _OF_POOLS), low, high, objective]


def _status_families(rows: Sequence[Row], families: Mapping[str, Family]) -> list[Metric]:
    """One family for each of some fields of the status."""
    metrics = {field: family.empty() for field, family in families.items()}
    for namespace, name, status in rows:
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
    """A number of a status, as such or as a time. A status may be written by others, and be any text."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            return None
    return float(value) if isinstance(value, int | float) else None
