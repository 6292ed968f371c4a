"""All tasks of a state at once: run, archived, deleted.

In bounded batches: each is one atomic step, and Redis serves others between them. So a call acts on the tasks that are
there when it begins; one that fails half way can be repeated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from longshore.broker.connection import Argument
from longshore.broker.limits import ARCHIVE_AGE, ARCHIVE_SIZE, MOST_AT_ONCE, TRIM_LIMIT
from longshore.broker.scripts import ARCHIVE_ALL, DELETE_ALL, RUN_ALL, Script
from longshore.errors import InvalidOption, QueueNotFound
from longshore.inspector.connected import Connected
from longshore.inspector.reading import CONTAINERS, is_registered, state_of
from longshore.protocol import codec, keys
from longshore.protocol.states import TRANSITIONS, TaskState

_SOURCES = {transition.operation: transition.sources for transition in TRANSITIONS}


class Bulk(Connected):
    """The inspector's acts on many tasks."""

    async def run_all(self, queue: str, state: TaskState | str, *, group: str | None = None) -> int:
        """Make every task of a state pending now; how many there were.

        ``state``: scheduled, retry, archived, completed or aggregating. ``group``: one group of aggregating tasks
        rather than all. Raises QueueNotFound.
        """
        state = await self._checked(queue, state, "run", "run", group)
        total = 0
        async for container, name in self._containers(queue, state, group):
            now_ns = codec.unix_nanoseconds(self._clock())
            names = [container, keys.pending(queue), keys.groups(queue)]
            total += await self._sweep(RUN_ALL, names, state, name, keys.task_prefix(queue), now_ns)
        return total

    async def archive_all(self, queue: str, state: TaskState | str, *, group: str | None = None) -> int:
        """Archive every task of a state; how many there were. The archive is trimmed as always.

        ``state``: pending, scheduled, retry, completed or aggregating. ``group`` as in run_all. Raises QueueNotFound.
        """
        state = await self._checked(queue, state, "archive by hand", "archived", group)
        total = 0
        async for container, name in self._containers(queue, state, group):
            now = self._clock()
            arguments = (codec.unix_seconds(now), codec.unix_seconds(now - ARCHIVE_AGE), ARCHIVE_SIZE, TRIM_LIMIT)
            names = [container, keys.archived(queue), keys.groups(queue), keys.archive_limits(queue)]
            total += await self._sweep(ARCHIVE_ALL, names, state, name, keys.task_prefix(queue), *arguments)
        return total

    async def delete_all(self, queue: str, state: TaskState | str, *, group: str | None = None) -> int:
        """Delete every task of a state and free their unique locks; how many there were.

        ``state``: any but active. ``group`` as in run_all. Raises QueueNotFound.
        """
        state = await self._checked(queue, state, "delete", "deleted", group)
        return await self._delete(queue, state, group)

    async def purge(self, queue: str) -> int:
        """Delete every task of a queue but the active ones, as delete_all does; how many there were.

        The queue stays, with its counters. Raises QueueNotFound.
        """
        [exists] = await self._redis.run([is_registered(queue)])
        if not exists:
            raise QueueNotFound(queue)
        states = _SOURCES["delete"]
        return sum([await self._delete(queue, state, None) for state in TaskState if state in states])

    async def _delete(self, queue: str, state: TaskState, group: str | None) -> int:
        total = 0
        async for container, name in self._containers(queue, state, group):
            names = [container, keys.groups(queue)]
            total += await self._sweep(DELETE_ALL, names, state, name, keys.queue_prefix(queue))
        return total

    async def _checked(
        self, queue: str, state: TaskState | str, operation: str, word: str, group: str | None
    ) -> TaskState:
        state = state_of(state)
        if state not in _SOURCES[operation]:
            states = ", ".join(known.value for known in TaskState if known in _SOURCES[operation])
            raise InvalidOption("state", f"{state.value} tasks cannot be {word} all at once; give one of {states}")
        if group is not None and state is not TaskState.AGGREGATING:
            raise InvalidOption("group", "is for aggregating tasks only")
        [exists] = await self._redis.run([is_registered(queue)])
        if not exists:
            raise QueueNotFound(queue)
        return state

    async def _containers(
        self, queue: str, state: TaskState, group: str | None
    ) -> AsyncIterator[tuple[Argument, Argument]]:
        """Where the tasks are: the key, and the group's name ("" for none)."""
        if state is not TaskState.AGGREGATING:
            yield CONTAINERS[state](queue), b""
        elif group is not None:
            yield keys.group(queue, group), group
        else:
            [names] = await self._redis.run([("SMEMBERS", keys.groups(queue))])
            prefix = keys.group_prefix(queue).encode()  # a name is any bytes
            for start in range(0, len(names), MOST_AT_ONCE):
                some = sorted(names)[start : start + MOST_AT_ONCE]
                types = await self._redis.run([("TYPE", prefix + name) for name in some])
                for name, kind in zip(some, types, strict=True):
                    if kind == b"zset":  # what is no group must not keep the others waiting
                        yield prefix + name, name

    async def _sweep(
        self, script: Script, names: list[Argument], state: TaskState, group: Argument, *arguments: Argument
    ) -> int:
        """Act on what is in a container now, batch by batch; how many tasks changed."""
        count = "LLEN" if state is TaskState.PENDING else "ZCARD"
        [left] = await self._redis.run([(count, names[0])])
        total = 0
        while left > 0:
            limit = min(left, MOST_AT_ONCE)
            seen, changed = await self._redis.call(script, names, [limit, state.value, group, *arguments])
            total += changed
            # fewer than the limit: the rest has gone meanwhile
            left = left - seen if seen == limit else 0
        return total
