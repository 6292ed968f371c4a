"""Which pods a shrink takes first: the idle ones, then those whose running task is the youngest.

A ReplicaSet removes pods that are not ready first, then those of the lowest deletion cost. The costs are written just
before a shrink, and only then: a pool that does not shrink has its pods left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from longshore_operator.plan.actions import SetDeletionCost
from longshore_operator.plan.observed import PodReading

_IDLE = 0  # what Kubernetes assumes without the annotation, too
_BUSY = 1000  # of a worker whose task has just begun; one more a second, so that the longest at work goes last
_MOST = 2**31 - 1  # an int32


def deletion_costs(
    pods: Iterable[PodReading], oldest_task: Mapping[str, datetime], now: datetime
) -> tuple[SetDeletionCost, ...]:
    """Annotations to set, by pod name; none for a pod that has the right one, or is no replica any more.

    ``oldest_task``: when the oldest running task of each busy host began.
    """
    actions = []
    for pod in sorted(pods, key=lambda each: each.name):
        if not pod.active:
            continue
        started = oldest_task.get(pod.name)
        if started is None:
            cost, why = _IDLE, "idle"
        else:
            seconds = max(0, int((now - started).total_seconds()))
            cost, why = min(_BUSY + seconds, _MOST), f"runs a task for {seconds} s"
        if cost != (pod.deletion_cost or _IDLE):
            actions.append(SetDeletionCost(pod=pod.name, cost=cost, why=why))
    return tuple(actions)
