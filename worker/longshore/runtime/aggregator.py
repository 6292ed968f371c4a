"""Finds groups that are ready, and has them aggregated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import NamedTuple

from longshore.broker.groups_base import GroupPage, GroupState, GroupStore
from longshore.errors import BrokerUnavailable, InvalidData, LongshoreError
from longshore.group_aggregator import GroupAggregator, GroupRouter
from longshore.policy.grouping import GroupingRule, hold_after, readiness
from longshore.runtime.aggregation import Aggregations
from longshore.runtime.duties import Duties
from longshore.runtime.outage import Outage
from longshore.runtime.reclaimer import Reclaimer
from longshore.runtime.rounds import visit_each
from longshore.runtime.timing import Clock, Timing

_DUTY = "aggregator"

_AT_ONCE = 4  # aggregations under way; Asynq: 3

# Groups found ready that wait for their turn. Beyond, looking on is of no use: they are found again.
_MOST_READY = 1000

_SHARE = 9  # a look is followed by a pause that is so many times as long
_LONGEST_PAUSE_S = 30.0

_FORGET_S = 300.0  # a group that failed and was not found again was taken by another server, or deleted

_logger = logging.getLogger("longshore.server")

_Key = tuple[str, str]  # queue, group


class _Ready(NamedTuple):
    queue: str
    group: GroupState
    aggregator: GroupAggregator


class _Failed(NamedTuple):
    times: int  # in a row
    until: float  # left alone until then, on the loop's clock


class Aggregator:
    """``tick`` looks for groups that are ready, ``run`` carries the aggregations out, a few at once.

    The server that does a queue's duties looks each second while there are groups. The others look now and then: the
    one that does the duties may be one without aggregators.
    """

    def __init__(
        self,
        groups: GroupStore,
        *,
        queues: Collection[str],
        duties: Duties,
        router: GroupRouter,
        rule: GroupingRule,
        aggregations: Aggregations,
        reclaimer: Reclaimer,
        outage: Outage,
        timing: Timing,
        clock: Clock,
    ) -> None:
        self._groups = groups
        self._duties = duties
        self._router = router
        self._rule = rule
        self._aggregations = aggregations
        self._reclaimer = reclaimer
        self._outage = outage
        self._aside_s = timing.aggregate_aside.total_seconds()
        self._idle_s = timing.aggregate_idle.total_seconds()
        self._hold = timing.aggregation_hold
        self._clock = clock
        self._monotonic = asyncio.get_running_loop().time
        self._look_at: dict[str, float] = dict.fromkeys(queues, 0.0)  # by queue, when to look again
        self._ready: asyncio.Queue[_Ready | None] = asyncio.Queue()
        self._busy: set[_Key] = set()  # found ready and not through yet
        self._failed: dict[_Key, _Failed] = {}
        self._stopped = False

    # -- finding -----------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        now = self._monotonic()
        self._failed = {key: one for key, one in self._failed.items() if one.until + _FORGET_S > now}
        due = [queue for queue, at in self._look_at.items() if at <= now]
        if due:
            await visit_each(await self._groups.look_for_groups(due), self._look)

    async def _look(self, queue: str, any_groups: bool) -> None:
        began = self._monotonic()
        held = queue in self._duties.held()
        if not any_groups:
            self._look_at[queue] = began + (self._idle_s if held else self._aside_s)
            return
        cursor: str | None = None
        refused: LongshoreError | None = None
        while True:
            now = self._clock()
            page = await self._groups.list_groups(queue, cursor=cursor, now=now)
            refused = refused or await self._reclaim(page)
            for group in page.groups:
                aggregator = self._router.find(group.name)
                if aggregator is not None:
                    self._consider(_Ready(queue, group, aggregator))
            if page.strangers:
                refused = refused or InvalidData(
                    f"queue {queue!r}: what is listed as {page.strangers[0]!r} is no group"
                )
            cursor = page.cursor
            if cursor is None or self._ready.qsize() >= _MOST_READY:
                break
        # A hundred thousand groups take a while to look at: no more than a tenth of Redis' time may go into that.
        ended = self._monotonic()
        pause_s = min(_SHARE * (ended - began), _LONGEST_PAUSE_S)
        self._look_at[queue] = ended + (pause_s if held else max(pause_s, self._aside_s))
        if refused is not None:
            raise refused

    async def _reclaim(self, page: GroupPage) -> InvalidData | None:
        try:
            await self._reclaimer.reclaim(page.expired)
        except InvalidData as error:
            return error
        return None

    def _consider(self, one: _Ready) -> None:
        key = (one.queue, one.group.name)
        failed = self._failed.get(key)
        if key in self._busy or (failed is not None and failed.until > self._monotonic()):
            return
        if self._is_ready(one.group, one.aggregator):
            self._busy.add(key)
            self._ready.put_nowait(one)

    def _is_ready(self, group: GroupState, aggregator: GroupAggregator) -> bool:
        return (
            readiness(
                size=group.size,
                first_joined_at=group.first_joined_at,
                last_joined_at=group.last_joined_at,
                rule=aggregator.rule(self._rule),
                now=self._clock(),
            )
            is not None
        )

    # -- carrying out ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until ``stop``, and what is under way then has ended. Cancelled, it gives that back to the groups."""
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(_AT_ONCE):
                    workers.create_task(self._work())
        finally:
            self._aggregations.close()

    def stop(self) -> None:
        """Begin no further aggregation."""
        self._stopped = True
        for _ in range(_AT_ONCE):
            self._ready.put_nowait(None)

    async def _work(self) -> None:
        while (one := await self._ready.get()) is not None:
            try:
                await self._aggregate(one)
            except BrokerUnavailable as error:
                self._outage.failed(_DUTY, error)  # over with the next look that is answered
            except LongshoreError as error:
                self._outage.refused(_DUTY, error)
            except Exception:
                _logger.exception("A duty failed; it goes on", extra={"action": "duty_failed", "duty": _DUTY})
            finally:
                self._busy.discard((one.queue, one.group.name))

    async def _aggregate(self, one: _Ready) -> None:
        """Aggregate a group for as long as it is ready: there may be more in it than fit into one task."""
        key = (one.queue, one.group.name)
        limit = one.aggregator.rule(self._rule).limit
        group: GroupState | None = one.group
        while group is not None and not self._stopped and self._is_ready(group, one.aggregator):
            ended = await self._aggregations.carry_out(one.queue, group, one.aggregator, limit=limit)
            if ended is None:
                return
            if not ended.went_well:
                times = self._failed[key].times + 1 if key in self._failed else 1
                hold = hold_after(times, first=self._hold)
                self._failed[key] = _Failed(times, self._monotonic() + hold.total_seconds())
                await self._aggregations.hold(ended.set_name, hold)
                return
            self._failed.pop(key, None)
            group = ended.left
