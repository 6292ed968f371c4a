"""The types of condition that our kinds report, and which status is the good one.

A condition's ``reason`` is one of :mod:`longshore_operator.api.reasons`.
"""

from __future__ import annotations

from dataclasses import dataclass

READY = "Ready"
REACHABLE = "Reachable"
SCHEDULER_READY = "SchedulerReady"
IN_USE = "InUse"
PAUSED = "Paused"
LATENCY_HIGH = "LatencyHigh"
DELETING = "Deleting"
PROGRESSING = "Progressing"
SCALING_ACTIVE = "ScalingActive"
SCALING_LIMITED = "ScalingLimited"
FALLBACK = "Fallback"
SUSPENDED = "Suspended"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionType:
    """What one condition of one kind tells."""

    kind: str
    type: str
    good: str | None  # the status of an object in order: "True" or "False"; None: neither is better
    meaning: str  # what "True" says


CONDITIONS: tuple[ConditionType, ...] = (
    ConditionType(
        kind="Broker", type=READY, good="True", meaning="Redis answers, and the scheduler runs if one is needed."
    ),
    ConditionType(kind="Broker", type=REACHABLE, good="True", meaning="The last polls of Redis succeeded."),
    ConditionType(
        kind="Broker",
        type=SCHEDULER_READY,
        good="True",
        meaning="A scheduler is active for the Broker's PeriodicTasks, or there is none of them.",
    ),
    ConditionType(
        kind="Broker",
        type=IN_USE,
        good="False",
        meaning="The Broker is being deleted and waits for the objects that refer to it. Absent otherwise.",
    ),
    ConditionType(
        kind="Queue",
        type=READY,
        good="True",
        meaning="The queue is read, and this object is the one that stands for it.",
    ),
    ConditionType(kind="Queue", type=PAUSED, good=None, meaning="No worker takes tasks from the queue."),
    ConditionType(
        kind="Queue",
        type=LATENCY_HIGH,
        good="False",
        meaning="The oldest waiting task has waited longer than maxLatency.",
    ),
    ConditionType(
        kind="Queue",
        type=DELETING,
        good="False",
        meaning="The Queue is being deleted and waits until its deletionPolicy is met. Absent otherwise.",
    ),
    ConditionType(
        kind="WorkerPool",
        type=READY,
        good="True",
        meaning="Workers run as the spec says: at least one is ready, or none is wanted, and none is failing.",
    ),
    ConditionType(
        kind="WorkerPool",
        type=PROGRESSING,
        good=None,
        meaning="Workers are being started, replaced or stopped.",
    ),
    ConditionType(kind="WorkerPool", type=SCALING_ACTIVE, good=None, meaning="The replica count follows the backlog."),
    ConditionType(
        kind="WorkerPool",
        type=SCALING_LIMITED,
        good=None,
        meaning="The backlog asks for another count than the spec allows now.",
    ),
    ConditionType(
        kind="WorkerPool",
        type=FALLBACK,
        good="False",
        meaning="The Broker could not be read for afterFailures polls, and autoscaling.fallback gives the count.",
    ),
    ConditionType(kind="WorkerPool", type=PAUSED, good=None, meaning="Autoscaling is paused: the count is frozen."),
    ConditionType(
        kind="PeriodicTask", type=READY, good="True", meaning="The entry is understood and handed to the scheduler."
    ),
    ConditionType(
        kind="PeriodicTask", type=SUSPENDED, good=None, meaning="No tick is enqueued, because suspend is set."
    ),
    ConditionType(
        kind="PeriodicTask", type=SCHEDULER_READY, good="True", meaning="A scheduler is active for the entry's Broker."
    ),
)
