"""Replies to values, and what people pass to what Redis is asked."""

from __future__ import annotations

from longshore.broker.connection import Command
from longshore.broker.limits import MOST_AT_ONCE
from longshore.errors import InvalidOption
from longshore.protocol import keys
from longshore.protocol.states import TaskState

# No list is as long, and Redis counts further.
_BEYOND_ALL = 2**40


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


def first_of(page: int, size: int) -> int:
    """The position of a page's first item, from 0. Raises InvalidOption."""
    if page < 1:
        raise InvalidOption("page", "must be 1 or more")
    if not 1 <= size <= MOST_AT_ONCE:
        raise InvalidOption("size", f"must be from 1 to {MOST_AT_ONCE}")
    return min((page - 1) * size, _BEYOND_ALL)
