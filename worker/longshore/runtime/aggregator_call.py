"""Calling an aggregator: in time, and without harm to the server whatever it does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from longshore.broker.groups_base import Member
from longshore.group_aggregator import GroupAggregator, GroupedTask
from longshore.runtime.threads import Threads


class Answer(NamedTuple):
    """What a function returned or raised."""

    result: Any = None
    error: BaseException | None = None


class AggregatorCalls:
    """Calls aggregators: async ones as asyncio tasks, plain ones in threads."""

    def __init__(self, *, cancel_grace: timedelta) -> None:
        """``cancel_grace``: how long a cancelled call may go on when the caller is cancelled."""
        self._cancel_grace_s = cancel_grace.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._threads = Threads(loop=self._loop)

    def close(self) -> None:
        """Let go of the threads. A function that does not end is left to itself."""
        self._threads.close()

    async def call(
        self,
        aggregator: GroupAggregator,
        group: str,
        members: Sequence[Member],
        *,
        until: float,
        on_late: Callable[[], None],
    ) -> Answer | None:
        """What the function says; None when it does not say it ``until`` then, on the loop's clock.

        One that is late is told to end, and awaited, however long it goes on: it still takes up its place.
        """
        call = self._loop.create_task(self._call(aggregator, group, [_grouped(member) for member in members]))
        try:
            await asyncio.wait([call], timeout=max(0.0, until - self._loop.time()))
            if call.done():
                return call.result()
            on_late()
            if aggregator.is_async:
                call.cancel()
            await asyncio.wait([call])
        except asyncio.CancelledError:
            if aggregator.is_async:
                call.cancel()
                await asyncio.wait([call], timeout=self._cancel_grace_s)
            raise
        return None

    async def _call(self, aggregator: GroupAggregator, group: str, tasks: list[GroupedTask]) -> Answer:
        try:
            if aggregator.is_async:
                result: Any = aggregator.function(group, tasks)
            else:
                result = await self._threads.call(aggregator.function, [group, tasks], {})
            if inspect.isawaitable(result):  # also of a plain function: a decorator may hide that its function is async
                result = await result
        except BaseException as error:  # also SystemExit: an aggregator does not end the worker
            if isinstance(error, GeneratorExit) and not self._loop.is_running():
                raise  # what is left of a loop that has ended is being cleared away
            return Answer(error=error)
        return Answer(result=result)


def _grouped(member: Member) -> GroupedTask:
    message = member.message
    return GroupedTask(
        type=message.type,
        payload=message.payload,
        headers=message.headers,
        id=message.id,
        queue=message.queue,
        retried=message.retried,
        joined_at=member.joined_at,
    )
