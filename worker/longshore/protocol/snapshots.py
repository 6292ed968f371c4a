"""What was read from Redis at one moment, as frozen values: for people, and for code that judges without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from longshore.protocol.messages import ServerInfo, TaskMessage, WorkerInfo
from longshore.protocol.periodic import TickRecord
from longshore.protocol.quick_init import quick_init
from longshore.protocol.states import TaskState

NO_LOOKAHEAD: Mapping[timedelta, int] = MappingProxyType({})  # shared by the many queues at which nobody looks ahead


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSnapshot:
    """One queue's depth, all of one moment."""

    name: str
    pending: int = 0  # tasks waiting to be taken
    active: int = 0  # tasks being run
    scheduled: int = 0
    retry: int = 0
    archived: int = 0
    completed: int = 0
    aggregating: int = 0  # tasks in the groups that are listed
    due: int = 0  # of scheduled and retry, those whose time has come (a server's forwarder will move them)
    # The same for a while ahead: how many are due within each lookahead that was asked for.
    due_within: Mapping[timedelta, int] = field(default_factory=lambda: NO_LOOKAHEAD)
    paused_at: datetime | None = None  # None: not paused
    # When the next task to be taken became pending. None: the queue is empty, or the time was not recorded
    # (Asynq records it on enqueue and forward only).
    oldest_pending_at: datetime | None = None
    processed_today: int = 0  # attempts since midnight UTC, failed ones included
    failed_today: int = 0  # failed attempts since midnight UTC
    processed_total: int = 0  # attempts ever, failed ones included
    failed_total: int = 0  # failed attempts ever
    problem: str | None = None  # why the queue cannot be read; every count is 0 then, and says nothing
    unreachable: bool = (
        False  # the problem is that its server, one of a cluster, is not reached; else a key of another type
    )

    @property
    def paused(self) -> bool:
        """No task is taken while a queue is paused."""
        return self.paused_at is not None

    def due_by(self, lookahead: timedelta) -> int:
        """Scheduled and retry tasks due within ``lookahead``, or within the longest shorter one that was read."""
        known = [each for each in self.due_within if each <= lookahead]
        return self.due_within[max(known)] if known else self.due

    def latency(self, now: datetime) -> timedelta | None:
        """How long the next task to be taken has waited: zero in an empty queue, None when nobody recorded it."""
        if self.oldest_pending_at is None:
            return None if self.pending else timedelta(0)
        return max(now - self.oldest_pending_at, timedelta(0))

    @property
    def size(self) -> int:
        """Tasks in all seven states."""
        return (
            self.pending + self.active + self.scheduled + self.retry + self.archived + self.completed + self.aggregating
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveLimits:
    """How much of a queue's archive is kept."""

    max_tasks: int  # the newest; at least 1
    max_age: timedelta  # since they were archived; whole seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveTrim:
    """What one step of trimming an archive did, and what is left to do."""

    deleted: int
    deleted_ever: int  # by these limits, Python workers' own trimming included
    left: int  # tasks that are still beyond the limits
    oldest_at: datetime | None  # when the oldest within the limits was archived; None: there is none


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSnapshot:
    """A live worker server and what it runs."""

    info: ServerInfo
    workers: tuple[WorkerInfo, ...] = ()  # oldest attempt first


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerLease:
    """Who is the active scheduler of a scope."""

    holder: str  # <host>:<pid>:<uuid>
    since: datetime  # when it became active


@dataclass(frozen=True, slots=True)
class EntriesSnapshot(Mapping[str, bytes]):
    """The periodic entries of a scope as they lie in Redis: name to JSON. Two with equal digests are equal."""

    found: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)
    digest: bytes = b""  # of all of them; b"" of none

    def __getitem__(self, name: str) -> bytes:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


NO_ENTRIES = EntriesSnapshot()


class ReadServer(NamedTuple):
    """A server as it lay in Redis, and what that says."""

    data: Any  # of its own record
    running: Any  # of the tasks it runs
    snapshot: ServerSnapshot | None  # None: it cannot be read


@dataclass(frozen=True, kw_only=True, slots=True)
class PollMemory:
    """What one poll leaves for the next: by what that one knows that something has not changed."""

    together: bool = False  # scripts may read several queues at once: it is one server, and no part of a cluster
    polls_apart: int = 0  # so many polls read one by one, because several at once could not be read
    digests: Mapping[object, bytes] = field(default_factory=dict)  # of a portion of queues, or of tick records
    servers: Mapping[str, ReadServer] = field(default_factory=dict)  # by key


NOTHING_READ = PollMemory()


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerSnapshot:
    """Everything the operator polls of one Redis."""

    redis_version: str
    latency: timedelta  # of the first round trip
    queues: Mapping[str, QueueSnapshot]  # every queue that was asked for
    servers: tuple[ServerSnapshot, ...] = ()  # by host, then id
    scheduler: SchedulerLease | None = None  # None: no scheduler is active, or no scope was given
    entries: EntriesSnapshot = NO_ENTRIES  # by the PeriodicTask's name
    ticks: Mapping[str, TickRecord] = field(default_factory=dict)  # PeriodicTask name to its record, if there is one
    # PeriodicTask name to why the active scheduler cannot carry out its ticks, for those that it cannot.
    refused: Mapping[str, str] = field(default_factory=dict)
    memory: PollMemory = field(default=NOTHING_READ, repr=False, compare=False)  # for the next poll
    # Why a part could not be read: a server of a cluster is away. None: all was read. Redis as a whole fails the poll.
    problem: str | None = None
    servers_known: bool = True  # False: there may be other servers, and others that are busy
    schedule_known: bool = True  # False: `scheduler` could not be read, and `entries` are those known before


@quick_init
@dataclass(frozen=True, kw_only=True, slots=True)
class TaskInfo:
    """A task and where it is."""

    message: TaskMessage
    state: TaskState
    next_process_at: datetime | None = None  # scheduled and retry: its time; pending: now; otherwise None
    result: bytes | None = None  # what the handler stored
    progress: Any = None  # active: what the handler last said of how far it is; None when it said nothing
    orphaned: bool = False  # active with a lapsed lease: its server is gone or cut off

    @property
    def id(self) -> str:
        return self.message.id

    @property
    def type(self) -> str:
        return self.message.type

    @property
    def queue(self) -> str:
        return self.message.queue

    @property
    def payload(self) -> bytes:
        return self.message.payload or b""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSnapshot:
    """A group in which tasks wait to be aggregated."""

    name: str
    size: int  # tasks, at least one
    oldest_at: datetime | None = None  # when the first of them joined


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueDay:
    """A queue's counters of one UTC day."""

    date: date
    processed: int  # attempts, failed ones included
    failed: int
