"""What a worker counts of itself, as plain numbers in memory. ``/metrics`` reads them when somebody asks.

Tasks are counted when their outcomes have been written, those of one call together.
"""

from __future__ import annotations

from collections.abc import Sequence

from longshore.broker.base import Archive, Complete, Done, Outcome, Requeue, Retry
from longshore.metrics.distribution import Distribution
from longshore.metrics.reading import DURATIONS, TaskCounts
from longshore.runtime.attempt import Attempt

MOST_TYPES = 100
"""Task types that are told apart. A type may hold anything, such as an id, and each is a series for ever."""

OTHER = "other"
"""The type under which the rest is counted."""


class _Counts:
    """Of one type in one queue."""

    __slots__ = ("archived", "done", "durations", "lost", "postponed", "requeued", "retried")

    def __init__(self) -> None:
        self.done = self.retried = self.postponed = self.archived = self.requeued = self.lost = 0
        self.durations = Distribution(DURATIONS)

    def add(self, outcome: Outcome) -> None:
        match outcome:
            case Done() | Complete():
                self.done += 1
            case Retry(is_failure=True):
                self.retried += 1
            case Retry():
                self.postponed += 1
            case Archive():
                self.archived += 1
            case Requeue():
                self.requeued += 1


class Measures:
    """Every method is for the event loop's thread. The types seen first are told apart."""

    def __init__(self) -> None:
        self.lag = Distribution()  # of the event loop
        self._queues: dict[str, dict[str, _Counts]] = {}
        self._types: set[str] = set()

    def settled(self, queue: str, answers: Sequence[tuple[Attempt, Outcome]], owned: Sequence[bool]) -> None:
        """These outcomes of tasks of one queue were carried out, or found to be no longer ours."""
        by_type = self._queues.get(queue)
        if by_type is None:
            by_type = self._queues[queue] = {}
        task_type = counts = None
        for (attempt, outcome), was_ours in zip(answers, owned, strict=True):  # once a task: no step too many
            if counts is None or attempt.message.type != task_type:
                task_type = attempt.message.type
                counts = by_type.get(task_type) or self._counts(by_type, task_type)
            if was_ours and outcome.__class__ is Done:
                counts.done += 1
            elif not was_ours:
                counts.lost += 1
                continue
            else:
                counts.add(outcome)
            if attempt.begun_s is not None and outcome.__class__ is not Requeue:
                counts.durations.observe(attempt.answered_s - attempt.begun_s)

    def lost(self, attempt: Attempt) -> None:
        """The lease of an attempt was over before its outcome was written."""
        message = attempt.message
        self._counts(self._queues.setdefault(message.queue, {}), message.type).lost += 1

    def tasks(self) -> tuple[TaskCounts, ...]:
        """All counts so far."""
        return tuple(
            TaskCounts(
                queue=queue,
                type=task_type,
                done=counts.done,
                retried=counts.retried,
                postponed=counts.postponed,
                archived=counts.archived,
                requeued=counts.requeued,
                lost=counts.lost,
                seconds=counts.durations.sum,
                durations=tuple(counts.durations.counts),
            )
            for queue, by_type in self._queues.items()
            for task_type, counts in by_type.items()
        )

    def _counts(self, by_type: dict[str, _Counts], task_type: str) -> _Counts:
        if task_type not in self._types:
            if len(self._types) < MOST_TYPES:
                self._types.add(task_type)
            else:
                task_type = OTHER
        counts = by_type.get(task_type)
        if counts is None:
            counts = by_type[task_type] = _Counts()
        return counts
