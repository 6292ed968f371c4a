"""Every read and every administrative action on a Redis: the one door for the operator, the CLI and scripts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Any, Self

from longshore.broker.base import RedisSettings
from longshore.broker.connection import Command
from longshore.broker.entry_writer import write_entries
from longshore.broker.limits import ARCHIVE_AGE, ARCHIVE_SIZE, COUNTER_AGE, MOST_AT_ONCE, TRIM_LIMIT
from longshore.broker.poll import integer, poll_broker, queue_command, queue_snapshot, read_servers
from longshore.broker.redis_broker import RedisBroker
from longshore.broker.scripts import ARCHIVE_TASK, DELETE_TASK, LIST_TASKS, READ_TASK, RUN_TASK, Script
from longshore.errors import InvalidData, InvalidOption, QueueNotFound, TaskNotFound, WrongState, WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import SchedulerEnqueueEvent, SchedulerEntry
from longshore.protocol.periodic import PeriodicEntry
from longshore.protocol.snapshots import BrokerSnapshot, QueueDay, QueueSnapshot, ServerSnapshot, TaskInfo
from longshore.protocol.states import TaskState

_NO_TICKS: Mapping[str, str] = MappingProxyType({})
_LISTS = {
    TaskState.PENDING: keys.pending,
    TaskState.ACTIVE: keys.active,
    TaskState.SCHEDULED: keys.scheduled,
    TaskState.RETRY: keys.retry,
    TaskState.ARCHIVED: keys.archived,
    TaskState.COMPLETED: keys.completed,
}


class Inspector:
    """Reads queues, tasks, servers and schedulers of one Redis, and acts on them.

    Safe to share between asyncio tasks of one event loop. Every method raises BrokerUnavailable, with Redis' own
    reason, when Redis does not answer, and WrongType when a key it needs holds something else.
    """

    def __init__(
        self,
        redis: str | RedisSettings | None = None,
        *,
        broker: RedisBroker | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``redis``: a URL, or settings; the default is a local Redis. Or a ``broker``, which the caller closes."""
        if broker is not None and redis is not None:
            raise InvalidOption("broker", "give either a Redis or a broker, not both")
        self._broker = broker if broker is not None else RedisBroker.connect(RedisSettings.of(redis))
        self._owns_broker = broker is None
        self._redis = self._broker.connection
        self._clock = clock

    # -- the poll ------------------------------------------------------------------------------------------------------

    async def snapshot(
        self,
        queues: Collection[str],
        *,
        scope: str | None = None,
        ticks_of: Mapping[str, str] = _NO_TICKS,
        now: datetime | None = None,
    ) -> BrokerSnapshot:
        """Everything worth watching, in at most two round trips; writes nothing.

        ``queues``: the queues to read, registered or not. One that cannot be read carries its problem; the others are
        read. ``scope``: whose scheduler and periodic entries to read. ``ticks_of``: for each entry whose tick record is
        wanted, the name of its queue, since the record lies beside it. Raises WrongType when a key that belongs to no
        queue holds something else.
        """
        return await poll_broker(
            self._redis, queues, scope=scope, ticks_of=ticks_of, now=now if now is not None else self._clock()
        )

    # -- queues --------------------------------------------------------------------------------------------------------

    async def queues(self) -> tuple[QueueSnapshot, ...]:
        """Every registered queue, by name. A queue is registered by the first task ever enqueued to it."""
        [names] = await self._redis.run([("SMEMBERS", keys.QUEUES)])
        now = self._clock()
        queues = sorted(_text(name) for name in names)
        replies = await self._redis.run_each([queue_command(queue, now) for queue in queues])
        return tuple(queue_snapshot(queue, reply) for queue, reply in zip(queues, replies, strict=True))

    async def queue(self, name: str) -> QueueSnapshot:
        """One queue. Raises QueueNotFound when it is not registered."""
        exists, reply = await self._redis.run_each([_is_registered(name), queue_command(name, self._clock())])
        if isinstance(exists, WrongType):
            raise exists
        if not exists:
            raise QueueNotFound(name)
        return queue_snapshot(name, reply)

    async def history(self, queue: str, days: int = 7) -> tuple[QueueDay, ...]:
        """The counters of the last ``days`` UTC days (1 to 90), today's first. Raises QueueNotFound."""
        if not 1 <= days <= COUNTER_AGE.days:
            raise InvalidOption("days", f"must be from 1 to {COUNTER_AGE.days}: counters are kept for so long")
        today = self._clock().astimezone(UTC).date()
        dates = [today - timedelta(days=ago) for ago in range(days)]
        counters = [name(queue, day) for day in dates for name in (keys.processed, keys.failed)]
        exists, values = await self._redis.run([_is_registered(queue), ("MGET", *counters)])
        if not exists:
            raise QueueNotFound(queue)
        numbers = [integer(value) for value in values]
        return tuple(
            QueueDay(date=day, processed=processed, failed=failed)
            for day, processed, failed in zip(dates, numbers[::2], numbers[1::2], strict=True)
        )

    async def pause(self, queue: str) -> bool:
        """Let no task of the queue be taken, by any server, until unpause. False when it was paused already."""
        [was_set] = await self._redis.run([("SETNX", keys.paused(queue), codec.unix_seconds(self._clock()))])
        return bool(was_set)

    async def unpause(self, queue: str) -> bool:
        """Undo pause. False when it was not paused."""
        [deleted] = await self._redis.run([("DEL", keys.paused(queue))])
        return bool(deleted)

    # -- tasks ---------------------------------------------------------------------------------------------------------

    async def list_tasks(
        self, queue: str, state: TaskState | str, *, page: int = 1, size: int = 30, group: str | None = None
    ) -> tuple[TaskInfo, ...]:
        """One page of the tasks in a state: pending and active oldest first, the others by time, earliest first.

        ``page`` counts from 1, ``size`` is 1 to 1,000. ``group`` is needed for aggregating tasks, which wait in groups.
        Tasks whose content cannot be read are left out. Raises QueueNotFound.
        """
        state = _state(state)
        if page < 1:
            raise InvalidOption("page", "must be 1 or more")
        if not 1 <= size <= MOST_AT_ONCE:
            raise InvalidOption("size", f"must be from 1 to {MOST_AT_ONCE}")
        if (state is TaskState.AGGREGATING) != (group is not None):
            raise InvalidOption("group", "is needed for aggregating tasks, and for no others")
        container = keys.group(queue, group) if group is not None else _LISTS[state](queue)
        now = self._clock()
        arguments = ((page - 1) * size, size, keys.task_prefix(queue), codec.unix_seconds(now))
        exists, rows = await self._redis.run(
            [_is_registered(queue), (LIST_TASKS, 2, container, keys.lease(queue), *arguments)]
        )
        if not exists:
            raise QueueNotFound(queue)
        tasks = []
        for _, data, result, score, lapsed in rows:
            try:
                tasks.append(_task_info(data, state, result, score, lapsed, now))
            except InvalidData:
                continue
        return tuple(tasks)

    async def task(self, queue: str, task_id: str) -> TaskInfo:
        """One task. Raises TaskNotFound, and InvalidData when its content cannot be read."""
        now = self._clock()
        reply = await self._redis.call(
            READ_TASK,
            [keys.task(queue, task_id), keys.lease(queue)],
            [task_id, keys.queue_prefix(queue), codec.unix_seconds(now)],
        )
        if reply is None:
            raise TaskNotFound(queue, task_id)
        data, state, result, score, lapsed = reply
        return _task_info(data, _stored_state(state), result, score, lapsed, now)

    async def run_task(self, queue: str, task_id: str) -> bool:
        """Make a task pending now, whatever it waits for. False when it is pending already.

        Raises TaskNotFound, and WrongState when it is active.
        """
        now_ns = codec.unix_nanoseconds(self._clock())
        names = [keys.task(queue, task_id), keys.pending(queue), keys.groups(queue)]
        reply = await self._act(RUN_TASK, names, queue, task_id, now_ns)
        if reply == -1:
            raise WrongState(queue, task_id, "active", "run")
        return reply == 1

    async def archive_task(self, queue: str, task_id: str) -> bool:
        """Put a task that is not running into the archive. False when it is there already.

        Raises TaskNotFound, and WrongState when it is active.
        """
        now = self._clock()
        names = [keys.task(queue, task_id), keys.archived(queue), keys.groups(queue)]
        cutoff_s = codec.unix_seconds(now - ARCHIVE_AGE)
        arguments = (codec.unix_seconds(now), cutoff_s, ARCHIVE_SIZE, TRIM_LIMIT)
        reply = await self._act(ARCHIVE_TASK, names, queue, task_id, *arguments)
        if reply == -2:
            raise WrongState(queue, task_id, "active", "archive")
        return reply == 1

    async def delete_task(self, queue: str, task_id: str) -> None:
        """Delete a task that is not running, and free its unique lock.

        Raises TaskNotFound, and WrongState when it is active.
        """
        names = [keys.task(queue, task_id), keys.groups(queue)]
        if await self._act(DELETE_TASK, names, queue, task_id) == -1:
            raise WrongState(queue, task_id, "active", "delete")

    async def cancel(self, task_id: str) -> int:
        """Ask whichever server runs the task to cancel it; how many servers heard it. Nothing is stored."""
        [listeners] = await self._redis.run([("PUBLISH", keys.CANCEL_CHANNEL, task_id)])
        return int(listeners)

    # -- servers and schedulers ----------------------------------------------------------------------------------------

    async def servers(self) -> tuple[ServerSnapshot, ...]:
        """Live worker servers, Go ones included, with the tasks they run."""
        return await read_servers(self._redis, now=self._clock())

    async def scheduler_entries(self) -> tuple[SchedulerEntry, ...]:
        """Periodic entries of every live scheduler, Go ones included, by the time of their next tick."""
        now_s = codec.unix_seconds(self._clock())
        [schedulers] = await self._redis.run([("ZRANGEBYSCORE", keys.SCHEDULERS, now_s, "+inf")])
        lists = await self._redis.run([("LRANGE", key, 0, -1) for key in schedulers])
        entries = []
        for data in (item for items in lists for item in items):
            try:
                entries.append(codec.decode_scheduler_entry(data))
            except InvalidData:
                continue
        never = datetime.max.replace(tzinfo=UTC)
        return tuple(sorted(entries, key=lambda entry: (entry.next_at or never, entry.id)))

    async def enqueue_events(
        self, entry_id: str, *, page: int = 1, size: int = 30
    ) -> tuple[SchedulerEnqueueEvent, ...]:
        """Past ticks of one scheduler entry, newest first. ``page`` counts from 1."""
        if page < 1 or size < 1:
            raise InvalidOption("page" if page < 1 else "size", "must be 1 or more")
        first = (page - 1) * size
        [items] = await self._redis.run([("ZREVRANGE", keys.scheduler_history(entry_id), first, first + size - 1)])
        events = []
        for data in items:
            try:
                events.append(codec.decode_enqueue_event(data))
            except InvalidData:
                continue
        return tuple(events)

    async def periodic_entries(self, scope: str) -> Mapping[str, bytes]:
        """The periodic entries of a scope as they lie in Redis: name to JSON."""
        [flat] = await self._redis.run([("HGETALL", keys.periodic_entries(scope))])
        return {_text(name): data for name, data in zip(flat[::2], flat[1::2], strict=True)}

    async def write_periodic(
        self,
        scope: str,
        set: Mapping[str, PeriodicEntry],  # noqa: A002
        remove: Collection[str] = (),
    ) -> None:
        """Write and remove periodic entries of a scope. Others stay; doing it twice changes nothing.

        With an entry goes its history. Its tick record outlives it for a week, and is found again by an entry of the
        same name and queue: no tick runs twice for having been removed in between.
        """
        await write_entries(self._redis, scope, changed=set, removed=remove)

    # -- the connection ------------------------------------------------------------------------------------------------

    async def ping(self) -> None:
        """Raise BrokerUnavailable, with Redis' own reason, unless Redis answers and accepts the credentials."""
        await self._broker.ping()

    async def aclose(self) -> None:
        """Close the connections the inspector made. Idempotent."""
        if self._owns_broker:
            await self._broker.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _act(self, script: Script, names: list[str], queue: str, task_id: str, *arguments: int) -> int:
        reply: int = await self._redis.call(script, names, [task_id, keys.queue_prefix(queue), *arguments])
        if reply == 0:
            raise TaskNotFound(queue, task_id)
        if reply == -3:
            raise InvalidData(f"task {task_id!r} of queue {queue!r} is not where its state says it is")
        return reply


def _is_registered(queue: str) -> Command:
    return ("SISMEMBER", keys.QUEUES, queue)


def _state(state: TaskState | str) -> TaskState:
    try:
        return TaskState(state)
    except ValueError:
        names = ", ".join(known.value for known in TaskState)
        raise InvalidOption("state", f"{state!r} is not a task state; there are {names}") from None


def _stored_state(data: bytes) -> TaskState:
    try:
        return TaskState(_text(data))
    except ValueError:
        raise InvalidData(f"the task's state is {_text(data)!r}, which is none of Asynq's") from None


def _task_info(data: Any, state: TaskState, result: Any, score: Any, lapsed: int, now: datetime) -> TaskInfo:
    if data is None:
        raise InvalidData("the task has no content")
    next_process_at = None
    if state is TaskState.PENDING:
        next_process_at = now
    elif state in (TaskState.SCHEDULED, TaskState.RETRY) and score is not None:
        next_process_at = codec.from_unix_seconds(float(score))
    return TaskInfo(
        message=codec.decode_task(data),
        state=state,
        next_process_at=next_process_at,
        result=result,
        orphaned=state is TaskState.ACTIVE and bool(lapsed),
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
