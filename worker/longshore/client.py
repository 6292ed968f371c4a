"""Enqueueing tasks: options in, what was stored or a typed error out."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, Unpack

from longshore.broker.base import Broker, EnqueueResult, NewTask, RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import DuplicateTask, EnqueueError, InvalidOption, TaskIDConflict
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.protocol.snapshots import TaskInfo
from longshore.protocol.states import TaskState
from longshore.task import OPTIONS, Task, TaskOptions, checked_options, merged_options


class Client:
    """Creates tasks that any worker server of this Redis may run, Go ones included.

    Safe to share between asyncio tasks of one event loop. An async context manager; ``aclose`` does the same. Nothing
    is sent before the first call.
    """

    def __init__(
        self,
        redis: str | RedisSettings | None = None,
        *,
        broker: Broker | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``redis``: a URL, or settings; the default is a local Redis. Or a ``broker``, which the caller closes.

        Raises InvalidOption when the URL cannot be read, or both are given.
        """
        if broker is not None and redis is not None:
            raise InvalidOption("broker", "give either a Redis or a broker, not both")
        self._broker = broker if broker is not None else RedisBroker.connect(RedisSettings.of(redis))
        self._owns_broker = broker is None
        self._clock = clock

    async def enqueue(self, task: Task | str, payload: Any = None, **options: Unpack[TaskOptions]) -> TaskInfo:
        """Create one task, given as a Task or as its type and payload.

        Options of the call win over the task's own. A task that is due later is scheduled, one with a group waits in
        it, any other is pending at once.

        Raises InvalidOption for what cannot be used, before anything is sent; DuplicateTask when ``unique_for`` is
        given and a task of the same queue, type and payload holds the lock; TaskIDConflict when the queue has a task of
        that id; BrokerUnavailable when Redis does not take it. After BrokerUnavailable the task may or may not exist:
        give a ``task_id`` to be able to repeat safely.
        """
        if isinstance(task, Task):
            if payload is not None:
                raise InvalidOption("payload", "the Task has one already")
        else:
            task = Task(task, payload)
        [result] = await self.enqueue_many([task], **options)
        if isinstance(result, EnqueueError):
            raise result
        return result

    async def enqueue_many(
        self, tasks: Iterable[Task], **options: Unpack[TaskOptions]
    ) -> list[TaskInfo | EnqueueError]:
        """Create many tasks, a thousand a round trip; for each, in order, what was stored or why it was refused.

        Each task is created or refused on its own. Raises InvalidOption before anything is sent, and BrokerUnavailable,
        after which any of them may exist.
        """
        now = self._clock()
        checked = checked_options(options)
        new = [_new_task(task, checked, now) for task in tasks]
        results = await self._broker.enqueue(new, now=now)
        return [_answer(task, result, now) for task, result in zip(new, results, strict=True)]

    async def ping(self) -> None:
        """Raise BrokerUnavailable, with Redis' own reason, unless Redis answers and accepts the credentials."""
        await self._broker.ping()

    async def aclose(self) -> None:
        """Close the connections the client made. Idempotent."""
        if self._owns_broker:
            await self._broker.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _new_task(task: Task, call_options: dict[str, Any], now: datetime) -> NewTask:
    options = merged_options(task.options, call_options)
    queue: str = options.get("queue", OPTIONS["queue"].default)
    deadline: datetime | None = options.get("deadline")
    timeout: timedelta | None = options.get("timeout")
    if timeout is None and deadline is None:
        timeout = OPTIONS["timeout"].default
    unique_for: timedelta | None = options.get("unique_for")
    process_at: datetime | None = options.get("process_at")
    if "process_in" in options:
        process_at = now + options["process_in"]
    return NewTask(
        message=TaskMessage(
            type=task.type,
            payload=task.payload,
            id=options.get("task_id") or str(uuid.uuid4()),
            queue=queue,
            max_retry=options.get("max_retry", OPTIONS["max_retry"].default),
            timeout=timeout,
            deadline=deadline,
            unique_key=keys.unique(queue, task.type, task.payload) if unique_for else None,
            retention=options.get("retention") or None,
            group=options.get("group"),
            headers=options.get("headers", OPTIONS["headers"].default),
        ),
        process_at=process_at if process_at is not None and process_at > now else None,
        unique_for=unique_for,
    )


def _answer(task: NewTask, result: EnqueueResult, now: datetime) -> TaskInfo | EnqueueError:
    message = task.message
    if result is EnqueueResult.ID_CONFLICT:
        text = f"queue {message.queue!r} already has a task with id {message.id!r}"
        return TaskIDConflict(text, queue=message.queue, task_id=message.id)
    if result is EnqueueResult.DUPLICATE:
        text = f"queue {message.queue!r} already has a task of type {message.type!r} with this payload"
        return DuplicateTask(text, queue=message.queue, task_id=message.id)
    if task.process_at is not None:
        due = codec.from_unix_seconds(codec.unix_seconds(task.process_at))
        return TaskInfo(message=message, state=TaskState.SCHEDULED, next_process_at=due)
    if message.group:
        return TaskInfo(message=message, state=TaskState.AGGREGATING)
    return TaskInfo(message=message, state=TaskState.PENDING, next_process_at=now)
