"""Single tasks: listed, looked at, run, archived, deleted."""

from __future__ import annotations

import contextlib

from longshore.broker.limits import ARCHIVE_AGE, ARCHIVE_SIZE, MOST_AT_ONCE, TRIM_LIMIT
from longshore.broker.reading import text
from longshore.broker.scripts import ARCHIVE_TASK, DELETE_TASK, LIST_TASKS, RUN_TASK, Script
from longshore.broker.task_reading import reading_command, task_info, task_read
from longshore.errors import InvalidData, InvalidOption, QueueNotFound, TaskNotFound, WrongState, WrongType
from longshore.inspector.connected import Connected
from longshore.inspector.reading import CONTAINERS, first_of, is_registered, state_of
from longshore.protocol import codec, keys
from longshore.protocol.snapshots import TaskInfo
from longshore.protocol.states import TaskState


class Tasks(Connected):
    """The inspector's view of single tasks."""

    async def list_tasks(
        self, queue: str, state: TaskState | str, *, page: int = 1, size: int = 30, group: str | None = None
    ) -> tuple[TaskInfo, ...]:
        """One page of the tasks in a state: pending and active oldest first, the others by time, earliest first.

        ``page`` counts from 1, ``size`` is 1 to 1,000. ``group`` is needed for aggregating tasks, which wait in groups.
        Tasks whose content cannot be read are left out. Raises QueueNotFound.
        """
        state = state_of(state)
        first = first_of(page, size)
        if (state is TaskState.AGGREGATING) != (group is not None):
            raise InvalidOption("group", "is needed for aggregating tasks, and for no others")
        container = keys.group(queue, group) if group is not None else CONTAINERS[state](queue)
        now = self._clock()
        arguments = (first, size, keys.task_prefix(queue), codec.unix_seconds(now))
        exists, rows = await self._redis.run(
            [is_registered(queue), (LIST_TASKS, 2, container, keys.lease(queue), *arguments)]
        )
        if not exists:
            raise QueueNotFound(queue)
        tasks = []
        for _, data, result, score, lapsed, progress in rows:
            try:
                tasks.append(task_info(data, state, result, score, lapsed, progress, now))
            except InvalidData:
                continue
        return tuple(tasks)

    async def find_task(self, task_id: str) -> tuple[TaskInfo, ...]:
        """The tasks of that id in any registered queue: ids are unique within a queue only.

        Those whose content cannot be read are left out.
        """
        now = self._clock()
        [names] = await self._redis.run([("SMEMBERS", keys.QUEUES)])
        queues = sorted(text(name) for name in names)
        found = []
        for start in range(0, len(queues), MOST_AT_ONCE):
            some = queues[start : start + MOST_AT_ONCE]
            for reply in await self._redis.run_each([reading_command(queue, task_id, now) for queue in some]):
                if isinstance(reply, WrongType):
                    continue
                with contextlib.suppress(InvalidData):
                    if (info := task_read(reply, now)) is not None:
                        found.append(info)
        return tuple(found)

    async def task(self, queue: str, task_id: str) -> TaskInfo:
        """One task. Raises TaskNotFound, and InvalidData when its content cannot be read."""
        now = self._clock()
        [reply] = await self._redis.run([reading_command(queue, task_id, now)])
        info = task_read(reply, now)
        if info is None:
            raise TaskNotFound(queue, task_id)
        return info

    async def run_task(self, queue: str, task_id: str) -> bool:
        """Make a task pending now, whatever it waits for. False when it is pending already.

        Raises TaskNotFound, and WrongState when it is active or being aggregated.
        """
        now_ns = codec.unix_nanoseconds(self._clock())
        names = [keys.task(queue, task_id), keys.pending(queue), keys.groups(queue)]
        return await self._act("run", RUN_TASK, names, queue, task_id, now_ns) == 1

    async def archive_task(self, queue: str, task_id: str) -> bool:
        """Put a task that is not running into the archive. False when it is there already.

        Raises TaskNotFound, and WrongState when it is active or being aggregated.
        """
        now = self._clock()
        names = [keys.task(queue, task_id), keys.archived(queue), keys.groups(queue), keys.archive_limits(queue)]
        cutoff_s = codec.unix_seconds(now - ARCHIVE_AGE)
        arguments = (codec.unix_seconds(now), cutoff_s, ARCHIVE_SIZE, TRIM_LIMIT)
        return await self._act("archive", ARCHIVE_TASK, names, queue, task_id, *arguments, if_active=-2) == 1

    async def delete_task(self, queue: str, task_id: str) -> None:
        """Delete a task that is not running, and free its unique lock.

        Raises TaskNotFound, and WrongState when it is active or being aggregated.
        """
        names = [keys.task(queue, task_id), keys.groups(queue)]
        await self._act("delete", DELETE_TASK, names, queue, task_id)

    async def _act(
        self,
        word: str,
        script: Script,
        names: list[str],
        queue: str,
        task_id: str,
        *arguments: int,
        if_active: int = -1,
    ) -> int:
        reply: int = await self._redis.call(script, names, [task_id, keys.queue_prefix(queue), *arguments])
        if reply == 0:
            raise TaskNotFound(queue, task_id)
        if reply == if_active:
            raise WrongState(queue, task_id, "active", word)
        if reply == -4:
            raise WrongState(queue, task_id, "being aggregated", word)
        if reply == -3:
            raise InvalidData(f"task {task_id!r} of queue {queue!r} is not where its state says it is")
        return reply
