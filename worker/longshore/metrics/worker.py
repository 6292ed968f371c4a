"""Every metric of a worker, as one table, and the families made of what its processes have counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from prometheus_client.metrics_core import Metric

from longshore.metrics.distribution import SECONDS, buckets
from longshore.metrics.family import Family
from longshore.metrics.reading import DURATIONS, TaskCounts, WorkerReading


def _gauge(name: str, help: str, *labels: str) -> Family:  # noqa: A002
    return Family(name=f"longshore_worker_{name}", type="gauge", help=help, labels=labels)


def _counter(name: str, help: str, *labels: str) -> Family:  # noqa: A002
    return Family(name=f"longshore_worker_{name}_total", type="counter", help=help, labels=labels)


def _histogram(name: str, help: str, *labels: str) -> Family:  # noqa: A002
    return Family(name=f"longshore_worker_{name}_seconds", type="histogram", help=help, labels=labels)


_TASK = ("queue", "type")

BUILD_INFO = _gauge("build_info", "1, with the version as a label.", "version")
SLOTS = _gauge("slots", "Tasks that may run at once (concurrency).")
BUSY = _gauge("slots_busy", "Handlers whose code has not ended.")
STUCK = _gauge("handlers_stuck", "Of these, handlers that were told to end, were given up, and go on.")
IN_FLIGHT = _gauge(
    "tasks_in_flight",
    "Tasks that are active on this worker's behalf: running, waiting for a rate limit, or being acknowledged.",
    "queue",
)
PROCESSED = _counter("tasks_processed", "Attempts that succeeded or failed, as Asynq counts them.", *_TASK)
FAILED = _counter("tasks_failed", "Attempts that failed.", *_TASK)
RETRIED = _counter(
    "tasks_retried", "Attempts whose task waits for another one, also those that do not count as failed.", *_TASK
)
ARCHIVED = _counter("tasks_archived", "Attempts after which the task was archived.", *_TASK)
REQUEUED = _counter("tasks_requeued", "Tasks that were put back untouched, because the worker stopped.", *_TASK)
LEASES_LOST = _counter(
    "leases_lost",
    "Attempts whose lease was over before their outcome was written: the task runs again elsewhere.",
    *_TASK,
)
DURATION = _histogram(
    "task_duration",
    "From the beginning of a handler, with its middleware, to its end or until it was given up; not of those put back.",
    *_TASK,
)
LAG = _histogram("event_loop_lag", "How late the event loop came round, looked at about every second.")

FAMILIES = (
    PROCESSED,
    FAILED,
    RETRIED,
    ARCHIVED,
    REQUEUED,
    LEASES_LOST,
    DURATION,
    IN_FLIGHT,
    SLOTS,
    BUSY,
    STUCK,
    LAG,
    BUILD_INFO,
)

_COUNTS: tuple[tuple[Family, Callable[[TaskCounts], int]], ...] = (
    (PROCESSED, lambda one: one.done + one.retried + one.archived),
    (FAILED, lambda one: one.retried + one.archived),
    (RETRIED, lambda one: one.retried + one.postponed),
    (ARCHIVED, lambda one: one.archived),
    (REQUEUED, lambda one: one.requeued),
    (LEASES_LOST, lambda one: one.lost),
)
_NUMBERS: tuple[tuple[Family, Callable[[WorkerReading], int]], ...] = (
    (SLOTS, lambda one: one.slots),
    (BUSY, lambda one: one.busy),
    (STUCK, lambda one: one.stuck),
)


def worker_families(readings: Sequence[tuple[Sequence[str], WorkerReading]], *labels: str) -> list[Metric]:
    """The families of all processes. ``labels``: the names of what tells them apart; each reading has the values."""
    families = {family: _empty(family, *(() if family is BUILD_INFO else labels)) for family in FAMILIES}
    families[BUILD_INFO].add_metric([metadata.version("longshore")], 1)
    for whose, reading in readings:
        for one in reading.tasks:
            of_task = [*whose, one.queue, one.type]
            for family, count in _COUNTS:
                families[family].add_metric(of_task, count(one))
            families[DURATION].add_metric(of_task, buckets=buckets(DURATIONS, one.durations), sum_value=one.seconds)
        for queue, count_of_queue in reading.in_flight.items():
            families[IN_FLIGHT].add_metric([*whose, queue], count_of_queue)
        for family, number in _NUMBERS:
            families[family].add_metric(whose, number(reading))
        families[LAG].add_metric(whose, buckets=buckets(SECONDS, reading.lags), sum_value=reading.lag_s)
    return [*families.values()]


def _empty(family: Family, *labels: str) -> Any:  # histograms are filled otherwise than the rest
    return family.empty_histogram(*labels) if family.type == "histogram" else family.empty(*labels)
