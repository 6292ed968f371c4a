"""What the operator has seen, as the plan's input. Frozen values; the ``observe`` package makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from longshore.protocol.snapshots import ArchiveLimits, BrokerSnapshot
from longshore_operator.api import reasons
from longshore_operator.api.broker import Broker
from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.api.queue import Queue
from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.plan.throughput import Throughput
from longshore_operator.plan.windows import Windows

Manifest = Mapping[str, Any]  # a Kubernetes object as the API server sends it


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretReading:
    """All the Secret keys that a Broker names. The values themselves never enter the plan."""

    found: bool  # each of them is there and can be used
    version: str | None = None  # changes whenever a value does (a digest keyed to the objects' uids, no value)
    invalid: bool = False  # when not found: it is there, but cannot be used
    problem: str | None = None  # when not found: which Secret or key it is, and the fix

    @property
    def reason(self) -> str:
        """The reason of conditions when not found."""
        return reasons.SECRET_INVALID if self.invalid else reasons.SECRET_NOT_FOUND


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerReading:
    """The last polls of one Broker's Redis. A failed one is not a reading of zero: ``snapshot`` stays the last good."""

    snapshot: BrokerSnapshot | None = None  # the last good poll; None before the first
    read_at: datetime | None = None  # when that poll ended
    failures: int = 0  # polls failed since
    failing_since: datetime | None = None
    error: str | None = None  # Redis' or the network's own reason; None when the last poll succeeded

    @property
    def reachable(self) -> bool:
        """Whether the last poll succeeded."""
        return self.snapshot is not None and self.error is None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildDeployment:
    """A Deployment of the name we would use, ours or not."""

    manifest: Manifest
    owned: bool  # its controller owner reference is our object (by uid)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildBudget:
    """A PodDisruptionBudget of the name we would use, ours or not."""

    manifest: Manifest
    owned: bool  # its controller owner reference is our object (by uid)


@dataclass(frozen=True, kw_only=True, slots=True)
class PodReading:
    """A pod of a worker pool."""

    name: str  # equals the host that its worker's heartbeat gives
    phase: str  # Pending | Running | Succeeded | Failed | Unknown
    ready: bool
    terminating: bool
    deletion_cost: int | None = None  # the annotation as it stands
    waiting_container: str | None = None  # the container that keeps the pod from being ready, if one is known to
    waiting_reason: str | None = None  # why it waits, e.g. ImagePullBackOff, CrashLoopBackOff
    waiting_message: str | None = None

    @property
    def active(self) -> bool:
        """Whether Kubernetes counts it as a replica: one that has ended (evicted by its node, say) stays a record."""
        return not self.terminating and self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedBroker:
    """Everything the plan of a Broker may look at."""

    reading: BrokerReading
    secret: SecretReading | None  # None: the Broker names no Secret, or they were not read yet
    scheduler: ChildDeployment | None
    users: tuple[str, ...] = ()  # objects that refer to it, as "Queue/critical", sorted
    periodic_tasks: tuple[PeriodicTask, ...] = ()  # of this Broker, by name
    # Whether the entries were found to be as they should, and neither they nor a PeriodicTask has changed since: with a
    # thousand of them, comparing each again at every look would be most of the work.
    entries_settled: bool = False
    apply_error: str | None = None  # the API server's message when it last refused the scheduler's Deployment
    write_error: str | None = None  # why the entries could not be written to Redis at the last try


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveReading:
    """What is known of a queue's archive since the operator last acted on it."""

    at: datetime
    limits: ArchiveLimits | None  # as they were set; None: undone
    trimmed: int = 0  # tasks ever deleted by them
    left: int = 0  # tasks that were still beyond them
    oldest_at: datetime | None = None  # when the oldest of the others was archived; None: there was none
    untold: int = 0  # tasks that the operator deleted since the last Event about it
    told_at: datetime | None = None  # when that was


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedQueue:
    """Everything the plan of a Queue may look at."""

    broker: Broker | None
    reading: BrokerReading
    rivals: tuple[Queue, ...] = ()  # other Queue objects of the same Broker and queueName
    archive: ArchiveReading | None = None  # None: not touched yet by this process
    removed: bool = False  # the queue was removed from Redis, as its deletionPolicy says
    write_error: str | None = None  # why Redis could not be written at the last try


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolMemory:
    """What one pool's decision must remember between polls. Kept by the operator's process, never by Kubernetes."""

    observed_since: datetime  # when this process first planned the pool
    replicas: int  # the count that was decided last, or found at the start
    # Samples of the demand, oldest first, as far as a stabilization window still needs them: `highs` falls from entry
    # to entry (its first is the window's maximum), `lows` rises. A failed poll counts as a demand of the count it held.
    highs: tuple[tuple[datetime, int], ...] = ()
    lows: tuple[tuple[datetime, int], ...] = ()
    idle_since: datetime | None = None  # since when nothing waits, runs or is due
    shrink_held_since: datetime | None = None  # since when a shrink waits for heartbeats to tell who is busy
    grown_at: datetime | None = None
    shrunk_at: datetime | None = None
    throughput: Throughput | None = None  # None before the first reading
    windows: Windows | None = None  # None without schedules


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedPool:
    """Everything the plan of a WorkerPool may look at."""

    broker: Broker | None
    reading: BrokerReading
    secret: SecretReading | None
    deployment: ChildDeployment | None
    pods: tuple[PodReading, ...] = ()
    sharing: tuple[WorkerPool, ...] = ()  # the other pools of the same Broker that serve one of its queues
    memory: PoolMemory | None = None  # None: never planned by this process
    apply_error: str | None = None  # the API server's message when it last refused the Deployment (of this generation)
    budget: ChildBudget | None = None
    budget_error: str | None = None  # the same of the PodDisruptionBudget


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedPeriodicTask:
    """Everything the plan of a PeriodicTask may look at."""

    broker: Broker | None
    reading: BrokerReading
    scheduler: ChildDeployment | None
    write_error: str | None = None  # why the Broker's entries could not be written to Redis at the last try
