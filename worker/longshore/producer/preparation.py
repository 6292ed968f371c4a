"""From what a caller gives to the task that is stored, and from what Redis answers to what the caller gets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from longshore.broker.base import EnqueueResult, NewTask
from longshore.errors import DuplicateTask, EnqueueError, InvalidOption, TaskIDConflict, WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.protocol.snapshots import TaskInfo
from longshore.protocol.states import TaskState
from longshore.task import OPTIONS, Task, merged_options, time_limits

TaskLike: TypeAlias = Task | str | tuple[str] | tuple[str, Any] | tuple[str, Any, Mapping[str, Any]]
"""A task; or its type; or a tuple of its type, payload and options, of which the later two may be left out."""

Enqueued: TypeAlias = TaskInfo | EnqueueError | InvalidOption | WrongType
"""What became of one of many tasks: stored, or why not."""

_DEFAULT_QUEUE: str = OPTIONS["queue"].default
_DEFAULT_RETRIES: int = OPTIONS["max_retry"].default
_NO_HEADERS: Mapping[str, str] = OPTIONS["headers"].default


def task_from(item: TaskLike) -> Task:
    """The task an item stands for. Raises InvalidOption."""
    if isinstance(item, Task):
        return item
    if isinstance(item, str):
        return Task(item)
    if isinstance(item, tuple) and 1 <= len(item) <= 3:
        task_type, payload, options = (*item, None, None)[:3] if len(item) < 3 else item
        if options is None:
            return Task(task_type, payload)
        if isinstance(options, Mapping):
            return Task(task_type, payload, **options)
    raise InvalidOption("task", "must be a Task, a type, or a tuple of type, payload and a mapping of options")


def with_all_options(task: Task, defaults: Mapping[str, Any], call_options: Mapping[str, Any]) -> Task:
    """The task with every option that holds for it: the call's before its own before the defaults."""
    options = merged_options(defaults, task.options) if defaults else task.options
    return task.with_checked(merged_options(options, call_options) if call_options else options)


def new_task(task: Task, options: Mapping[str, Any], *, random_id: str, now: datetime) -> NewTask:
    """What is stored for a task with these options, all checked."""
    queue: str = options.get("queue", _DEFAULT_QUEUE)
    timeout, deadline = time_limits(options)
    unique_for: timedelta | None = options.get("unique_for")
    process_at: datetime | None = options.get("process_at")
    if "process_in" in options:
        process_at = _after(now, options["process_in"])
    return NewTask(
        message=TaskMessage(
            type=task.type,
            payload=task.payload,
            id=options.get("task_id") or random_id,
            queue=queue,
            max_retry=options.get("max_retry", _DEFAULT_RETRIES),
            timeout=timeout,
            deadline=deadline,
            unique_key=keys.unique(queue, task.type, task.payload) if unique_for else None,
            retention=options.get("retention") or None,
            group=options.get("group"),
            headers=options.get("headers", _NO_HEADERS),
        ),
        process_at=process_at if process_at is not None and process_at > now else None,
        unique_for=unique_for,
    )


def answer(task: NewTask, result: EnqueueResult | WrongType, now: datetime) -> TaskInfo | EnqueueError | WrongType:
    """What the caller gets for a task."""
    message = task.message
    if result is EnqueueResult.CREATED:
        if task.process_at is not None:
            due = codec.from_unix_seconds(codec.unix_seconds(task.process_at))
            return TaskInfo(message=message, state=TaskState.SCHEDULED, next_process_at=due)
        if message.group:
            return TaskInfo(message=message, state=TaskState.AGGREGATING)
        return TaskInfo(message=message, state=TaskState.PENDING, next_process_at=now)
    if result is EnqueueResult.ID_CONFLICT:
        text = f"queue {message.queue!r} already has a task with id {message.id!r}"
        return TaskIDConflict(text, queue=message.queue, task_id=message.id)
    if result is EnqueueResult.DUPLICATE:
        text = f"queue {message.queue!r} already has a task of type {message.type!r} with this payload"
        return DuplicateTask(text, queue=message.queue, task_id=message.id)
    assert isinstance(result, WrongType)
    return result


def _after(now: datetime, delay: timedelta) -> datetime:
    try:
        return now + delay
    except OverflowError as error:
        raise InvalidOption("process_in", "leads beyond the calendar's last year") from error
