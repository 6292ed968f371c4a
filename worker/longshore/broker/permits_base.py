"""What limits need of a broker: permits, given over all servers of a queue together.

All raise BrokerUnavailable when Redis cannot be reached, and InvalidData when a key is of another type.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol, TypeAlias

from longshore.broker.base import Dequeued, Leased
from longshore.errors import InvalidData
from longshore.policy.limits import Limit

Again: TypeAlias = timedelta | Literal["ended", "begun"]
"""When it is worth asking again: after so long, when some task has ended, or when one that is held has begun."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """Who asks, and on what terms. The same for every call of a server."""

    server_id: str  # so that no server starves while others are served
    lease: timedelta  # for the tasks that are taken
    grace: timedelta  # how long a place outlives its task's lease: till a worker that was cut off has ended it
    horizon: timedelta  # how far ahead a start is given; the task holds a slot until then


class Permitted(NamedTuple):
    """A task that may begin."""

    leased: Leased
    after_s: float  # … so many seconds from now


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What became of tasks that were taken and are of a limited type."""

    permitted: tuple[Permitted, ...]
    waiting: tuple[Leased, ...]  # they are scheduled now, and not the server's any more
    lost: tuple[Leased, ...]  # no longer the server's when it asked
    line: int  # tasks that wait for this limit in all
    declared_otherwise: str  # the limit as another server declares it; "" when all say the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """Tasks that were taken within limits."""

    tasks: Dequeued
    after_s: tuple[float, ...]  # for each leased task how long to wait before it may begin
    again: Again | None  # None: all that was there, or was asked for, is taken
    line: int = 0  # tasks that wait for the limit of a type still
    declared_otherwise: str = ""
    goes_first: str = ""  # id of a server that has asked in vain for long: what may begin was left to it


class Permits(Protocol):
    """See permits.lua for how a limit is kept."""

    async def admit(
        self, queue: str, tasks: Sequence[Permitted], *, name: str, limit: Limit, holds: int, asker: Asker
    ) -> Admission:
        """Ask for tasks of one limited type that were dequeued; those that must wait are scheduled at once.

        ``name``: the limit's. ``holds``: how many of them may be given a start that is later than now. A task's own
        ``after_s`` is kept. Repeating a call whose reply was lost is safe: what stands in the line already is answered
        as lost, what was permitted keeps its place, and is asked for anew if it has none.
        """

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
        """Take up to ``most`` tasks that have waited longest and may begin now."""

    async def dequeue_within(
        self, queue: str, *, limit: Limit, most: int, holds: int, now: datetime, asker: Asker
    ) -> Taken:
        """``Broker.dequeue`` for a queue that has a limit: takes only what may begin."""

    async def lines(self, queues: Sequence[str]) -> dict[str, Collection[str] | InvalidData]:
        """For each queue, names of the limits that tasks wait for; or that the key is of another type."""
