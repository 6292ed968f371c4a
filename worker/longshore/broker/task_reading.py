"""Asking for one task, and what the reply says of it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from longshore.broker.connection import Command
from longshore.broker.reading import text
from longshore.broker.scripts import READ_TASK
from longshore.errors import InvalidData
from longshore.protocol import codec, keys
from longshore.protocol.snapshots import TaskInfo
from longshore.protocol.states import TaskState


def reading_command(queue: str, task_id: str, now: datetime) -> Command:
    """The call that reads a task."""
    names = (keys.task(queue, task_id), keys.lease(queue))
    return (READ_TASK, 2, *names, task_id, keys.queue_prefix(queue), codec.unix_seconds(now))


def task_read(reply: Any, now: datetime) -> TaskInfo | None:
    """The task in the reply; None when there is none. Raises InvalidData when its content cannot be read."""
    if reply is None:
        return None
    data, state, result, score, lapsed, progress = reply
    return task_info(data, stored_state(state), result, score, lapsed, progress, now)


def stored_state(data: bytes) -> TaskState:
    """The state a task's hash says. Raises InvalidData."""
    try:
        return TaskState(text(data))
    except ValueError:
        raise InvalidData(f"the task's state is {text(data)!r}, which is none of Asynq's") from None


def task_info(
    data: Any, state: TaskState, result: Any, score: Any, lapsed: int, progress: Any, now: datetime
) -> TaskInfo:
    """One task from what its hash and its container hold. Raises InvalidData."""
    if data is None:
        raise InvalidData("the task has no content")
    active = state is TaskState.ACTIVE
    next_process_at = None
    if state is TaskState.PENDING:
        next_process_at = now
    elif state in (TaskState.SCHEDULED, TaskState.RETRY) and score is not None:
        next_process_at = codec.from_unix_seconds(float(score))
    return TaskInfo(
        message=codec.decode_task(data),
        state=state,
        next_process_at=next_process_at,
        result=result,
        progress=_json(progress) if active and progress is not None else None,
        orphaned=active and bool(lapsed),
    )


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
