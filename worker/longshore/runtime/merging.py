"""Putting the task that an aggregator returned in the place of a group's tasks, as a client would enqueue it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from longshore.broker.base import EnqueueResult, NewTask
from longshore.broker.groups_base import FinishResult, GroupStore, SetName
from longshore.errors import InvalidOption, LongshoreError
from longshore.producer.middleware import EnqueueMiddleware
from longshore.producer.preparation import answer, new_task, with_all_options
from longshore.protocol.messages import TaskMessage
from longshore.protocol.snapshots import TaskInfo
from longshore.runtime.timing import Clock
from longshore.task import Task

Persist = Callable[[Callable[[], Awaitable[FinishResult]]], Awaitable[FinishResult]]
"""Carries out a step through a short outage of Redis."""

_logger = logging.getLogger("longshore.server")


class Merging:
    """The defaults of the task's type hold, and it goes through the application's enqueue middleware."""

    def __init__(
        self,
        groups: GroupStore,
        *,
        options_for: Callable[[str], Mapping[str, Any]],
        through: EnqueueMiddleware,
        clock: Clock,
    ) -> None:
        """``options_for``: a task type's default options. ``through``: all of the middleware."""
        self._groups = groups
        self._options_for = options_for
        self._through = through
        self._clock = clock

    async def replace(self, name: SetName, members: Sequence[TaskMessage], task: Any, persist: Persist) -> FinishResult:
        """Create the task and delete the members, in one step; FINISHED or NOT_OURS.

        Raises InvalidOption for what is no task, or would join the same group; EnqueueError when the task is refused;
        BrokerUnavailable; and what the middleware raises. Nothing was written then.
        """
        results: list[FinishResult] = []

        async def finish(task: Task) -> TaskInfo:
            now = self._clock()
            new = _merged_task(task, name, now)
            result = await persist(lambda: self._groups.finish(name, members, new, now=self._clock()))
            results.append(result)
            if result is FinishResult.NOT_OURS:
                raise _TooLate("the group's tasks were aggregated, or given back, meanwhile")
            stored = answer(new, EnqueueResult(result.value), now)
            if isinstance(stored, BaseException):
                raise stored
            return stored

        try:
            await self._through(self._prepared(task, name), finish)
        except _TooLate:
            pass
        except Exception:
            if FinishResult.FINISHED not in results:
                raise
            # What the middleware does afterwards cannot undo it.
            _logger.exception(
                "Enqueue middleware failed after a group was aggregated",
                extra={"action": "middleware_failed", "queue": name.queue, "group": name.group},
            )
        if not results or results[0] not in (FinishResult.FINISHED, FinishResult.NOT_OURS):
            raise InvalidOption("enqueue middleware", "it did not hand the task on, which an aggregator returned")
        return results[0]

    def _prepared(self, task: Any, name: SetName) -> Task:
        if not isinstance(task, Task):
            raise InvalidOption(
                "aggregator",
                f"it returned {'nothing' if task is None else type(task).__name__}; "
                "return a Task, or raise RevokeTask to drop the group's tasks",
            )
        complete = with_all_options(task, self._options_for(task.type), {})
        return complete.with_checked({**complete.options, "queue": name.queue})


def _merged_task(task: Task, name: SetName, now: datetime) -> NewTask:
    """The task as it is stored: always in the members' queue. Its id is the set's unless it brings one."""
    if task.options.get("group") == name.group:
        raise InvalidOption("group", f"a task that joins group {name.group!r} again would be aggregated for ever")
    return new_task(task, {**task.options, "queue": name.queue}, random_id=name.set_id, now=now)


class _TooLate(LongshoreError):
    """For the middleware to see; it is not an error of the task's."""
