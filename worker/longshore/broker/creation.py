"""New tasks to the script calls that create them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from longshore.broker.base import NewTask
from longshore.broker.connection import Argument, Command
from longshore.broker.limits import MOST_AT_ONCE
from longshore.broker.scripts import ADD_TO_GROUP, ENQUEUE, SCHEDULE
from longshore.protocol import codec, keys

# Payload bytes sent in one round trip, unless a single task has more: what a slow network carries within a time limit.
_MOST_BYTES = 4 * 1024 * 1024


def portions(tasks: Sequence[NewTask]) -> Iterator[Sequence[NewTask]]:
    """The tasks in order, so many at a time that each round trip ends well within its time limit."""
    start = size = 0
    for end, task in enumerate(tasks):
        size += len(task.message.payload or b"")
        if end > start and (end - start == MOST_AT_ONCE or size > _MOST_BYTES):
            yield tasks[start:end]
            start, size = end, len(task.message.payload or b"")
    if start < len(tasks):
        yield tasks[start:]


def creation_command(task: NewTask, now: datetime) -> Command:
    """The call that creates one task, by the route its fields say (asynq-protocol §2.5)."""
    message = task.message
    queue = message.queue
    body = codec.encode_task(message)
    lock: list[Argument] = []
    lifetime: list[Argument] = []
    due = task.process_at if task.process_at is not None and task.process_at > now else None
    delay = timedelta() if due is None else due - now
    if message.unique_key:
        if task.unique_for is None:
            raise ValueError("a task with a unique key needs unique_for")
        lock.append(message.unique_key)
        lifetime.append(max(int((delay + task.unique_for).total_seconds()), 1))
    names: list[Argument] = [keys.task(queue, message.id)]
    if due is not None:
        names += [keys.scheduled(queue), *lock]
        return (SCHEDULE, len(names), *names, message.id, body, codec.unix_seconds(due), *lifetime)
    if message.group:
        names += [keys.group(queue, message.group), keys.groups(queue), *lock]
        now_s = codec.unix_seconds(now)
        return (ADD_TO_GROUP, len(names), *names, message.id, body, now_s, message.group, *lifetime)
    names += [keys.pending(queue), *lock]
    return (ENQUEUE, len(names), *names, message.id, body, codec.unix_nanoseconds(now), *lifetime)
