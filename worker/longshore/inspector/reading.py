"""Replies to values, and what people pass to what Redis is asked."""

from __future__ import annotations

from longshore.broker.connection import Command
from longshore.errors import InvalidOption
from longshore.protocol import keys
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


def text(data: bytes) -> str:
    """Bytes as people may read them."""
    return data.decode("utf-8", "replace")
