"""Queues as Asynq's own exporter (its module ``x/metrics``) shows them, so that dashboards made for it work unchanged.

Names, types, labels and help texts are that exporter's, the odd ones included: ``asynq_tasks_enqueued_total`` and
``asynq_queue_paused_total`` are gauges. Two things differ, both because a number that is not known is not shown as 0:
the latency of a queue whose oldest task has no recorded time, and the memory of one that was not measured, are absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.metrics_core import Metric

from longshore.metrics.family import Family
from longshore.protocol.snapshots import QueueSnapshot

ENQUEUED = Family(
    name="asynq_tasks_enqueued_total",
    type="gauge",
    help="Number of tasks enqueued; broken down by queue and state.",
    labels=("queue", "state"),
)
SIZE = Family(name="asynq_queue_size", type="gauge", help="Number of tasks in a queue", labels=("queue",))
LATENCY = Family(
    name="asynq_queue_latency_seconds",
    type="gauge",
    help="Number of seconds the oldest pending task is waiting in pending state to be processed.",
    labels=("queue",),
)
MEMORY = Family(
    name="asynq_queue_memory_usage_approx_bytes",
    type="gauge",
    help="Number of memory used by a given queue (approximated number by sampling).",
    labels=("queue",),
)
PROCESSED = Family(
    name="asynq_tasks_processed_total",
    type="counter",
    help="Number of tasks processed (both succeeded and failed); broken down by queue",
    labels=("queue",),
)
FAILED = Family(
    name="asynq_tasks_failed_total",
    type="counter",
    help="Number of tasks failed; broken down by queue",
    labels=("queue",),
)
PAUSED = Family(name="asynq_queue_paused_total", type="gauge", help="Number of queues paused", labels=("queue",))

FAMILIES = (ENQUEUED, SIZE, LATENCY, MEMORY, PROCESSED, FAILED, PAUSED)

_STATES = ("active", "pending", "scheduled", "retry", "archived", "completed")  # Asynq's exporter knows no aggregating


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueReading:
    """One queue as it was read."""

    snapshot: QueueSnapshot
    read_at: datetime
    memory_bytes: int | None = None  # None: not measured
    labels: tuple[str, ...] = ()  # values of the labels that tell whose queue it is


def queue_families(readings: Iterable[QueueReading], *, labels: Sequence[str] = ()) -> list[Metric]:
    """The families of all queues. A queue that could not be read (``problem``) has no series.

    ``labels``: names of the labels that each reading has values for, where queues of several Redis may have one name.
    """
    families = [family.empty(*labels) for family in FAMILIES]
    enqueued, size, latency, memory, processed, failed, paused = families
    for reading in readings:
        queue = reading.snapshot
        if queue.problem is not None:
            continue
        whose = [*reading.labels, queue.name]
        for state in _STATES:
            enqueued.add_metric([*whose, state], getattr(queue, state))
        size.add_metric(whose, queue.size)
        waited = queue.latency(reading.read_at)
        if waited is not None:
            latency.add_metric(whose, waited.total_seconds())
        if reading.memory_bytes is not None:
            memory.add_metric(whose, reading.memory_bytes)
        processed.add_metric(whose, queue.processed_total)
        failed.add_metric(whose, queue.failed_total)
        paused.add_metric(whose, float(queue.paused))
    return [*families]
