"""The broker on a real Redis: values in, one script call or pipeline, values out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from longshore.broker.base import (
    Archive,
    Complete,
    Dequeued,
    Done,
    EnqueueResult,
    Leased,
    NewTask,
    Outcome,
    RedisSettings,
    Requeue,
    Retry,
    Unreadable,
)
from longshore.broker.connection import Argument, Command, RedisConnection
from longshore.broker.scripts import (
    ADD_TO_GROUP,
    ARCHIVE,
    COMPLETE,
    DELETE_EXPIRED_COMPLETED,
    DEQUEUE,
    DONE,
    ENQUEUE,
    FORWARD,
    LEASE_EXPIRED,
    PUBLISH_SCHEDULER,
    PUBLISH_SERVER,
    RECORD_ENQUEUE_EVENT,
    REQUEUE,
    RETRY,
    SCHEDULE,
    SET_ASIDE,
    WRITE_RESULT,
)
from longshore.errors import BrokerUnavailable, InvalidData
from longshore.protocol import codec, keys
from longshore.protocol.messages import (
    SchedulerEnqueueEvent,
    SchedulerEntry,
    ServerInfo,
    TaskMessage,
    WorkerInfo,
)

# Ids per script call: Lua hands at most some 8,000 values to one command, and a long script delays every other client.
MOST_AT_ONCE = 1000

# Payload bytes sent in one round trip, unless a single task has more: what a slow network carries within a time limit.
_MOST_BYTES = 4 * 1024 * 1024

# How many due tasks one call forwards from each of the two sets, and how many surplus tasks one archive call deletes.
# Both are Asynq's batch sizes or near them: small enough for a script of about a millisecond.
_FORWARD_LIMIT = 100
TRIM_LIMIT = 1000

# Asynq keeps archived tasks for 90 days and at most 9,999 of them, and the daily counters for 90 days.
ARCHIVE_AGE = timedelta(days=90)
ARCHIVE_SIZE = 9_999
_COUNTER_DAYS = timedelta(days=90)

# A server missed for two heartbeats (5 s) is gone.
_SERVER_LIFETIME_S = 10

# Events kept of one periodic entry, and for how long after the last: longer than from one yearly tick to the next.
_HISTORY_SIZE = 1000
_HISTORY_LIFETIME_S = timedelta(days=400) // timedelta(seconds=1)

# A subscription silent for so long is probed. A lost one is tried again after so many seconds.
_SUBSCRIPTION_IDLE = timedelta(seconds=15)
_RESUBSCRIBE_S = 1.0

_SECOND = timedelta(seconds=1)

_log = logging.getLogger(__name__)


class RedisBroker:
    """Implements :class:`longshore.broker.base.Broker` on one Redis (6.2 or later)."""

    def __init__(self, connection: RedisConnection) -> None:
        self.connection = connection

    @classmethod
    def connect(cls, settings: RedisSettings) -> RedisBroker:
        """A broker for that Redis. Nothing is sent yet. Raises InvalidOption when the URL cannot be read."""
        return cls(RedisConnection(settings))

    async def ping(self) -> None:
        await self.connection.run([("PING",)])

    async def aclose(self) -> None:
        await self.connection.aclose()

    # -- producers ---------------------------------------------------------------------------------------------------

    async def enqueue(self, tasks: Sequence[NewTask], *, now: datetime) -> list[EnqueueResult]:
        results: list[EnqueueResult] = []
        for some in _portions(tasks):
            # Always, not once a process as Asynq's client does: another process may have removed the queue since.
            queues = dict.fromkeys(task.message.queue for task in some)
            commands: list[Command] = [("SADD", keys.QUEUES, *queues)]
            commands += [_creation(task, now) for task in some]
            replies = await self.connection.run(commands)
            results += [EnqueueResult(reply) for reply in replies[1:]]
        return results

    # -- a worker server's taking and giving back --------------------------------------------------------------------

    async def dequeue(self, queue: str, *, limit: int, now: datetime, lease: timedelta) -> Dequeued:
        names = _names(queue)
        expires_at_s = codec.unix_seconds(now + lease)
        reply = await self.connection.call(
            DEQUEUE, names.dequeue, (min(limit, MOST_AT_ONCE), expires_at_s, names.task_prefix)
        )
        if reply == 0:
            return _NOTHING
        if reply == -1:
            return _PAUSED
        taken, lost = reply
        expires_at = codec.from_unix_seconds(expires_at_s)
        leased: list[Leased] = []
        unreadable = [Unreadable(queue=queue, task_id=_text(i), problem="the task has no content") for i in lost]
        aside: list[bytes] = []
        for i in range(0, len(taken), 2):
            try:
                message = _read(queue, taken[i], taken[i + 1])
            except InvalidData as error:
                aside.append(taken[i])
                unreadable.append(Unreadable(queue=queue, task_id=_text(taken[i]), problem=str(error)))
            else:
                leased.append(Leased(message=message, lease_expires_at=expires_at))
        if aside:
            # The tasks taken beside them must not be lost for that. What stays active, the recoverer finds.
            with contextlib.suppress(BrokerUnavailable, InvalidData):
                await self._set_aside(queue, aside, now)
        return Dequeued(leased=tuple(leased), unreadable=tuple(unreadable))

    async def wait_for_task(self, queue: str, *, timeout: timedelta) -> bool:
        # Moving the tail onto itself changes nothing, but waits until there is one.
        pending = keys.pending(queue)
        seconds = max(timeout.total_seconds(), 0.001)  # 0 would mean for ever
        reply = await self.connection.block(
            ("BLMOVE", pending, pending, "RIGHT", "RIGHT", f"{seconds:.3f}"), wait=timeout
        )
        return reply is not None

    async def settle(self, queue: str, outcomes: Sequence[Outcome], *, now: datetime) -> list[bool]:
        commands: list[Command] = []
        positions: list[Sequence[int]] = []  # for each command, the outcomes it carries out
        by_kind: dict[type, list[int]] = {}
        for position, outcome in enumerate(outcomes):
            by_kind.setdefault(type(outcome), []).append(position)
        for kind, all_positions in by_kind.items():
            for start in range(0, len(all_positions), MOST_AT_ONCE):
                some = all_positions[start : start + MOST_AT_ONCE]
                commands.append(_SETTLEMENTS[kind](queue, [outcomes[p] for p in some], now))
                positions.append(some)
        if Requeue in by_kind:
            # Each call puts its tasks before all others, so the calls go backwards as the script does.
            commands.reverse()
            positions.reverse()
        settled = [True] * len(outcomes)
        for refused, carried_out in zip(await self.connection.run(commands), positions, strict=True):
            for number in refused:
                settled[carried_out[number - 1]] = False
        return settled

    async def extend_leases(self, queue: str, task_ids: Sequence[str], *, now: datetime, lease: timedelta) -> None:
        if not task_ids:
            return
        expires_at_s = codec.unix_seconds(now + lease)
        scores = [value for task_id in task_ids for value in (expires_at_s, task_id)]
        await self.connection.run([("ZADD", keys.lease(queue), "XX", *scores)])

    async def write_result(self, queue: str, task_id: str, result: bytes) -> bool:
        return bool(await self.connection.call(WRITE_RESULT, [keys.task(queue, task_id)], [result]))

    # -- background duties -------------------------------------------------------------------------------------------

    async def forward(self, queue: str, *, now: datetime) -> int:
        arguments = (
            codec.unix_seconds(now),
            codec.unix_nanoseconds(now),
            _FORWARD_LIMIT,
            keys.task_prefix(queue),
            keys.group_prefix(queue),
        )
        moved = await self.connection.run(
            [
                (FORWARD, 3, source, keys.pending(queue), keys.groups(queue), *arguments)
                for source in (keys.scheduled(queue), keys.retry(queue))
            ]
        )
        return sum(moved)

    async def lease_expired(self, queue: str, *, cutoff: datetime) -> list[TaskMessage]:
        reply = await self.connection.call(
            LEASE_EXPIRED,
            [keys.lease(queue), keys.active(queue)],
            [codec.unix_seconds(cutoff), MOST_AT_ONCE, keys.task_prefix(queue)],
        )
        messages: list[TaskMessage] = []
        aside: list[bytes] = []
        for task_id, data in zip(reply[::2], reply[1::2], strict=True):
            try:
                messages.append(_read(queue, task_id, data))
            except InvalidData:
                aside.append(task_id)
        if aside:
            # One such task must not keep the others from being recovered; it would be found at every call.
            await self._set_aside(queue, aside, cutoff)
        return messages

    async def delete_expired_completed(self, queue: str, *, now: datetime, limit: int) -> int:
        deleted: int = await self.connection.call(
            DELETE_EXPIRED_COMPLETED,
            [keys.completed(queue)],
            [codec.unix_seconds(now), min(limit, MOST_AT_ONCE), keys.task_prefix(queue)],
        )
        return deleted

    async def publish_server(self, info: ServerInfo, workers: Sequence[WorkerInfo], *, now: datetime) -> None:
        server_key = keys.server(info.host, info.pid, info.server_id)
        workers_key = keys.workers(info.host, info.pid, info.server_id)
        expires_at_s = codec.unix_seconds(now) + _SERVER_LIFETIME_S
        running = [value for worker in workers for value in (worker.task_id, codec.encode_worker(worker))]
        await self.connection.run(
            [
                ("ZADD", keys.SERVERS, expires_at_s, server_key),
                ("ZADD", keys.WORKERS, expires_at_s, workers_key),
                (PUBLISH_SERVER, 2, server_key, workers_key, _SERVER_LIFETIME_S, codec.encode_server(info), *running),
            ]
        )

    async def clear_server(self, info: ServerInfo) -> None:
        server_key = keys.server(info.host, info.pid, info.server_id)
        workers_key = keys.workers(info.host, info.pid, info.server_id)
        await self.connection.run(
            [
                ("ZREM", keys.SERVERS, server_key),
                ("ZREM", keys.WORKERS, workers_key),
                ("DEL", server_key, workers_key),
            ]
        )

    async def cancellations(self) -> AsyncIterator[str]:
        connected = True
        while not self.connection.closed:
            try:
                async for message in self.connection.messages(keys.CANCEL_CHANNEL, idle=_SUBSCRIPTION_IDLE):
                    connected = True
                    yield _text(message)
            except BrokerUnavailable as error:
                if connected and not self.connection.closed:
                    _log.warning("cancellations are not heard: %s", error, extra={"action": "subscribe"})
                connected = False
                await asyncio.sleep(_RESUBSCRIBE_S)

    # -- schedulers --------------------------------------------------------------------------------------------------

    async def publish_scheduler(
        self, scheduler_id: str, entries: Sequence[SchedulerEntry], *, now: datetime, lifetime: timedelta
    ) -> None:
        key = keys.scheduler(scheduler_id)
        encoded = [codec.encode_scheduler_entry(entry) for entry in entries]
        await self.connection.run(
            [
                ("ZADD", keys.SCHEDULERS, codec.unix_seconds(now + lifetime), key),
                (PUBLISH_SCHEDULER, 1, key, _whole_seconds(lifetime), *encoded),
            ]
        )

    async def clear_scheduler(self, scheduler_id: str) -> None:
        key = keys.scheduler(scheduler_id)
        await self.connection.run([("ZREM", keys.SCHEDULERS, key), ("DEL", key)])

    async def record_enqueue_events(self, events: Sequence[tuple[str, SchedulerEnqueueEvent]]) -> None:
        for start in range(0, len(events), MOST_AT_ONCE):
            # a history whose key is of another type is passed over
            await self.connection.run_each(
                [_recording(entry_id, event) for entry_id, event in events[start : start + MOST_AT_ONCE]]
            )

    async def _set_aside(self, queue: str, task_ids: Sequence[bytes], now: datetime) -> None:
        await self.connection.call(
            SET_ASIDE,
            [keys.active(queue), keys.lease(queue), keys.archived(queue)],
            [codec.unix_seconds(now), keys.task_prefix(queue), *task_ids],
        )


_NOTHING = Dequeued()
_PAUSED = Dequeued(paused=True)


class _Names:
    """Names that every dequeue and settlement of a queue needs, encoded once."""

    __slots__ = ("archive", "complete", "dequeue", "done", "requeue", "retry", "task_prefix")

    def __init__(self, queue: str) -> None:
        pending, active, lease = (name(queue).encode() for name in (keys.pending, keys.active, keys.lease))
        self.task_prefix = keys.task_prefix(queue).encode()
        self.dequeue = (pending, keys.paused(queue).encode(), active, lease)
        self.done = (active, lease)
        self.complete = (active, lease, keys.completed(queue).encode())
        self.retry = (active, lease, keys.retry(queue).encode())
        self.archive = (active, lease, keys.archived(queue).encode())
        self.requeue = (active, lease, pending)


@lru_cache(maxsize=1024)
def _names(queue: str) -> _Names:
    return _Names(queue)


def _read(queue: str, task_id: bytes, data: bytes | None) -> TaskMessage:
    """The task, if it is one and the one its keys say. Raises InvalidData."""
    if data is None:
        raise InvalidData("the task has no content")
    message = codec.decode_task(data)
    # What becomes of a task is written under the names in its message; those of another would never be cleaned up.
    if message.id.encode() != task_id:
        raise InvalidData(f"the task's content is that of task {message.id!r}")
    if message.queue != queue:
        raise InvalidData(f"the task's content is that of queue {message.queue!r}")
    return message


def _recording(entry_id: str, event: SchedulerEnqueueEvent) -> Command:
    at_s = codec.unix_seconds(event.enqueued_at)
    data = codec.encode_enqueue_event(event)
    key = keys.scheduler_history(entry_id)
    return (RECORD_ENQUEUE_EVENT, 1, key, at_s, data, _HISTORY_SIZE, _HISTORY_LIFETIME_S)


def _portions(tasks: Sequence[NewTask]) -> Iterator[Sequence[NewTask]]:
    """The tasks in order, so many at a time that each round trip ends well within its time limit."""
    start = size = 0
    for end, task in enumerate(tasks):
        size += len(task.message.payload or b"")
        if end > start and (end - start == MOST_AT_ONCE or size > _MOST_BYTES):
            yield tasks[start:end]
            start, size = end, len(task.message.payload or b"")
    if start < len(tasks):
        yield tasks[start:]


def _creation(task: NewTask, now: datetime) -> Command:
    """The call that creates one task, by the route its fields say (asynq-protocol §2.5)."""
    message = task.message
    queue = message.queue
    body = codec.encode_task(message)
    lock: list[Argument] = []
    lifetime: list[Argument] = []
    delay = timedelta()
    scheduled = task.process_at is not None and task.process_at > now
    if scheduled and task.process_at is not None:
        delay = task.process_at - now
    if message.unique_key:
        if task.unique_for is None:
            raise ValueError("a task with a unique key needs unique_for")
        lock.append(message.unique_key)
        lifetime.append(_whole_seconds(delay + task.unique_for))
    names: list[Argument] = [keys.task(queue, message.id)]
    if scheduled and task.process_at is not None:
        names += [keys.scheduled(queue), *lock]
        due_s = codec.unix_seconds(task.process_at)
        return (SCHEDULE, len(names), *names, message.id, body, due_s, *lifetime)
    if message.group:
        names += [keys.group(queue, message.group), keys.groups(queue), *lock]
        now_s = codec.unix_seconds(now)
        return (ADD_TO_GROUP, len(names), *names, message.id, body, now_s, message.group, *lifetime)
    names += [keys.pending(queue), *lock]
    return (ENQUEUE, len(names), *names, message.id, body, codec.unix_nanoseconds(now), *lifetime)


def _settle_done(queue: str, outcomes: Sequence[Done], now: datetime) -> Command:
    names = _names(queue)
    tasks: list[Argument] = []
    for outcome in outcomes:
        message = outcome.message
        tasks += (message.id, message.unique_key or b"")
    today, total, _, _ = _counters(queue, now)
    return (DONE, 4, *names.done, today, total, names.task_prefix, _counter_expiry_s(now), *tasks)


def _settle_complete(queue: str, outcomes: Sequence[Complete], now: datetime) -> Command:
    names = _names(queue)
    tasks: list[Argument] = []
    for outcome in outcomes:
        message = outcome.message
        if message.completed_at is None or message.retention is None:
            raise ValueError("a completed task needs completed_at and retention")
        tasks += (
            message.id,
            message.unique_key or b"",
            # added as numbers: a peer's retention may lead beyond the calendar's end
            codec.unix_seconds(message.completed_at) + message.retention // _SECOND,
            codec.encode_task(message),
            b"0" if outcome.result is None else b"1",
            outcome.result or b"",
        )
    today, total, _, _ = _counters(queue, now)
    return (COMPLETE, 5, *names.complete, today, total, names.task_prefix, _counter_expiry_s(now), *tasks)


def _settle_retry(queue: str, outcomes: Sequence[Retry], now: datetime) -> Command:
    names = _names(queue)
    tasks: list[Argument] = []
    for outcome in outcomes:
        tasks += (
            outcome.message.id,
            codec.unix_seconds(outcome.retry_at),
            codec.encode_task(outcome.message),
            b"1" if outcome.is_failure else b"0",
        )
    return (RETRY, 7, *names.retry, *_counters(queue, now), names.task_prefix, _counter_expiry_s(now), *tasks)


def _settle_archive(queue: str, outcomes: Sequence[Archive], now: datetime) -> Command:
    names = _names(queue)
    arguments: list[Argument] = [
        names.task_prefix,
        _counter_expiry_s(now),
        codec.unix_seconds(now),
        codec.unix_seconds(now - ARCHIVE_AGE),
        ARCHIVE_SIZE,
        TRIM_LIMIT,
    ]
    for outcome in outcomes:
        arguments += (outcome.message.id, codec.encode_task(outcome.message))
    return (ARCHIVE, 7, *names.archive, *_counters(queue, now), *arguments)


def _settle_requeue(queue: str, outcomes: Sequence[Requeue], now: datetime) -> Command:
    names = _names(queue)
    ids = [outcome.message.id for outcome in outcomes]
    return (REQUEUE, 3, *names.requeue, names.task_prefix, codec.unix_nanoseconds(now), *ids)


_SETTLEMENTS: Mapping[type, Any] = {
    Done: _settle_done,
    Complete: _settle_complete,
    Retry: _settle_retry,
    Archive: _settle_archive,
    Requeue: _settle_requeue,
}


def _counters(queue: str, now: datetime) -> tuple[str, str, str, str]:
    day = now.astimezone(UTC).date()
    return (
        keys.processed(queue, day),
        keys.processed_total(queue),
        keys.failed(queue, day),
        keys.failed_total(queue),
    )


def _counter_expiry_s(now: datetime) -> int:
    return codec.unix_seconds(now + _COUNTER_DAYS)


def _whole_seconds(duration: timedelta) -> int:
    """Redis wants a lifetime of at least one whole second."""
    return max(int(duration.total_seconds()), 1)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
