"""What the demo saw and read, as frozen values: all that the verdict may look at.

Two accounts that know nothing of each other are compared: Redis' own bookkeeping of the tasks, and the journal that the
shop's handlers keep. The cluster's account (replicas, pods) comes from watches that began before the burst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalEntry:
    """One line of the shop's journal; `at` is Redis' clock."""

    at: datetime
    event: str  # started | finished
    task_id: str
    task_type: str
    retried: int  # failed attempts before this one
    worker: str  # pod name


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueCount:
    """One queue's tasks by state, as Redis counts them."""

    pending: int = 0
    active: int = 0
    scheduled: int = 0
    retry: int = 0
    archived: int = 0
    completed: int = 0
    failed_attempts: int = 0  # ever


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaChange:
    """A Deployment was seen with this number in its spec."""

    at: datetime
    replicas: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PodLife:
    """A worker pod, as far as the watch saw it."""

    name: str
    pool: str
    told_to_stop_at: datetime | None = None  # when its deletion was asked for; None: it was not
    gone: bool = False
    exit_code: int | None = None  # of the worker container; None: never seen ended
    exit_reason: str | None = None  # Completed, Error, OOMKilled
    restarts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodicAccount:
    """One periodic task: what the scheduler recorded of its ticks."""

    name: str
    entry_id: str  # <namespace>:<broker>:<name>
    since: datetime  # ticks come after it
    every: timedelta | None  # the distance of an @every schedule; None: another kind of schedule
    enqueued: int  # ticks that became a task
    missed: int  # ticks given up
    last_tick: datetime | None
    suspended_at: datetime | None = None  # when the demo stopped it, as known to the demo


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything, once the story has ended."""

    enqueued: tuple[str, ...]  # task ids that the Go client got for its tasks
    burst_at: datetime  # just before its first call
    burst_ended_at: datetime
    pods_at_burst: Mapping[str, int]  # pool → pods that existed then
    journal: tuple[JournalEntry, ...]  # in order
    completed: frozenset[str]  # ids Redis holds as completed
    queues: Mapping[str, QueueCount]
    burst_pools: tuple[str, ...]  # pools that had to come from zero and go back
    replicas: Mapping[str, tuple[ReplicaChange, ...]]  # pool → the numbers its Deployment had, in order
    pods: tuple[PodLife, ...]
    periodic: tuple[PeriodicAccount, ...]
