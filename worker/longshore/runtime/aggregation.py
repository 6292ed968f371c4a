"""One aggregation, from taking a group's tasks to the task in their place, or to giving them back."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

from longshore.broker.groups_base import FinishResult, GroupState, GroupStore, Member, SetName
from longshore.errors import BrokerUnavailable, EnqueueError, LongshoreError, RevokeTask, SkipRetry
from longshore.group_aggregator import GroupAggregator
from longshore.policy.retry import storable
from longshore.runtime.aggregator_call import AggregatorCalls
from longshore.runtime.ending import signal_in, text_of
from longshore.runtime.merging import Merging
from longshore.runtime.outage import Outage, backoff_s
from longshore.runtime.timing import Clock, Timing

T = TypeVar("T")

_DUTY = "aggregation"

# A function that is not through so long before its set goes back to the group is told to end: what it returns later
# could not be used any more. The clocks of servers differ a little.
_MARGIN = timedelta(seconds=5)

_logger = logging.getLogger("longshore.server")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What became of one aggregation."""

    went_well: bool  # False: its tasks wait; leave the group alone for a while
    set_name: SetName
    left: GroupState | None  # what is left of the group; None: nothing


class Aggregations:
    """Carries out aggregations, any number at once.

    Redis decides who takes a group and whether it was finished: whatever ends this server or hides a reply, each task
    is aggregated once. What is not finished goes back to the group. A cancelled one is given back at once.
    """

    def __init__(
        self,
        groups: GroupStore,
        *,
        calls: AggregatorCalls,
        merging: Merging,
        outage: Outage,
        timing: Timing,
        clock: Clock,
        random: Random,
    ) -> None:
        self._groups = groups
        self._calls = calls
        self._merging = merging
        self._outage = outage
        self._timing = timing
        self._clock = clock
        self._random = random
        self._monotonic = asyncio.get_running_loop().time

    def close(self) -> None:
        """Let go of what calls have left."""
        self._calls.close()

    async def carry_out(
        self, queue: str, group: GroupState, aggregator: GroupAggregator, *, limit: int
    ) -> Ended | None:
        """Take at most ``limit`` tasks of a group, and finish. None: somebody else was faster.

        Raises LongshoreError when Redis does not answer, or a key is in the way; the tasks go back in the end.
        """
        name = SetName(queue=queue, group=group.name, set_id=str(uuid.uuid4()))
        ends_at = self._clock() + self._timing.aggregation
        taken = await self._groups.take(name, first_id=group.first_id, limit=limit, until=ends_at)
        if not taken.size:
            return None
        give_up_at = self._monotonic() + (self._timing.aggregation - _MARGIN).total_seconds()
        try:
            went_well = await self._aggregate(name, aggregator, give_up_at)
        except asyncio.CancelledError:
            await self._give_back(name)
            raise
        return Ended(went_well=went_well, set_name=name, left=taken.left)

    async def hold(self, name: SetName, hold: timedelta) -> None:
        """Leave the set of a failed aggregation alone for so long: here and, as Redis has it, for all servers."""
        await self._groups.hold(name, until=self._clock() + hold)

    async def _aggregate(self, name: SetName, aggregator: GroupAggregator, give_up_at: float) -> bool:
        content = await self._persist(lambda: self._groups.read(name, now=self._clock()), give_up_at)
        for one in content.unreadable:
            _logger.error(
                "A task of a group cannot be read and was set aside",
                extra={**_fields("task_set_aside", name), "task_id": one.task_id, "problem": one.problem},
            )
        members = content.members
        if not members:
            await self._drop(name, (), give_up_at)
            return True
        answer = await self._calls.call(
            aggregator,
            name.group,
            members,
            until=give_up_at,
            on_late=lambda: _report(
                "An aggregator takes too long; its tasks go back", "aggregation_too_slow", name, logging.ERROR
            ),
        )
        if answer is None:
            return False
        error = answer.error
        if error is None:
            error = await self._replace(name, members, answer.result, give_up_at)
        if error is None:
            return True
        signal = signal_in(error)
        if isinstance(signal, SkipRetry):
            await self._archive(name, members, error, give_up_at)
            _report("The tasks of a group were archived by their aggregator", "group_archived", name, logging.WARNING)
        elif isinstance(signal, RevokeTask):
            await self._drop(name, members, give_up_at)
            _report("The tasks of a group were dropped by their aggregator", "group_dropped", name, logging.INFO)
        else:
            _report_failure(name, aggregator, len(members), error)
            return False
        return True

    async def _replace(
        self, name: SetName, members: Sequence[Member], task: Any, give_up_at: float
    ) -> BaseException | None:
        """Put the task in their place; what kept it from that."""
        messages = [member.message for member in members]
        try:
            async with asyncio.timeout_at(give_up_at):  # the middleware may take its time
                result = await self._merging.replace(name, messages, task, lambda step: self._persist(step, give_up_at))
        except BrokerUnavailable:
            raise
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return error  # somebody's middleware raised it of its own accord
        except BaseException as error:
            return error
        if result is FinishResult.NOT_OURS:
            # Either a reply to this very step was lost, or the set was given back: another server's clock is ahead.
            _report("An aggregation was finished or given back meanwhile", "aggregation_late", name, logging.WARNING)
        return None

    # -- Redis -------------------------------------------------------------------------------------------------------

    async def _drop(self, name: SetName, members: Sequence[Member], give_up_at: float) -> None:
        messages = [member.message for member in members]
        await self._persist(lambda: self._groups.finish(name, messages, None, now=self._clock()), give_up_at)

    async def _archive(self, name: SetName, members: Sequence[Member], error: BaseException, give_up_at: float) -> None:
        now = self._clock()
        text = storable(text_of(error))
        messages = [replace(member.message, error=text, last_failed_at=now) for member in members]
        await self._persist(lambda: self._groups.archive(name, messages, now=now), give_up_at)
        await self._drop(name, (), give_up_at)

    async def _give_back(self, name: SetName) -> None:
        try:
            async with asyncio.timeout(self._timing.settle_at_stop.total_seconds()):
                await self._groups.give_back(name)
        except (LongshoreError, TimeoutError):
            _report("An aggregation was not given back; it will be later", "give_back_failed", name, logging.WARNING)

    async def _persist(self, step: Callable[[], Awaitable[T]], give_up_at: float) -> T:
        """Carry out a step that may be repeated, through an outage of Redis for as long as the set is ours."""
        failures = 0
        while True:
            try:
                result = await step()
            except BrokerUnavailable as error:
                self._outage.failed(_DUTY, error)
                failures += 1
                pause_s = backoff_s(failures, longest_s=self._timing.backoff.total_seconds(), random=self._random)
                if self._monotonic() + pause_s >= give_up_at:
                    self._outage.over(_DUTY)
                    raise
                await asyncio.sleep(pause_s)
            else:
                self._outage.over(_DUTY)
                return result


def _report_failure(name: SetName, aggregator: GroupAggregator, tasks: int, error: BaseException) -> None:
    refused = isinstance(error, EnqueueError)
    _logger.error(
        "The task that an aggregator returned was refused; the group's tasks wait"
        if refused
        else "An aggregator failed; its tasks wait to be given to it again",
        extra={
            **_fields("aggregation_refused" if refused else "aggregation_failed", name),
            "aggregator": aggregator.prefix,
            "tasks": tasks,
            "error": text_of(error),
        },
        exc_info=None if isinstance(error, LongshoreError) else error,
    )


def _report(sentence: str, action: str, name: SetName, level: int) -> None:
    _logger.log(level, sentence, extra=_fields(action, name))


def _fields(action: str, name: SetName) -> dict[str, Any]:
    return {"action": action, "queue": name.queue, "group": name.group}
