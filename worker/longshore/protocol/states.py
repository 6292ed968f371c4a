"""The seven states of a task, and the table of transitions between them.

One operation moves a task from one container to another in one atomic step; which operations exist, from which states
they may start and where they lead is the table below. Scripts carry it out, tests and docs read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class TaskState(Enum):
    """Where a task is. The value is the text of the hash's ``state`` field and the suffix of the container's key."""

    PENDING = "pending"  # waits to be taken
    ACTIVE = "active"  # a worker server runs it, under a lease
    SCHEDULED = "scheduled"  # waits for its time
    RETRY = "retry"  # failed and waits for its next attempt
    ARCHIVED = "archived"  # no further attempt; kept for a person to look at
    COMPLETED = "completed"  # succeeded and kept for its retention
    AGGREGATING = "aggregating"  # waits in a group


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """One way a task changes state."""

    operation: str  # the broker's or inspector's word
    sources: frozenset[TaskState]  # states it may start from; empty: the task does not exist yet
    target: TaskState | None  # None: the task is deleted


_EVERY = frozenset(TaskState)


def _transition(operation: str, sources: set[TaskState] | frozenset[TaskState], target: TaskState | None) -> Transition:
    return Transition(operation=operation, sources=frozenset(sources), target=target)


TRANSITIONS: tuple[Transition, ...] = (
    _transition("enqueue", set(), TaskState.PENDING),
    _transition("schedule", set(), TaskState.SCHEDULED),
    _transition("add to group", set(), TaskState.AGGREGATING),
    _transition("dequeue", {TaskState.PENDING}, TaskState.ACTIVE),
    _transition("done", {TaskState.ACTIVE}, None),
    _transition("complete", {TaskState.ACTIVE}, TaskState.COMPLETED),
    _transition("retry", {TaskState.ACTIVE}, TaskState.RETRY),
    _transition("archive", {TaskState.ACTIVE}, TaskState.ARCHIVED),
    _transition("requeue", {TaskState.ACTIVE}, TaskState.PENDING),
    _transition("forward", {TaskState.SCHEDULED, TaskState.RETRY}, TaskState.PENDING),
    _transition("forward to group", {TaskState.SCHEDULED, TaskState.RETRY}, TaskState.AGGREGATING),
    _transition("expire", {TaskState.COMPLETED}, None),
    _transition("trim", {TaskState.ARCHIVED}, None),
    _transition("run", _EVERY - {TaskState.PENDING, TaskState.ACTIVE}, TaskState.PENDING),
    _transition("archive by hand", _EVERY - {TaskState.ARCHIVED, TaskState.ACTIVE}, TaskState.ARCHIVED),
    _transition("delete", _EVERY - {TaskState.ACTIVE}, None),
    _transition("set aside", {TaskState.PENDING}, TaskState.ARCHIVED),
)


def targets(source: TaskState | None) -> frozenset[TaskState | None]:
    """States a task may have next. ``source`` None: it does not exist yet; None in the result: it is deleted."""
    return frozenset(t.target for t in TRANSITIONS if (source in t.sources if source else not t.sources))
