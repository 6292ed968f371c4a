"""Permits from a real Redis, one script call each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from longshore.broker.base import Dequeued, Leased
from longshore.broker.connection import Argument, RedisConnection
from longshore.broker.limits import MOST_AT_ONCE
from longshore.broker.permits_base import Admission, Again, Asker, Permitted, Taken
from longshore.broker.scripts import ADMIT, DEQUEUE_WITHIN, TAKE_FROM_LINE
from longshore.errors import InvalidData
from longshore.policy.limits import Limit
from longshore.protocol import codec, keys

ReadDequeued = Callable[[str, Any, int, datetime], Awaitable[Dequeued | InvalidData]]
"""(queue, reply of a dequeue, end of the lease in Unix seconds, now) to the tasks; the broker's own."""

_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_WAITING, _LOST = -1, -2


class RedisPermits:
    """Implements :class:`longshore.broker.permits_base.Permits`; the connection's owner closes it."""

    def __init__(self, connection: RedisConnection, read_dequeued: ReadDequeued) -> None:
        self._connection = connection
        self._read_dequeued = read_dequeued

    async def admit(
        self, queue: str, tasks: Sequence[Permitted], *, name: str, limit: Limit, holds: int, asker: Asker
    ) -> Admission:
        permitted: list[Permitted] = []
        waiting: list[Leased] = []
        lost: list[Leased] = []
        line, otherwise = 0, ""
        for start in range(0, len(tasks), MOST_AT_ONCE):
            some = tasks[start : start + MOST_AT_ONCE]
            asked: list[Argument] = []
            for leased, after_s in some:
                asked += (leased.message.id, codec.unix_seconds(leased.lease_expires_at), round(after_s * 1_000_000))
            line, declared, *answers = await self._connection.call(
                ADMIT,
                [
                    keys.scheduled(queue),
                    keys.active(queue),
                    keys.lease(queue),
                    *_state(queue, name),
                    keys.limit_line(queue, name),
                    keys.limit_due(queue, name),
                    keys.lines(queue),
                ],
                [
                    keys.task_prefix(queue),
                    asker.grace // _SECOND,
                    asker.horizon // _MICROSECOND,
                    holds,
                    name,
                    *_terms(limit),
                    *asked,
                ],
            )
            otherwise = declared.decode(errors="replace") or otherwise
            for (leased, _), answer in zip(some, answers, strict=True):
                if answer == _WAITING:
                    waiting.append(leased)
                elif answer == _LOST:
                    lost.append(leased)
                else:
                    permitted.append(Permitted(leased=leased, after_s=answer / 1_000_000))
                    holds -= answer > 0
        return Admission(
            permitted=tuple(permitted),
            waiting=tuple(waiting),
            lost=tuple(lost),
            line=line,
            declared_otherwise=otherwise,
        )

    async def take_from_line(
        self,
        queue: str,
        *,
        name: str,
        limit: Limit,
        queue_limit: Limit | None,
        most: int,
        holds: int,
        now: datetime,
        asker: Asker,
    ) -> Taken:
        ends_s = codec.unix_seconds(now + asker.lease)
        names = [
            keys.pending(queue),
            keys.paused(queue),
            keys.active(queue),
            keys.lease(queue),
            keys.scheduled(queue),
            *_state(queue, name),
            keys.limit_line(queue, name),
            keys.limit_due(queue, name),
            keys.lines(queue),
        ]
        terms = _terms(limit)
        if queue_limit is not None:
            names.append(keys.queue_limit(queue))
            terms += _terms(queue_limit)
        line, again_us, declared, taken, gone, starts, first = await self._connection.call(
            TAKE_FROM_LINE, names, [*_taking(queue, most, ends_s, holds, asker), asker.server_id, name, *terms]
        )
        return await self._taken(queue, [taken, gone], ends_s, now, again_us, declared, starts, first, line=line)

    async def dequeue_within(
        self, queue: str, *, limit: Limit, most: int, holds: int, now: datetime, asker: Asker
    ) -> Taken:
        ends_s = codec.unix_seconds(now + asker.lease)
        reply, again_us, declared, starts, first = await self._connection.call(
            DEQUEUE_WITHIN,
            [keys.pending(queue), keys.paused(queue), keys.active(queue), keys.lease(queue), keys.queue_limit(queue)],
            [*_taking(queue, most, ends_s, holds, asker), asker.server_id, *_terms(limit)],
        )
        return await self._taken(queue, reply, ends_s, now, again_us, declared, starts, first)

    async def lines(self, queues: Sequence[str]) -> dict[str, Collection[str] | InvalidData]:
        replies = await self._connection.run_each([("SMEMBERS", keys.lines(queue)) for queue in queues])
        return {
            queue: reply if isinstance(reply, InvalidData) else [name.decode(errors="replace") for name in reply]
            for queue, reply in zip(queues, replies, strict=True)
        }

    async def _taken(
        self,
        queue: str,
        reply: Any,
        ends_s: int,
        now: datetime,
        again_us: int,
        declared: bytes,
        starts: Sequence[int],
        goes_first: bytes,
        *,
        line: int = 0,
    ) -> Taken:
        tasks = await self._read_dequeued(queue, reply, ends_s, now)
        if isinstance(tasks, InvalidData):
            raise tasks
        after_s = [start / 1_000_000 for start in starts]
        if len(tasks.leased) != len(after_s):
            # Some could not be read, and which starts were theirs is not known: no task may begin too early.
            after_s = [max(after_s, default=0.0)] * len(tasks.leased)
        return Taken(
            tasks=tasks,
            after_s=tuple(after_s),
            again=_again(again_us),
            line=line,
            declared_otherwise=declared.decode(errors="replace"),
            goes_first=goes_first.decode(errors="replace"),
        )


def _again(again_us: int) -> Again | None:
    match again_us:
        case 0:
            return None
        case -1:
            return "ended"
        case -2:
            return "begun"
        case _:
            return again_us * _MICROSECOND


def _state(queue: str, name: str) -> tuple[str, str]:
    return keys.limit(queue, name), keys.limit_running(queue, name)


def _terms(limit: Limit) -> list[Argument]:
    """A limit as permits.lua reads it."""
    rate = limit.rate
    step_us, tolerance_us = (0, 0) if rate is None else (rate.step_us, rate.tolerance_us)
    return [step_us, tolerance_us, limit.max_concurrency or 0, str(limit)]


def _taking(queue: str, most: int, ends_s: int, holds: int, asker: Asker) -> list[Argument]:
    return [
        min(most, MOST_AT_ONCE),
        ends_s,
        keys.task_prefix(queue),
        asker.grace // _SECOND,
        asker.horizon // _MICROSECOND,
        holds,
    ]
