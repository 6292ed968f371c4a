"""Replies to values, and what people pass to what Redis is asked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from longshore.broker.connection import Command
from longshore.errors import InvalidData, InvalidOption
from longshore.protocol import codec, keys
from longshore.protocol.snapshots import TaskInfo
from longshore.protocol.states import TaskState


def is_registered(queue: str) -> Command:
    """The question whether the queue exists."""
    return ("SISMEMBER", keys.QUEUES, queue)


# Where the tasks of a state are; those that wait in groups are in as many places as there are groups.
CONTAINERS = {
    TaskState.PENDING: keys.pending,
    TaskState.ACTIVE: keys.active,
    TaskState.SCHEDULED: keys.scheduled,
    TaskState.RETRY: keys.retry,
    TaskState.ARCHIVED: keys.archived,
    TaskState.COMPLETED: keys.completed,
}


def state_of(state: TaskState | str) -> TaskState:
    """The state a caller named. Raises InvalidOption."""
    try:
        return TaskState(state)
    except ValueError:
        names = ", ".join(known.value for known in TaskState)
        raise InvalidOption("state", f"{state!r} is not a task state; there are {names}") from None


def stored_state(data: bytes) -> TaskState:
    """The state a task's hash says. Raises InvalidData."""
    try:
        return TaskState(text(data))
    except ValueError:
        raise InvalidData(f"the task's state is {text(data)!r}, which is none of Asynq's") from None


def task_info(data: Any, state: TaskState, result: Any, score: Any, lapsed: int, now: datetime) -> TaskInfo:
    """One task from what its hash and its container hold. Raises InvalidData."""
    if data is None:
        raise InvalidData("the task has no content")
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
        orphaned=state is TaskState.ACTIVE and bool(lapsed),
    )


def text(data: bytes) -> str:
    """Bytes as people may read them."""
    return data.decode("utf-8", "replace")
