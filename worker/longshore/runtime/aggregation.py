"""One aggregation, from taking a group's tasks to the task in their place, or to giving them back."""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple, TypeVar

from longshore.broker.base import Broker, NewTask
from longshore.broker.groups_base import FinishResult, GroupState, Member, SetName
from longshore.errors import BrokerUnavailable, InvalidOption, LongshoreError, RevokeTask, SkipRetry
from longshore.group_aggregator import GroupAggregator, GroupedTask
from longshore.policy.retry import MAX_ERROR_LENGTH
from longshore.producer.preparation import new_task
from longshore.runtime.outage import Outage, backoff_s
from longshore.runtime.threads import Threads
from longshore.runtime.timing import Clock, Timing
from longshore.task import Task, merged_options

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
    left: GroupState | None  # what is left of the group; None: nothing, or nothing is known


class _Answer(NamedTuple):
    result: Any = None
    error: BaseException | None = None


class Aggregations:
    """Carries out aggregations, any number at once.

    Redis decides who takes a group and whether it was finished: whatever ends this server or hides a reply, each task
    is aggregated once. What is not finished goes back to the group. A cancelled one is given back at once.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        options_for: Callable[[str], Mapping[str, Any]],
        outage: Outage,
        timing: Timing,
        clock: Clock,
        random: Random,
    ) -> None:
        """``options_for``: a task type's default options, for the tasks that functions return."""
        self._groups = broker.groups
        self._options_for = options_for
        self._outage = outage
        self._timing = timing
        self._clock = clock
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._threads = Threads(loop=self._loop)

    def close(self) -> None:
        """Let go of the threads. A function that does not end is left to itself."""
        self._threads.close()

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
        give_up_at = self._loop.time() + (self._timing.aggregation - _MARGIN).total_seconds()
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
            _report("A task of a group cannot be read and was set aside", "task_set_aside", name, logging.ERROR)
            _logger.debug("%s: %s", one.task_id, one.problem, extra={"action": "task_set_aside"})
        members = content.members
        merged: NewTask | None = None
        if members:
            answer = await self._ask(name, aggregator, members, give_up_at)
            if answer is None:
                return False
            error = answer.error
            if error is None:
                try:
                    merged = merged_task(answer.result, name, options_for=self._options_for, now=self._clock())
                except LongshoreError as raised:
                    error = raised
            if isinstance(error, SkipRetry):
                await self._archive(name, members, error, give_up_at)
                members = ()
            elif isinstance(error, RevokeTask):
                _report("The tasks of a group were dropped by their aggregator", "group_dropped", name, logging.INFO)
            elif error is not None:
                self._report_failure(name, aggregator, len(members), error)
                return False
        messages = [member.message for member in members]
        result = await self._persist(lambda: self._groups.finish(name, messages, merged, now=self._clock()), give_up_at)
        return self._judge(name, result, merged)

    def _judge(self, name: SetName, result: FinishResult, merged: NewTask | None) -> bool:
        if result is FinishResult.NOT_OURS:
            # Either a reply to this very step was lost, or the set was given back: another server's clock is ahead.
            _report("An aggregation was finished or given back meanwhile", "aggregation_late", name, logging.WARNING)
        elif result is not FinishResult.FINISHED:
            assert merged is not None
            problem = "its id is taken" if result is FinishResult.ID_CONFLICT else "its unique lock is held"
            _logger.error(
                "The task that an aggregator returned was refused; the group's tasks wait",
                extra={**_fields("aggregation_refused", name), "task_type": merged.message.type, "problem": problem},
            )
        return result in (FinishResult.FINISHED, FinishResult.NOT_OURS)

    # -- the function ------------------------------------------------------------------------------------------------

    async def _ask(
        self, name: SetName, aggregator: GroupAggregator, members: Sequence[Member], give_up_at: float
    ) -> _Answer | None:
        """What the function says; None when it did not say it in time. Its slot is taken for as long as it runs."""
        call = self._loop.create_task(self._call(aggregator, name.group, [_grouped(member) for member in members]))
        try:
            await asyncio.wait([call], timeout=max(0.0, give_up_at - self._loop.time()))
            if call.done():
                return call.result()
            _report("An aggregator takes too long; its tasks go back", "aggregation_too_slow", name, logging.ERROR)
            if aggregator.is_async:
                call.cancel()
            await asyncio.wait([call])
        except asyncio.CancelledError:
            if aggregator.is_async:
                call.cancel()
                await asyncio.wait([call], timeout=self._timing.cancel_grace.total_seconds())
            raise
        return None

    async def _call(self, aggregator: GroupAggregator, group: str, tasks: list[GroupedTask]) -> _Answer:
        try:
            if aggregator.is_async:
                result: Any = aggregator.function(group, tasks)
            else:
                result = await self._threads.call(aggregator.function, [group, tasks], {})
            if inspect.isawaitable(result):  # also of a plain function: a decorator may hide that its function is async
                result = await result
        except GeneratorExit:
            raise
        except BaseException as error:  # also SystemExit: an aggregator does not end the worker
            return _Answer(error=error)
        return _Answer(result=result)

    def _report_failure(self, name: SetName, aggregator: GroupAggregator, tasks: int, error: BaseException) -> None:
        _logger.error(
            "An aggregator failed; its tasks wait to be given to it again",
            extra={
                **_fields("aggregation_failed", name),
                "aggregator": aggregator.prefix,
                "tasks": tasks,
                "error": f"{type(error).__name__}: {error}",
            },
            exc_info=None if isinstance(error, LongshoreError) else error,
        )

    # -- Redis -------------------------------------------------------------------------------------------------------

    async def _archive(self, name: SetName, members: Sequence[Member], error: BaseException, give_up_at: float) -> None:
        now = self._clock()
        text = str(error)[:MAX_ERROR_LENGTH]
        messages = [replace(member.message, error=text, last_failed_at=now) for member in members]
        await self._persist(lambda: self._groups.archive(name, messages, now=now), give_up_at)
        _report("The tasks of a group were archived by their aggregator", "group_archived", name, logging.WARNING)

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
                if self._loop.time() + pause_s >= give_up_at:
                    self._outage.over(_DUTY)
                    raise
                await asyncio.sleep(pause_s)
            else:
                self._outage.over(_DUTY)
                return result


def merged_task(task: Any, name: SetName, *, options_for: Callable[[str], Mapping[str, Any]], now: datetime) -> NewTask:
    """The task to put in the place of a set's members: as a client would make it, but always in their queue.

    Its id is the set's unless it brings one. Raises InvalidOption for what is no task, or would join the same group.
    """
    if not isinstance(task, Task):
        raise InvalidOption(
            "aggregator",
            f"it returned {'nothing' if task is None else type(task).__name__}; "
            "return a Task, or raise RevokeTask to drop the group's tasks",
        )
    options = merged_options(options_for(task.type), task.options)
    if options.get("group") == name.group:
        raise InvalidOption("group", f"a task that joins group {name.group!r} again would be aggregated for ever")
    return new_task(task, {**options, "queue": name.queue}, random_id=name.set_id, now=now)


def _grouped(member: Member) -> GroupedTask:
    message = member.message
    return GroupedTask(
        type=message.type,
        payload=message.payload,
        headers=message.headers,
        id=message.id,
        queue=message.queue,
        joined_at=member.joined_at,
    )


def _report(sentence: str, action: str, name: SetName, level: int) -> None:
    _logger.log(level, sentence, extra=_fields(action, name))


def _fields(action: str, name: SetName) -> dict[str, Any]:
    return {"action": action, "queue": name.queue, "group": name.group}
