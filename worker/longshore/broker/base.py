"""What a broker promises: the seam between the runtime's duties and Redis.

Every method of :class:`Broker` is one round trip (per queue slot) unless it says otherwise, and each state transition
in it is atomic. All raise :class:`longshore.errors.BrokerUnavailable` when Redis cannot be reached or does not answer
in time; whether the write happened is then unknown, and repeating is safe: a transition that already happened answers
"not owned" instead of happening twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from longshore.broker.tls import RedisTls
from longshore.errors import InvalidData, InvalidOption, WrongType
from longshore.protocol.messages import (
    SchedulerEnqueueEvent,
    SchedulerEntry,
    ServerInfo,
    TaskMessage,
    WorkerInfo,
)
from longshore.protocol.notices import Notice

if TYPE_CHECKING:
    from longshore.broker.groups_base import GroupStore
    from longshore.broker.permits_base import Permits
    from longshore.broker.watches_base import Watches


class NewTask(NamedTuple):
    """A task to create. Its route follows from the fields, as Asynq's client has it (asynq-protocol §2.5).

    A tuple: one is made for every task.
    """

    message: TaskMessage  # unique_key is set when a lock is wanted
    process_at: datetime | None = None  # later than now: scheduled. None: pending (or aggregating, with message.group)
    unique_for: timedelta | None = None  # lock lifetime, whole seconds ≥ 1, counted from process_at when that is later
    body: bytes | None = None  # the message's bytes, where they are known already


class EnqueueResult(Enum):
    """What became of a :class:`NewTask`."""

    CREATED = 1
    ID_CONFLICT = 0  # a task of that id exists in the queue; nothing was written
    DUPLICATE = -1  # the unique lock is held; nothing was written


@dataclass(frozen=True, kw_only=True, slots=True)
class Sending:
    """By what Redis recognises a creating call that comes twice because the first reply was lost."""

    sender: str  # unique; has one call under way at a time
    number: int  # of the call among its sender's; the same for each try of it
    lifetime: timedelta  # whole seconds ≥ 1 for which it is recognised: longer than anybody repeats it


class Leased(NamedTuple):
    """A task that dequeue moved to active. A tuple: one is made for every task."""

    message: TaskMessage
    lease_expires_at: datetime  # as written to Redis (a whole second)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """An id whose hash or msg cannot be read. Dequeue has set it aside (archived, or removed when it has no hash)."""

    queue: str
    task_id: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dequeued:
    """One dequeue's result, oldest task first."""

    leased: tuple[Leased, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    paused: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """Success without retention: the task is deleted, its lock released, counted as processed."""

    message: TaskMessage


@dataclass(frozen=True, kw_only=True, slots=True)
class Complete:
    """Success with retention: the task is kept in ``completed`` until ``message.completed_at + message.retention``."""

    message: TaskMessage  # completed_at and retention are set
    result: bytes | None = None  # stored in the task's hash in the same step


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """A failed (or postponed) attempt: the task waits in ``retry``."""

    message: TaskMessage  # error, last_failed_at, and retried + 1 when it counts as a failure
    retry_at: datetime
    is_failure: bool = True  # False: counters and retried stay


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """No further attempt: the task is kept in ``archived``."""

    message: TaskMessage  # error and last_failed_at; retried unchanged


@dataclass(frozen=True, kw_only=True, slots=True)
class Requeue:
    """Given back untouched: the task is the next to be taken."""

    message: TaskMessage


Outcome = Done | Complete | Retry | Archive | Requeue


class Exchange(NamedTuple):
    """What settling and taking in one round trip brought; each fails by itself, when a key in its way is not ours."""

    settled: list[bool] | InvalidData  # as ``settle`` answers
    taken: Dequeued | InvalidData


class Waiting(Enum):
    """What a look at a queue's scheduled and retry tasks found."""

    NONE = "none"
    LATER = "later"  # some, of which none is due
    DUE = "due"  # some that are due, or may be


class Channel(Enum):
    """What servers listen to."""

    CANCEL = "cancel"  # Asynq's: a message is the id of a task to cancel
    NOTICES = "notices"  # ours: see protocol/notices.py


class Heard(NamedTuple):
    """A message, or how it stands with a channel."""

    channel: Channel
    data: bytes | None  # None: the channel is heard from now on; what was published before may have been missed


class Broker(Protocol):
    """A Redis that speaks Asynq's protocol."""

    async def ping(self) -> None:
        """Raise BrokerUnavailable (with Redis' own reason) unless Redis answers and accepts the credentials."""

    async def time(self) -> datetime:
        """Redis' clock."""

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""

    @property
    def groups(self) -> GroupStore:
        """Groups and aggregation sets, of the same Redis."""

    @property
    def watches(self) -> Watches:
        """Waiting for tasks, in the same Redis."""

    @property
    def permits(self) -> Permits:
        """Permits within limits, of the same Redis."""

    # -- producers ---------------------------------------------------------------------------------------------------

    async def enqueue(
        self, tasks: Sequence[NewTask], *, now: datetime, sending: Sending | None = None
    ) -> list[EnqueueResult | WrongType]:
        """Create tasks of any queues and routes; one result a task, in order. Registers the queues.

        One round trip for each 1,000 of them, or fewer when they are large. WrongType: a key that the task needs is not
        what Asynq keeps there, and nothing was written for the task. With ``sending``, which is for no more tasks than
        one round trip carries, a call that is repeated is carried out once and answers each time what it did first.
        """

    # -- a worker server's taking and giving back --------------------------------------------------------------------

    async def dequeue(self, queue: str, *, limit: int, now: datetime, lease: timedelta) -> Dequeued:
        """Take up to ``limit`` (≥ 1) tasks of one queue, oldest first, leased until ``now + lease``."""

    async def settle_and_dequeue(
        self, queue: str, outcomes: Sequence[Outcome], *, limit: int, now: datetime, lease: timedelta
    ) -> Exchange:
        """``settle`` and ``dequeue`` in one round trip."""

    async def wait_for_task(self, queue: str, *, timeout: timedelta) -> bool:
        """Park until the queue has a pending task (True) or the time is over (False). Takes nothing, changes nothing.

        Uses a connection of its own; cancellation closes or returns it cleanly. Not for paused queues.
        """

    async def settle(self, queue: str, outcomes: Sequence[Outcome], *, now: datetime) -> list[bool]:
        """Carry out outcomes of one queue's active tasks. False: the task was no longer ours; nothing was written."""

    async def extend_leases(self, queue: str, task_ids: Sequence[str], *, now: datetime, lease: timedelta) -> None:
        """Move existing leases to ``now + lease``. Unknown ids are ignored (ZADD XX)."""

    async def write_result(self, queue: str, task_id: str, result: bytes) -> bool:
        """Store a running task's result bytes. False when the task is not active: nothing is written."""

    async def write_progress(self, queue: str, task_id: str, progress: bytes) -> bool:
        """Store how far a running task is, as JSON. False when the task is not active: nothing is written."""

    # -- background duties -------------------------------------------------------------------------------------------

    async def look_for_due(
        self, queues: Sequence[str], *, occupied: Collection[str], now: datetime
    ) -> dict[str, Waiting | InvalidData]:
        """For each queue whether ``forward`` would find anything, by plain reads.

        ``occupied``: queues that had scheduled or retry tasks at the last look; the others are asked more cheaply.
        """

    async def look_for_active(self, queues: Sequence[str]) -> dict[str, bool | InvalidData]:
        """For each queue whether it has any active task or lease, by plain reads."""

    async def look_for_expired(self, queues: Sequence[str], *, now: datetime) -> dict[str, bool | InvalidData]:
        """For each queue whether the retention of a completed task is over, by plain reads."""

    async def look_for_pauses(self, queues: Sequence[str]) -> dict[str, bool]:
        """For each queue whether it is paused, by plain reads."""

    async def forward(self, queue: str, *, now: datetime) -> int:
        """Move up to 100 due tasks of ``scheduled`` and 100 of ``retry`` to pending; how many were moved."""

    async def lease_expired(self, queue: str, *, cutoff: datetime) -> list[TaskMessage]:
        """Active tasks whose lease ended at or before ``cutoff``, plus those that have none at all (see recoverer).

        At most 1,000: call again after settling so many. What cannot be read is set aside, as dequeue does.
        A lease that ended and is no active task's is deleted.
        """

    async def delete_expired_completed(self, queue: str, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` completed tasks whose retention is over; how many were deleted."""

    async def publish_server(self, info: ServerInfo, workers: Sequence[WorkerInfo] | None, *, now: datetime) -> None:
        """Write a server's state with its 10 s lifetime.

        ``workers``: what it runs, in place of what was written before; None: nothing, and nothing was written before.
        """

    async def clear_server(self, info: ServerInfo) -> None:
        """Remove a server's state."""

    def messages(self) -> AsyncIterator[Heard]:
        """What is published on the channels, until closed; reconnects by itself.

        A channel that Redis refuses is left out and told of in the log.
        """

    async def notify(self, notice: Notice) -> None:
        """Tell our servers that serve the same Redis and database."""

    # -- schedulers --------------------------------------------------------------------------------------------------

    async def publish_scheduler(
        self, scheduler_id: str, entries: Sequence[SchedulerEntry], *, now: datetime, lifetime: timedelta
    ) -> None:
        """Write a scheduler's entries in Asynq's own form (asynq-protocol §3.18)."""

    async def clear_scheduler(self, scheduler_id: str) -> None:
        """Remove a scheduler's entries."""

    async def record_enqueue_events(self, events: Sequence[tuple[str, SchedulerEnqueueEvent]]) -> None:
        """Add each event to the history of its entry, given by id. The newest 1,000 are kept, and 400 days long.

        One round trip for each 1,000 of them. A history that cannot be written is passed over: people read it, no code.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisSettings:
    """Where and how to connect. One way to construct: :meth:`longshore.broker.redis_broker.RedisBroker.connect`."""

    # redis:// or unix://; redis-sentinel:// and redis-cluster:// with several hosts; rediss…:// for TLS.
    # User and password allowed, hence in no repr. docs/redis.md has every form.
    url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    username: str | None = None  # overrides the URL's
    password: str | None = field(default=None, repr=False)  # overrides the URL's
    sentinel_username: str | None = None  # of the sentinels, who have their own; overrides the URL's query
    sentinel_password: str | None = field(default=None, repr=False)  # overrides the URL's query
    tls: RedisTls | None = None  # for rediss…://; instead of the ssl_… options of the URL's query
    timeout: timedelta = timedelta(seconds=5)  # to connect, and for any one command

    @classmethod
    def of(cls, redis: str | RedisSettings | None) -> RedisSettings:
        """Settings from what people pass: a URL, settings as they are, None for the default. Raises InvalidOption."""
        if isinstance(redis, RedisSettings):
            return redis
        if not isinstance(redis, str | None):
            raise InvalidOption("redis", f"must be a URL or RedisSettings, not {type(redis).__name__}")
        return cls() if redis is None else cls(url=redis)
