"""From what a caller gives to the task that is stored, and from what Redis answers to what the caller gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from longshore.broker.base import EnqueueResult, NewTask
from longshore.errors import DuplicateTask, EnqueueError, InvalidOption, TaskIDConflict, WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.protocol.quick_init import maker_like
from longshore.protocol.snapshots import TaskInfo
from longshore.protocol.states import TaskState
from longshore.task import OPTIONS, Task, encode_payload, merged_options, time_limits

TaskLike: TypeAlias = Task | str | tuple[str] | tuple[str, Any] | tuple[str, Any, Mapping[str, Any]]
"""A task; or its type; or a tuple of its type, payload and options, of which the later two may be left out."""

Enqueued: TypeAlias = TaskInfo | EnqueueError | InvalidOption | WrongType
"""What became of one of many tasks: stored, or why not."""

_DEFAULT_QUEUE: str = OPTIONS["queue"].default
_DEFAULT_RETRIES: int = OPTIONS["max_retry"].default
_NO_HEADERS: Mapping[str, str] = OPTIONS["headers"].default


def several(tasks: Iterable[TaskLike]) -> Iterator[TaskLike]:
    """The items of a call for many. Raises InvalidOption for what are none: text would be types of one letter each."""
    if isinstance(tasks, str | bytes | Mapping) or not isinstance(tasks, Iterable):
        raise InvalidOption(
            "tasks", f"must be an iterable of tasks, not {type(tasks).__name__}; for one there is enqueue"
        )
    return iter(tasks)


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


class Batch:
    """Prepares many tasks of one call.

    Those of one type that have no options of their own differ in id and payload only. What they share is decided, and
    encoded, once.
    """

    def __init__(
        self,
        call_options: Mapping[str, Any],
        *,
        defaults_of: Callable[[str], Mapping[str, Any]],
        random_ids: Iterator[str],
        now: datetime,
    ) -> None:
        self.now = now
        self._call_options = call_options
        self._defaults_of = defaults_of
        self._random_ids = random_ids
        self._moulds: dict[str, _Mould | None] = {}  # by type; None: each task of the type is another
        self._has_moulds = "unique_for" not in call_options and "task_id" not in call_options

    def prepare(self, item: TaskLike) -> NewTask:
        """What is stored for an item. Raises InvalidOption."""
        if self._has_moulds:
            # not isinstance: a subclass may mean something else
            if type(item) is tuple and len(item) == 2 and type(item[0]) is str:
                mould = self._mould(item[0])
                if mould is not None:
                    return mould.cast(next(self._random_ids), encode_payload(item[1]))
            elif type(item) is Task and not item.options:
                mould = self._mould(item.type)
                if mould is not None:
                    return mould.cast(next(self._random_ids), item.payload)
        task = task_from(item)
        options = with_all_options(task, self._defaults_of(task.type), self._call_options).options
        return new_task(task, options, random_id=next(self._random_ids), now=self.now)

    def _mould(self, task_type: str) -> _Mould | None:
        try:
            return self._moulds[task_type]
        except KeyError:
            task = Task(task_type)
            options = with_all_options(task, self._defaults_of(task_type), self._call_options).options
            mould = None if "unique_for" in options else _Mould(new_task(task, options, random_id="", now=self.now))
            self._moulds[task_type] = mould
            return mould


class _Mould:
    """What tasks that differ in id and payload only have in common."""

    __slots__ = ("_encode", "_message", "_process_at")

    def __init__(self, example: NewTask) -> None:
        self._encode = codec.task_encoder(example.message)
        self._message = maker_like(example.message, "id", "payload")
        self._process_at = example.process_at

    def cast(self, task_id: str, payload: bytes | None) -> NewTask:
        return NewTask(self._message(task_id, payload), self._process_at, None, self._encode(task_id, payload))


def answers(tasks: Sequence[NewTask], results: Sequence[EnqueueResult | WrongType], now: datetime) -> list[Enqueued]:
    """What the caller gets for each task."""
    made = EnqueueResult.CREATED
    pending: Callable[[TaskMessage], TaskInfo] | None = None
    found: list[Enqueued] = []
    for task, result in zip(tasks, results, strict=True):
        if result is made and task.process_at is None and not task.message.group:
            if pending is None:
                pending = maker_like(
                    TaskInfo(message=task.message, state=TaskState.PENDING, next_process_at=now), "message"
                )
            found.append(pending(task.message))
        else:
            found.append(answer(task, result, now))
    return found


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
