"""The values that travel through Redis, as Python sees them: aware datetimes, timedeltas, ``None`` for absent.

Bare integers and zero-for-absent live in :mod:`longshore.protocol.codec` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from longshore.protocol.option_texts import OptionText, read_option
from longshore.protocol.quick_init import quick_init


@quick_init
@dataclass(frozen=True, kw_only=True, slots=True)
class TaskMessage:
    """The content of a task's ``msg`` field (asynq.proto: TaskMessage)."""

    type: str  # task type; never blank
    payload: bytes | None = None  # opaque; None and b"" are one on the wire, but not in a unique key
    id: str  # unique within its queue
    queue: str  # must agree with the key the message is stored under
    max_retry: int = 25  # retries, so attempts are one more; 0: no retry
    retried: int = 0  # failed attempts that led to a retry so far
    error: str | None = None  # text of the last failure
    timeout: timedelta | None = None  # whole seconds an attempt may take
    deadline: datetime | None = None  # no attempt runs beyond it
    unique_key: str | None = None  # full name of the lock key the task holds
    last_failed_at: datetime | None = None
    retention: timedelta | None = None  # how long to keep the task after success; None: delete at once
    completed_at: datetime | None = None
    group: str | None = None  # requested aggregation group
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerInfo:
    """What a worker server publishes of itself at each heartbeat (asynq.proto: ServerInfo)."""

    host: str
    pid: int
    server_id: str
    concurrency: int  # worker slots
    queues: Mapping[str, int]  # priorities as configured
    strict_priority: bool
    status: str  # active | stopped (no longer pulling) | closed (shutting down)
    started_at: datetime
    active_workers: int  # tasks in flight


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerInfo:
    """One running task, as its server publishes it (asynq.proto: WorkerInfo)."""

    host: str
    pid: int
    server_id: str
    task_id: str
    task_type: str
    payload: bytes
    queue: str
    started_at: datetime  # start of this attempt
    deadline: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerEntry:
    """One periodic entry of a live scheduler (asynq.proto: SchedulerEntry)."""

    id: str
    spec: str  # cron text as registered
    task_type: str
    payload: bytes
    options: tuple[str, ...] = ()  # Asynq's rendering, e.g. 'MaxRetry(3)'; always with parentheses
    next_at: datetime | None  # None: never
    previous_at: datetime | None

    def read_options(self) -> tuple[OptionText, ...]:
        """``options`` as values, in their order. Never raises: what cannot be read has no value."""
        return tuple(read_option(text) for text in self.options)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerEnqueueEvent:
    """One past tick of an entry (asynq.proto: SchedulerEnqueueEvent)."""

    task_id: str
    enqueued_at: datetime
