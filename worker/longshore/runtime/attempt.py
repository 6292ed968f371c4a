"""One attempt at one task, and the attempts a server answers for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import Enum

from longshore.broker.base import Broker, Leased
from longshore.policy.retry import CANCELLED, DEADLINE_EXCEEDED, LEASE_EXPIRED
from longshore.protocol.messages import TaskMessage

_NO_LIMIT = timedelta(minutes=30)  # what Asynq gives a message without timeout and deadline


class Interruption(Enum):
    """Why an attempt is ended from outside. The value is the text a retry carries."""

    DEADLINE = DEADLINE_EXCEEDED
    CANCELLED = CANCELLED
    CANCELLED_FOR_GOOD = "cancelled, not to be retried"
    DELETED = "cancelled, to be deleted"
    LEASE_LOST = LEASE_EXPIRED  # nothing may be written: the task may belong to another server already
    SHUTDOWN = "server is shutting down"  # the task goes back, untouched


class Attempt:
    """Mutable, owned by the event loop's thread. Threads only read ``interrupted``."""

    __slots__ = (
        "_broker",
        "answered",
        "answered_s",
        "begun_s",
        "deadline",
        "ended",
        "interruption",
        "is_async",
        "lease_expires_at",
        "loop",
        "message",
        "started_at",
        "state",
        "stepped",
        "task",
        "timer",
    )

    def __init__(
        self,
        leased: Leased,
        *,
        now: datetime,
        broker: Broker,
        loop: asyncio.AbstractEventLoop,
        is_async: bool,
        state: object = None,
    ) -> None:
        self.message = leased.message
        self.lease_expires_at = leased.lease_expires_at
        self.started_at = now
        self.deadline = deadline_of(leased.message, now=now)
        self.is_async = is_async
        self.loop = loop
        self.state = state  # what the application's lifespan yielded
        self.interruption: Interruption | None = None
        self.stepped = False  # the asyncio task has begun; cancelling it earlier would skip its error handling
        self.answered = False  # an outcome was chosen, or given up; there is no second one
        self.begun_s: float | None = None  # by the monotonic clock, when its handler was begun; None: it was not
        self.answered_s = 0.0  # … and when it was answered
        self.ended = False  # the handler's code has ended: the slot is free
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._broker = broker

    @property
    def interrupted(self) -> bool:
        """Whether the handler was told to end, or has nothing more to say."""
        return self.interruption is not None or self.answered

    def clock_stepped(self, step: timedelta) -> None:
        """The clock was put forward or back: what was counted from the attempt's start moves along."""
        self.lease_expires_at = after(self.lease_expires_at, step)
        if self.deadline != self.message.deadline:
            self.deadline = after(self.deadline, step)

    async def write_result(self, result: bytes) -> bool:
        """Store result bytes while the task is ours."""
        if self.interrupted:
            return False
        return await self._broker.write_result(self.message.queue, self.message.id, result)

    async def write_progress(self, progress: bytes) -> bool:
        """Store how far the handler is while the task is ours."""
        if self.interrupted:
            return False
        return await self._broker.write_progress(self.message.queue, self.message.id, progress)


def deadline_of(message: TaskMessage, *, now: datetime) -> datetime:
    """When an attempt begun now is cut off (asynq-protocol §4.4)."""
    if message.timeout is None:
        return message.deadline or now + _NO_LIMIT
    limit = after(now, message.timeout)
    return limit if message.deadline is None else min(limit, message.deadline)


def after(now: datetime, duration: timedelta) -> datetime:
    """``now + duration``, or the last time there is: a peer's durations may pass what Python can hold."""
    try:
        return now + duration
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)


class InFlight:
    """The attempts whose tasks are in active on this server's behalf: running, or ended and not yet acknowledged.

    Keyed by queue and id: Asynq keys by id alone, and mixes up equal ids of two queues.
    """

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], Attempt] = {}

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._attempts.values()))

    def add(self, attempt: Attempt) -> None:
        message = attempt.message
        self._attempts[message.queue, message.id] = attempt

    def discard(self, attempt: Attempt) -> None:
        """Forget it, unless the same task has meanwhile come back as a later attempt."""
        key = (attempt.message.queue, attempt.message.id)
        if self._attempts.get(key) is attempt:
            del self._attempts[key]

    def clock_stepped(self, step: timedelta) -> None:
        """The clock was put forward or back."""
        for attempt in self._attempts.values():
            attempt.clock_stepped(step)

    def of_task(self, task_id: str, queue: str | None = None) -> Sequence[Attempt]:
        """The attempts at tasks of that id, of one queue or, because Asynq's cancellation names none, of any."""
        if queue is not None:
            attempt = self._attempts.get((queue, task_id))
            return [] if attempt is None else [attempt]
        return [attempt for attempt in self._attempts.values() if attempt.message.id == task_id]

    def by_queue(self) -> dict[str, list[Attempt]]:
        """The attempts, grouped."""
        queues: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self._attempts.values():
            queues[attempt.message.queue].append(attempt)
        return queues


class WatchedInFlight(InFlight):
    """Tells of each attempt that is over. For servers with limits; others save the call."""

    def __init__(self) -> None:
        super().__init__()
        self.on_gone: Callable[[Attempt], None] = lambda attempt: None  # its task left active, or is not ours any more

    def discard(self, attempt: Attempt) -> None:
        super().discard(attempt)
        self.on_gone(attempt)
