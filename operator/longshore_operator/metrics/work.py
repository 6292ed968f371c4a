"""The metrics of what the process does: its requests, and, while it leads, its looks, writes, Events and watches."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from prometheus_client.metrics_core import Metric

from longshore.metrics.distribution import Distribution
from longshore.metrics.family import Family
from longshore_operator.cluster.client import ApiClient
from longshore_operator.measures import Tally
from longshore_operator.metrics import families as table
from longshore_operator.metrics.leading import Leading


def replica_families(client: ApiClient, *, leading: bool) -> list[Metric]:
    """Of every replica."""
    return [
        one(table.BUILD_INFO, 1, metadata.version("longshore")),
        one(table.LEADER, float(leading)),
        counted(table.API_REQUESTS, client.requests),
        distributed(table.API_DURATION, client.durations),
        one(table.API_THROTTLED, client.throttled.get("requests")),
        one(table.API_THROTTLED_SECONDS, client.throttled.get("seconds")),
    ]


def work_families(leading: Leading) -> list[Metric]:
    """Of the leader's work."""
    context, reconciler = leading.context, leading.reconciler
    silent = table.WATCH_SILENT.empty()
    for watch, seconds in leading.streams.silences().items():
        silent.add_metric([watch], seconds)
    return [
        silent,
        counted(table.WATCHES_OPENED, leading.streams.opened),
        distributed(table.RECONCILE_DURATION, reconciler.durations),
        counted(table.RECONCILE_ERRORS, reconciler.errors),
        one(table.WORK_QUEUE_DEPTH, reconciler.waiting),
        one(table.WORK_QUEUE_ACTIVE, reconciler.active),
        one(table.FAILING_OBJECTS, reconciler.failing),
        counted(table.ACTIONS, context.actions.done),
        counted(table.STATUS_WRITES, context.status.writes),
        counted(table.STATUS_DEFERRED, context.status.deferrals),
        counted(table.EVENTS, context.events.outcomes),
        one(table.EVENTS_WAITING, context.events.waiting),
        counted(table.DECISIONS, context.decisions),
    ]


def one(family: Family, value: float, *labels: str) -> Metric:
    """A family of one sample."""
    metric = family.empty()
    metric.add_metric(labels, value)
    return metric


def counted(family: Family, tally: Tally) -> Metric:
    """A family of what was counted."""
    metric = family.empty()
    for labels, count in tally:
        metric.add_metric(labels, count)
    return metric


def distributed(family: Family, distributions: Iterable[tuple[tuple[str, ...], Distribution]]) -> Metric:
    """A family of histograms."""
    metric = family.empty_histogram()
    for labels, distribution in distributions:
        metric.add_metric(labels, buckets=distribution.buckets, sum_value=distribution.sum)
    return metric
