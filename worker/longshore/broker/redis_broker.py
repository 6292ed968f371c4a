"""The broker on a real Redis: values in, one script call or pipeline, values out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from longshore.broker.base import (
    Channel,
    Dequeued,
    EnqueueResult,
    Exchange,
    Heard,
    Leased,
    NewTask,
    Outcome,
    RedisSettings,
    Sending,
    Unreadable,
    Waiting,
)
from longshore.broker.connection import Argument, Command, RedisConnection
from longshore.broker.creation import created, creation_calls, portions
from longshore.broker.groups import RedisGroupStore
from longshore.broker.limits import MOST_AT_ONCE
from longshore.broker.looks import due_commands, is_over, waiting
from longshore.broker.permits import RedisPermits
from longshore.broker.queue_names import queue_names
from longshore.broker.reading import read_message, text
from longshore.broker.scripts import (
    DELETE_EXPIRED_COMPLETED,
    DEQUEUE,
    EXTEND_LEASES,
    FORWARD,
    LEASE_EXPIRED,
    PUBLISH_SCHEDULER,
    PUBLISH_SERVER,
    RECORD_ENQUEUE_EVENT,
    SET_ASIDE,
    WRITE_PROGRESS,
    WRITE_RESULT,
)
from longshore.broker.settlements import settled, settlement_commands
from longshore.broker.topology import open_redis
from longshore.broker.watches import RedisWatches
from longshore.errors import BrokerUnavailable, InvalidData, WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import (
    SchedulerEnqueueEvent,
    SchedulerEntry,
    ServerInfo,
    TaskMessage,
    WorkerInfo,
)
from longshore.protocol.notices import Notice, encode_notice

# How many due tasks one call forwards from each of the two sets: Asynq's batch size, small enough for a script of about
# a millisecond.
_FORWARD_LIMIT = 100

# Running tasks encoded before the event loop has another turn: a few milliseconds.
_WORKERS_A_STEP = 500

# A server missed for two heartbeats (5 s) is gone.
_SERVER_LIFETIME_S = 10

# Events kept of one periodic entry, and for how long after the last: longer than from one yearly tick to the next.
_HISTORY_SIZE = 1000
_HISTORY_LIFETIME_S = timedelta(days=400) // timedelta(seconds=1)

# A subscription silent for so long is probed. A lost one is tried again after so many seconds.
_SUBSCRIPTION_IDLE = timedelta(seconds=15)
_RESUBSCRIBE_S = 1.0

_log = logging.getLogger(__name__)


class RedisBroker:
    """Implements :class:`longshore.broker.base.Broker` on one Redis (6.2 or later)."""

    def __init__(self, connection: RedisConnection) -> None:
        self.connection = connection
        self.groups = RedisGroupStore(connection)
        self.permits = RedisPermits(connection, self._dequeued)
        self.watches = RedisWatches(connection)

    @classmethod
    def connect(cls, settings: RedisSettings) -> RedisBroker:
        """A broker for that Redis. Nothing is sent yet. Raises InvalidOption when the URL cannot be read."""
        return cls(open_redis(settings))

    async def ping(self) -> None:
        await self.connection.ping()

    async def time(self) -> datetime:
        [(seconds, microseconds)] = await self.connection.run([("TIME",)])
        return codec.from_unix_nanoseconds((int(seconds) * 1_000_000 + int(microseconds)) * 1000)

    async def aclose(self) -> None:
        await self.connection.aclose()

    # -- producers ---------------------------------------------------------------------------------------------------

    async def enqueue(
        self, tasks: Sequence[NewTask], *, now: datetime, sending: Sending | None = None
    ) -> list[EnqueueResult | WrongType]:
        results: list[EnqueueResult | WrongType] = []
        for some in portions(tasks):
            if sending is not None and len(some) < len(tasks):
                raise ValueError("only one round trip is recognised by its number: give one portion")
            calls = creation_calls(some, now, sending)
            # Always, not once a process as Asynq's client does: another process may have removed the queue since.
            register: Command = ("SADD", keys.QUEUES, *(call.queue for call in calls))
            registered, *replies = await self.connection.run_each([register, *(call.command for call in calls)])
            if isinstance(registered, WrongType):
                raise registered
            results += created(some, calls, replies)
        return results

    # -- a worker server's taking and giving back --------------------------------------------------------------------

    async def dequeue(self, queue: str, *, limit: int, now: datetime, lease: timedelta) -> Dequeued:
        taken = (await self.settle_and_dequeue(queue, (), limit=limit, now=now, lease=lease)).taken
        if isinstance(taken, InvalidData):
            raise taken
        return taken

    async def settle(self, queue: str, outcomes: Sequence[Outcome], *, now: datetime) -> list[bool]:
        commands, positions = settlement_commands(queue, outcomes, now)
        return settled(await self.connection.run(commands), positions, len(outcomes))

    async def settle_and_dequeue(
        self, queue: str, outcomes: Sequence[Outcome], *, limit: int, now: datetime, lease: timedelta
    ) -> Exchange:
        names = queue_names(queue)
        expires_at_s = codec.unix_seconds(now + lease)
        commands, positions = settlement_commands(queue, outcomes, now)
        commands.append((DEQUEUE, 4, *names.dequeue, min(limit, MOST_AT_ONCE), expires_at_s, names.task_prefix))
        *replies, taken = await self.connection.run_each(commands)
        refused = next((reply for reply in replies if isinstance(reply, InvalidData)), None)
        return Exchange(
            settled=refused or settled(replies, positions, len(outcomes)),
            taken=await self._dequeued(queue, taken, expires_at_s, now),
        )

    async def _dequeued(self, queue: str, reply: Any, expires_at_s: int, now: datetime) -> Dequeued | InvalidData:
        if isinstance(reply, InvalidData):
            return reply
        if reply == 0:
            return _NOTHING
        if reply == -1:
            return _PAUSED
        taken, lost = reply
        expires_at = codec.from_unix_seconds(expires_at_s)
        leased: list[Leased] = []
        unreadable = [Unreadable(queue=queue, task_id=text(i), problem="the task has no content") for i in lost]
        aside: list[bytes] = []
        for i in range(0, len(taken), 2):
            try:
                message = read_message(queue, taken[i], taken[i + 1])
            except InvalidData as error:
                aside.append(taken[i])
                unreadable.append(Unreadable(queue=queue, task_id=text(taken[i]), problem=str(error)))
            else:
                leased.append(Leased(message, expires_at))
        if aside:
            # The tasks taken beside them must not be lost for that. What stays active, the recoverer finds.
            with contextlib.suppress(BrokerUnavailable, InvalidData):
                await self._set_aside(queue, aside, now)
        return Dequeued(leased=tuple(leased), unreadable=tuple(unreadable))

    async def wait_for_task(self, queue: str, *, timeout: timedelta) -> bool:
        # Moving the tail onto itself changes nothing, but waits until there is one.
        pending = keys.pending(queue)
        seconds = max(timeout.total_seconds(), 0.002)  # 0 would mean for ever, and Redis 6 makes 0 of 0.001
        reply = await self.connection.block(
            ("BLMOVE", pending, pending, "RIGHT", "RIGHT", f"{seconds:.3f}"), wait=timeout
        )
        return reply is not None

    async def extend_leases(self, queue: str, task_ids: Sequence[str], *, now: datetime, lease: timedelta) -> None:
        if not task_ids:
            return
        ends_at_s = codec.unix_seconds(now + lease)
        for start in range(0, len(task_ids), MOST_AT_ONCE):
            some = task_ids[start : start + MOST_AT_ONCE]
            await self.connection.call(EXTEND_LEASES, [keys.lease(queue)], [ends_at_s, *some])

    async def write_result(self, queue: str, task_id: str, result: bytes) -> bool:
        return bool(await self.connection.call(WRITE_RESULT, [keys.task(queue, task_id)], [result]))

    async def write_progress(self, queue: str, task_id: str, progress: bytes) -> bool:
        names = [keys.task(queue, task_id), keys.waiting(queue, task_id)]
        return bool(await self.connection.call(WRITE_PROGRESS, names, [progress]))

    # -- background duties -------------------------------------------------------------------------------------------

    async def look_for_due(
        self, queues: Sequence[str], *, occupied: Collection[str], now: datetime
    ) -> dict[str, Waiting | InvalidData]:
        replies = await self._look(queues, due_commands(queues, occupied))
        return {
            queue: reply if isinstance(reply, InvalidData) else waiting(reply, now) for queue, reply in replies.items()
        }

    async def look_for_active(self, queues: Sequence[str]) -> dict[str, bool | InvalidData]:
        replies = await self._look(queues, [[("EXISTS", keys.active(queue), keys.lease(queue))] for queue in queues])
        return {queue: reply if isinstance(reply, InvalidData) else bool(reply[0]) for queue, reply in replies.items()}

    async def look_for_expired(self, queues: Sequence[str], *, now: datetime) -> dict[str, bool | InvalidData]:
        earliest = [[("ZRANGE", keys.completed(queue), 0, 0, "WITHSCORES")] for queue in queues]
        replies = await self._look(queues, earliest)
        return {
            queue: reply if isinstance(reply, InvalidData) else is_over(reply[0], now)
            for queue, reply in replies.items()
        }

    async def look_for_pauses(self, queues: Sequence[str]) -> dict[str, bool]:
        replies = await self.connection.run([("EXISTS", keys.paused(queue)) for queue in queues])
        return {queue: bool(reply) for queue, reply in zip(queues, replies, strict=True)}

    async def _look(
        self, queues: Sequence[str], commands: Sequence[Sequence[Command]]
    ) -> dict[str, list[Any] | InvalidData]:
        """The replies to each queue's commands, or that a key of it is of another type."""
        replies = iter(await self.connection.run_each([command for some in commands for command in some]))
        found: dict[str, list[Any] | InvalidData] = {}
        for queue, some in zip(queues, commands, strict=True):
            answers = [next(replies) for _ in some]
            found[queue] = next((answer for answer in answers if isinstance(answer, InvalidData)), answers)
        return found

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
                (FORWARD, 3, source, keys.pending(queue), keys.groups(queue), *arguments, to_groups)
                for source, to_groups in ((keys.scheduled(queue), 1), (keys.retry(queue), 0))
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
                messages.append(read_message(queue, task_id, data))
            except InvalidData as error:
                aside.append(task_id)
                _log.error(
                    "A task could not be read and was set aside",
                    extra={
                        "action": "task_unreadable",
                        "queue": queue,
                        "task_id": text(task_id),
                        "error": str(error),
                    },
                )
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

    async def publish_server(self, info: ServerInfo, workers: Sequence[WorkerInfo] | None, *, now: datetime) -> None:
        server_key = keys.server(info.host, info.pid, info.server_id)
        expires_at_s = codec.unix_seconds(now) + _SERVER_LIFETIME_S
        commands: list[Command] = [("ZADD", keys.SERVERS, expires_at_s, server_key)]
        if workers is None:
            commands.append(("SETEX", server_key, _SERVER_LIFETIME_S, codec.encode_server(info)))
        else:
            workers_key = keys.workers(info.host, info.pid, info.server_id)
            running: list[Argument] = []
            for number, worker in enumerate(workers, start=1):
                running += (worker.task_id, codec.encode_worker(worker))
                if number % _WORKERS_A_STEP == 0:
                    await asyncio.sleep(0)  # thousands at once would hold up the event loop
            written = (PUBLISH_SERVER, 2, server_key, workers_key, _SERVER_LIFETIME_S, codec.encode_server(info))
            commands += [("ZADD", keys.WORKERS, expires_at_s, workers_key), (*written, *running)]
        await self.connection.run(commands)

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

    async def messages(self) -> AsyncIterator[Heard]:
        channels = {keys.CANCEL_CHANNEL: Channel.CANCEL, keys.notices(self.connection.database): Channel.NOTICES}
        connected = True
        refused: set[str] = set()
        while not self.connection.closed:
            try:
                heard = self.connection.messages(list(channels), idle=_SUBSCRIPTION_IDLE)
                async with contextlib.aclosing(heard):
                    async for channel, data in heard:
                        if isinstance(data, BrokerUnavailable):
                            if channel not in refused:
                                _tell_unheard(channel, data)
                            refused.add(channel)
                            if refused >= channels.keys():
                                raise data
                        else:
                            connected = True
                            refused.discard(channel)
                            yield Heard(channels[channel], data)
            except BrokerUnavailable as error:
                if connected and not self.connection.closed:
                    _tell_unheard(", ".join(channels), error)
                connected = False
                await asyncio.sleep(_RESUBSCRIBE_S)

    async def notify(self, notice: Notice) -> None:
        await self.connection.run([("PUBLISH", keys.notices(self.connection.database), encode_notice(notice))])

    # -- schedulers --------------------------------------------------------------------------------------------------

    async def publish_scheduler(
        self, scheduler_id: str, entries: Sequence[SchedulerEntry], *, now: datetime, lifetime: timedelta
    ) -> None:
        key = keys.scheduler(scheduler_id)
        encoded = [codec.encode_scheduler_entry(entry) for entry in entries]
        await self.connection.run(
            [
                ("ZADD", keys.SCHEDULERS, codec.unix_seconds(now + lifetime), key),
                (PUBLISH_SCHEDULER, 1, key, max(int(lifetime.total_seconds()), 1), *encoded),
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


def _recording(entry_id: str, event: SchedulerEnqueueEvent) -> Command:
    at_s = codec.unix_seconds(event.enqueued_at)
    data = codec.encode_enqueue_event(event)
    key = keys.scheduler_history(entry_id)
    return (RECORD_ENQUEUE_EVENT, 1, key, at_s, data, _HISTORY_SIZE, _HISTORY_LIFETIME_S)


def _tell_unheard(channel: str, error: BrokerUnavailable) -> None:
    _log.warning(
        "Messages are not heard; trying again", extra={"action": "unheard", "channel": channel, "error": str(error)}
    )
