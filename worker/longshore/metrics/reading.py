"""What a worker process has counted, read at one moment; also as JSON takes it, for the process that minds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

# Upper bounds in seconds: from a query to a report of half an hour, Asynq's limit for a task that has none.
DURATIONS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class TaskCounts(NamedTuple):
    """Attempts at the tasks of one type in one queue, since the process began. A tuple, as JSON takes it."""

    queue: str
    type: str
    done: int  # succeeded, or dropped as their handler or policy wanted
    retried: int  # failed, to be tried again
    postponed: int  # to be tried again, and not counted as failed
    archived: int  # failed for good
    requeued: int  # put back untouched
    lost: int  # their lease was over before their outcome was written; they run again elsewhere
    seconds: float  # what those took, together, whose handler was begun and that were not put back
    durations: tuple[int, ...]  # … and how many of them lie between the bounds of DURATIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerReading:
    """One worker process."""

    slots: int  # tasks at once
    busy: int  # handlers whose code has not ended
    stuck: int  # those among them that were given up
    in_flight: Mapping[str, int]  # tasks the process answers for, by queue
    tasks: tuple[TaskCounts, ...]
    lag_s: float  # how late the event loop came round, all times together
    lags: tuple[int, ...]  # … and how often, between the bounds of distribution.SECONDS

    def fields(self) -> dict[str, Any]:
        """What JSON takes, and ``of`` gives back."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> WorkerReading:
        """From what came out of JSON."""
        tasks = tuple(TaskCounts._make([*counts, tuple(durations)]) for *counts, durations in fields["tasks"])
        return cls(**{**fields, "tasks": tasks, "lags": tuple(fields["lags"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class OfProcess:
    """A process of a worker, as it was read."""

    name: str | None  # value of the label `process`; None: there is only one, and no such label
    pid: int
    reading: WorkerReading | None  # None: it runs no tasks, or does not answer
