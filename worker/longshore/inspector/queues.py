"""Queues: how full they are, what they counted, and whether tasks are taken from them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from longshore.broker.limits import COUNTER_AGE
from longshore.broker.poll import integer, poll_broker, queue_command, queue_snapshot
from longshore.errors import BrokerUnavailable, InvalidOption, QueueNotFound, WrongType
from longshore.inspector.connected import Connected
from longshore.inspector.reading import is_registered, text
from longshore.protocol import codec, keys
from longshore.protocol.notices import QueueResumed
from longshore.protocol.snapshots import BrokerSnapshot, QueueDay, QueueSnapshot

_NO_TICKS: Mapping[str, str] = MappingProxyType({})


class Queues(Connected):
    """The inspector's view of queues."""

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

    async def queues(self) -> tuple[QueueSnapshot, ...]:
        """Every registered queue, by name. A queue is registered by the first task ever enqueued to it."""
        [names] = await self._redis.run([("SMEMBERS", keys.QUEUES)])
        now = self._clock()
        queues = sorted(text(name) for name in names)
        replies = await self._redis.run_each([queue_command(queue, now) for queue in queues])
        return tuple(queue_snapshot(queue, reply) for queue, reply in zip(queues, replies, strict=True))

    async def queue(self, name: str) -> QueueSnapshot:
        """One queue. Raises QueueNotFound when it is not registered."""
        exists, reply = await self._redis.run_each([is_registered(name), queue_command(name, self._clock())])
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
        exists, values = await self._redis.run([is_registered(queue), ("MGET", *counters)])
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
        with contextlib.suppress(BrokerUnavailable):  # it is done: the servers notice by themselves, a second later
            await self._broker.notify(QueueResumed(queue=queue))
        return bool(deleted)
