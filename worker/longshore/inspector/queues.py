"""Queues: how full they are, what they counted, and whether tasks are taken from them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from longshore.broker.connection import Command
from longshore.broker.depths import integer, queue_command, queue_snapshot
from longshore.broker.limits import COUNTER_AGE, MOST_AT_ONCE
from longshore.broker.poll import poll_broker
from longshore.broker.reading import text
from longshore.broker.scripts import MEMORY_USAGE
from longshore.errors import BrokerUnavailable, InvalidOption, QueueNotFound, WrongType
from longshore.inspector.connected import Connected
from longshore.inspector.reading import is_registered
from longshore.protocol import codec, keys
from longshore.protocol.notices import QueueResumed
from longshore.protocol.snapshots import (
    BrokerSnapshot,
    GroupSnapshot,
    QueueDay,
    QueueSnapshot,
)

# Each takes Redis some 0.1 ms when its queue is full of tasks, and other clients wait for it.
_QUEUES_MEASURED_AT_ONCE = 20
# Groups of which tasks are measured; the others are taken to be like them.
_GROUPS_MEASURED = 5

_NO_TICKS: Mapping[str, str] = MappingProxyType({})
_NO_LOOKAHEADS: Mapping[str, Collection[timedelta]] = MappingProxyType({})


class Queues(Connected):
    """The inspector's view of queues."""

    async def snapshot(
        self,
        queues: Collection[str],
        *,
        scope: str | None = None,
        ticks_of: Mapping[str, str] = _NO_TICKS,
        lookaheads: Mapping[str, Collection[timedelta]] = _NO_LOOKAHEADS,
        known: BrokerSnapshot | None = None,
        now: datetime | None = None,
    ) -> BrokerSnapshot:
        """Everything worth watching, in one round trip, or two when a worker server is new; writes nothing.

        ``queues``: the queues to read, registered or not. One that cannot be read carries its problem; the others are
        read. ``scope``: whose scheduler and periodic entries to read. ``ticks_of``: for each entry whose tick record is
        wanted, the name of its queue, since the record lies beside it. ``lookaheads``: of queues whose scheduled and
        retry tasks shall be counted ahead of their time, how far (whole seconds). ``known``: the snapshot before
        this one, of the same scope; what has not changed since is not sent again, and is the same object as before.
        Raises WrongType when a key that belongs to no queue holds something else.
        """
        return await poll_broker(
            self._redis,
            queues,
            scope=scope,
            ticks_of=ticks_of,
            lookaheads=lookaheads,
            known=known,
            now=now if now is not None else self._clock(),
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

    async def groups(self, queue: str) -> tuple[GroupSnapshot, ...]:
        """The groups in which tasks wait, by name, with their sizes. Raises QueueNotFound."""
        exists, names = await self._redis.run([is_registered(queue), ("SMEMBERS", keys.groups(queue))])
        if not exists:
            raise QueueNotFound(queue)
        prefix = keys.group_prefix(queue).encode()
        groups = []
        for start in range(0, len(names), MOST_AT_ONCE):
            some = sorted(names)[start : start + MOST_AT_ONCE]
            replies = await self._redis.run_each(
                [
                    command
                    for name in some
                    for command in (("ZCARD", prefix + name), ("ZRANGE", prefix + name, 0, 0, "WITHSCORES"))
                ]
            )
            for name, size, oldest in zip(some, replies[::2], replies[1::2], strict=True):
                if not isinstance(size, WrongType) and size > 0:
                    since = codec.from_unix_seconds(float(oldest[1])) if oldest else None
                    groups.append(GroupSnapshot(name=text(name), size=size, oldest_at=since))
        return tuple(groups)

    async def memory_usage(self, queue: str, *, samples: int = 20) -> int:
        """The memory of a queue's tasks in bytes, estimated from ``samples`` tasks (1 to 1,000) of each container.

        Raises QueueNotFound.
        """
        exists, size = await self._redis.run([is_registered(queue), _memory_command(queue, samples)])
        if not exists:
            raise QueueNotFound(queue)
        return int(size)

    async def memory_usages(self, queues: Collection[str], *, samples: int = 20) -> dict[str, int]:
        """The same of several queues, registered or not, some in each round trip; without those that cannot be read."""
        found: dict[str, int] = {}
        for some in _batches(sorted(queues), _QUEUES_MEASURED_AT_ONCE):
            sizes = await self._redis.run_each([_memory_command(queue, samples) for queue in some])
            found |= {queue: int(size) for queue, size in zip(some, sizes, strict=True) if isinstance(size, int)}
        return found

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


def _memory_command(queue: str, samples: int) -> Command:
    if not 1 <= samples <= MOST_AT_ONCE:
        raise InvalidOption("samples", f"must be from 1 to {MOST_AT_ONCE}")
    containers = (keys.active, keys.pending, keys.scheduled, keys.retry, keys.archived, keys.completed, keys.groups)
    names = [name(queue) for name in containers]
    arguments = (samples, keys.task_prefix(queue), keys.group_prefix(queue), _GROUPS_MEASURED)
    return (MEMORY_USAGE, len(names), *names, *arguments)


def _batches(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))
