"""Removing a whole queue."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from longshore.broker.connection import Argument
from longshore.broker.limits import COUNTER_AGE
from longshore.broker.reading import text
from longshore.broker.scripts import DELETE_ALL, HOLD_QUEUE, REMOVE_QUEUE
from longshore.errors import QueueNotEmpty, QueueNotFound
from longshore.inspector.bulk import Bulk
from longshore.inspector.reading import is_registered
from longshore.protocol import codec, keys
from longshore.protocol.states import TaskState

# Producers may go on while a queue is emptied. One that fills it as fast as it is emptied would never let it end.
_PASSES = 5

# What tasks that wait for a limit leave beside their queue.
_OF_A_LINE = (keys.limit_line, keys.limit_due, keys.limit_running)

_DAY = timedelta(days=1)

_RETIRED_AT_ONCE = 250  # tasks a call while workers go on: some milliseconds


class Removal(Bulk):
    """The inspector's last act on a queue."""

    async def remove_queue(self, queue: str, *, force: bool = False) -> int:
        """Remove a queue with its counters, its pause and its name; how many tasks were deleted with it.

        ``force``: also delete its tasks, of every state, and free their locks; otherwise one with tasks is refused. A
        queue with active tasks, or a group that is being aggregated, is always refused. While the tasks are deleted, in
        batches, the queue is paused: a call that fails half way leaves it so, and can be repeated. Tick records of
        periodic entries stay, so that no tick runs twice.
        Raises QueueNotFound and QueueNotEmpty.
        """
        [exists] = await self._redis.run([is_registered(queue)])
        if not exists:
            raise QueueNotFound(queue)
        if not force:
            if not await self._remove_empty(queue):
                raise QueueNotEmpty(queue, "has tasks: delete them first, or force its removal")
            return 0
        names = [keys.active(queue), keys.aggregation_sets(queue), keys.paused(queue)]
        if await self._redis.call(HOLD_QUEUE, names, [codec.unix_seconds(self._clock())]):
            raise QueueNotEmpty(queue, "has active tasks, or is being aggregated: stop its workers, or wait for them")
        deleted = 0
        for _ in range(_PASSES):
            deleted += await self.purge(queue) + await self._delete_aggregation_sets(queue)
            if await self._remove_empty(queue):
                return deleted
        raise QueueNotEmpty(queue, "is filled while it is being emptied: stop its producers; it is paused now")

    async def retire_queue(self, queue: str, *, delete_tasks: bool, within: timedelta = timedelta(seconds=1)) -> bool:
        """Remove a queue if it has no tasks, while its workers go on; whether it is gone. Call it until it is.

        ``delete_tasks``: first delete its tasks, but for those that are active or being aggregated; for about as long
        as ``within`` says. A queue that was never registered is removed, too: it may have been paused. Unlike
        remove_queue it pauses nothing, so that attempts that fail meanwhile are deleted at the next call.
        """
        if delete_tasks and not await self._delete_waiting(queue, time.monotonic() + within.total_seconds()):
            return False
        return await self._remove_empty(queue)

    async def _delete_waiting(self, queue: str, until: float) -> bool:
        """Delete what waits, batch by batch; whether it came to the end in time."""
        sets = keys.aggregation_sets(queue)
        for member in await self._members(queue, codec.unix_seconds(self._clock())):
            if not await self._delete_some(queue, member, TaskState.AGGREGATING, b"", until):
                return False
            await self._redis.run([("ZREM", sets, member)])
        for state in (state for state in TaskState if state is not TaskState.ACTIVE):
            async for container, group in self._containers(queue, state, None):
                if not await self._delete_some(queue, container, state, group, until):
                    return False
        return True

    async def _delete_some(
        self, queue: str, container: Argument, state: TaskState, group: Argument, until: float
    ) -> bool:
        """Delete a container's tasks; whether to go on with the next."""
        while True:
            arguments = [_RETIRED_AT_ONCE, state.value, group, keys.queue_prefix(queue)]
            seen, _ = await self._redis.call(DELETE_ALL, [container, keys.groups(queue)], arguments)
            more = seen == _RETIRED_AT_ONCE
            # groups are many, perhaps, of a few tasks each; what is empty already takes no time to speak of
            if time.monotonic() > until and (more or (seen and state is TaskState.AGGREGATING)):
                return False
            if not more:
                return True

    async def _remove_empty(self, queue: str) -> bool:
        containers = (
            keys.pending,
            keys.active,
            keys.scheduled,
            keys.retry,
            keys.archived,
            keys.completed,
            keys.aggregation_sets,
        )
        tasks = [name(queue) for name in containers]
        [limits] = await self._redis.run([("SMEMBERS", keys.lines(queue))])
        names = [keys.groups(queue), *tasks, keys.lease(queue), keys.paused(queue), *_counters(queue, self._clock())]
        names += [
            keys.archive_limits(queue),
            keys.lines(queue),
            *(name(queue, text(limit)) for limit in limits for name in _OF_A_LINE),
        ]
        if not await self._redis.call(REMOVE_QUEUE, names, [keys.group_prefix(queue)]):
            return False
        await self._redis.run([("SREM", keys.QUEUES, queue)])
        # The name lies in another slot, so it goes in a step of its own. A task that came in between keeps it.
        if any(await self._redis.run([("EXISTS", name) for name in tasks])):
            await self._redis.run([("SADD", keys.QUEUES, queue)])
        return True

    async def _delete_aggregation_sets(self, queue: str) -> int:
        deleted, sets = 0, keys.aggregation_sets(queue)
        for member in await self._members(queue):
            names: list[Argument] = [member, keys.groups(queue)]
            deleted += await self._sweep(DELETE_ALL, names, TaskState.AGGREGATING, b"", keys.queue_prefix(queue))
            await self._redis.run([("ZREM", sets, member)])
        return deleted

    async def _members(self, queue: str, until_s: int | str = "+inf") -> list[bytes]:
        """The keys of the queue's aggregation sets.

        ``until_s``: only those that are given back to their group by then: nobody aggregates them any more.
        """
        sets = keys.aggregation_sets(queue)
        [members] = await self._redis.run([("ZRANGEBYSCORE", sets, "-inf", until_s)])
        prefix = keys.group_prefix(queue).encode()
        # the member of a set is a key's whole name: one of another queue is not for us to touch
        strangers = [member for member in members if not member.startswith(prefix)]
        if strangers:
            await self._redis.run([("ZREM", sets, *strangers)])
        return [member for member in members if member.startswith(prefix)]


def _counters(queue: str, now: datetime) -> list[str]:
    # From tomorrow, by a clock ahead of ours, back to where no counter lives on.
    days = [now.astimezone(UTC).date() + _DAY * (1 - ago) for ago in range(COUNTER_AGE.days + 3)]
    daily = [name(queue, day) for day in days for name in (keys.processed, keys.failed)]
    return [keys.processed_total(queue), keys.failed_total(queue), *daily]
