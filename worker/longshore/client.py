"""Enqueueing tasks: options in, what was stored or a typed error out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from types import TracebackType
from typing import Any, Self, TypeAlias, Unpack

from longshore.broker.base import Broker, NewTask, RedisSettings
from longshore.broker.creation import portions
from longshore.broker.limits import MOST_AT_ONCE
from longshore.broker.opening import opened
from longshore.errors import EnqueueError, InvalidOption, TaskNotFound, WrongType
from longshore.producer.coalescer import Coalescer
from longshore.producer.delivery import Delivery
from longshore.producer.middleware import EnqueueMiddleware, composed
from longshore.producer.preparation import (
    Batch,
    Enqueued,
    TaskLike,
    answer,
    answers,
    new_task,
    several,
    task_from,
    with_all_options,
)
from longshore.producer.results import Results, TaskResult
from longshore.producer.task_ids import random_ids
from longshore.protocol.snapshots import TaskInfo
from longshore.protocol.states import TaskState
from longshore.task import Task, TaskOptions, checked_options, duration_of

TaskDefaults: TypeAlias = Callable[[str], Mapping[str, Any] | None]
"""The options that hold for every task of a type unless the task or the call says otherwise."""

DEFAULT_RETRY_FOR = timedelta(seconds=5)


class Client:
    """Creates tasks that any worker server of this Redis may run, Go ones included.

    Safe to share between asyncio tasks of one event loop. An async context manager; ``aclose`` does the same. Nothing
    is sent before the first call. Tasks that are enqueued at the same time share a round trip.
    """

    def __init__(
        self,
        redis: str | RedisSettings | None = None,
        *,
        broker: Broker | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        defaults: TaskDefaults | None = None,
        middleware: Sequence[EnqueueMiddleware] = (),
        retry_for: timedelta | float = DEFAULT_RETRY_FOR,
    ) -> None:
        """``redis``: a URL, or settings; the default is a local Redis. Or a ``broker``, which the caller closes.

        ``defaults(type)``: options of the lowest rank. ``middleware``: the first is the outermost. ``retry_for``: for
        how long (timedelta or seconds) creating is tried again while Redis cannot be reached; the last try may take
        the connection's timeout beyond it. 0: once.

        Raises InvalidOption when the URL cannot be read, ``retry_for`` is no duration, or both a Redis and a broker are
        given.
        """
        self._broker, self._owns_broker = opened(redis, broker)
        retry_for = duration_of("retry_for", retry_for)
        if retry_for < timedelta():
            raise InvalidOption("retry_for", "must not be negative; 0 means no second try")
        self._clock = clock
        self._defaults = defaults
        self._checked_defaults: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self._through_middleware = composed(middleware, self._create) if middleware else None
        self._delivery = Delivery(self._broker, retry_for=retry_for, random=Random())
        self._coalescer = Coalescer(self._delivery, clock=clock)
        self._retry_for = retry_for
        self._results_made: Results | None = None
        self._random_ids = random_ids()

    async def enqueue(self, task: Task | str, payload: Any = None, **options: Unpack[TaskOptions]) -> TaskInfo:
        """Create one task, given as a Task or as its type and payload.

        Options of the call win over the task's own, and those over the defaults of its type. A task that is due later
        is scheduled, one with a group waits in it, any other is pending at once.

        Raises InvalidOption for what cannot be used, before anything is sent; DuplicateTask when ``unique_for`` is
        given and a task of the same queue, type and payload holds the lock; TaskIDConflict when the queue has a task of
        that id; BrokerUnavailable when Redis does not take it within ``retry_for``: the task may exist nevertheless,
        so give a ``task_id`` to be able to call again safely. A call that is cancelled may have created it, too.
        """
        if isinstance(task, Task):
            if payload is not None:
                raise InvalidOption("payload", "the Task has one already")
        else:
            task = Task(task, payload)
        task = with_all_options(task, self._defaults_of(task.type), checked_options(options))
        return await (self._through_middleware or self._create)(task)

    async def enqueue_many(self, tasks: Iterable[TaskLike], **options: Unpack[TaskOptions]) -> list[Enqueued]:
        """Create many tasks, up to a thousand a round trip; for each, in order, what was stored or why it was not.

        A task is a Task, a type, or a tuple ``(type, payload, options)``, of which the later two may be left out. Each
        is created or refused on its own, whatever becomes of the others: a refused one has its DuplicateTask,
        TaskIDConflict, InvalidOption or WrongType as its result. Raises InvalidOption when ``options``, which are for
        all, cannot be used, and BrokerUnavailable as ``enqueue`` does.
        """
        checked = checked_options(options)
        results: list[Enqueued] = []
        items = several(tasks)
        some = list(islice(items, MOST_AT_ONCE))
        if self._through_middleware is not None:
            while some:
                results += await self._many_through_middleware(some, checked)
                some = list(islice(items, MOST_AT_ONCE))
            return results
        under_way: asyncio.Task[list[Enqueued]] | None = None
        try:
            while some:
                portion = await self._prepared(some, checked)
                if under_way is not None:
                    results += await under_way
                    under_way = None
                some = list(islice(items, MOST_AT_ONCE))
                if some:  # Redis is at work while the next are prepared
                    under_way = asyncio.create_task(self._send_prepared(*portion))
                else:
                    results += await self._send_prepared(*portion)
        except BaseException as error:
            if under_way is not None:  # the iterable has failed, or the caller was cancelled
                if isinstance(error, asyncio.CancelledError):
                    under_way.cancel()
                await asyncio.wait([under_way])
            raise
        return results

    async def result(
        self, task_id: str, *, queue: str = "default", timeout: timedelta | float | None = None
    ) -> TaskResult:
        """Wait until a task has succeeded; what it left behind: ``value`` (read from JSON) and ``bytes``.

        For tasks with a retention: others are deleted when they succeed, and there is nothing to be found. The end is
        told by our servers; one that a Go server has brought about is seen within some seconds. ``timeout``: timedelta
        or seconds; None waits for ever. Cancelling the call does nothing to the task.

        Raises TaskFailed when the task is archived, TaskNotFound when it does not exist or is deleted, TimeoutError
        when it has not ended in time, InvalidOption when ``timeout`` is no duration, and BrokerUnavailable when Redis
        cannot be reached for longer than ``retry_for``.
        """
        seconds = None if timeout is None else duration_of("timeout", timeout).total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await self._results.wait(queue, task_id)
        except TimeoutError:
            raise TimeoutError(f"task {task_id!r} of queue {queue!r} has not ended within {seconds:g} s") from None

    async def watch(self, task_id: str, *, queue: str = "default") -> AsyncGenerator[Any, None]:
        """How far a task is, each time its handler says so (``Context.progress``), until it has ended.

        A value that is soon followed by another, or by the end, may be left out. Ends when the task is completed,
        archived or deleted: ask ``result`` which. Raises TaskNotFound when it does not exist at first, and
        BrokerUnavailable as ``result`` does.
        """
        found = False
        last: Any = None
        async with aclosing(self._results.looks(queue, task_id)) as looks:
            async for info in looks:
                found = True
                if info.state in (TaskState.COMPLETED, TaskState.ARCHIVED):
                    return
                if info.progress is not None and info.progress != last:
                    last = info.progress
                    yield last
        if not found:
            raise TaskNotFound(queue, task_id)

    async def ping(self) -> None:
        """Raise BrokerUnavailable, with Redis' own reason, unless Redis answers and accepts the credentials."""
        await self._broker.ping()

    async def aclose(self) -> None:
        """Fail what is under way, and close the connections the client made. Idempotent."""
        self._delivery.close()
        await self._coalescer.aclose()
        if self._results_made is not None:
            await self._results_made.aclose()
        if self._owns_broker:
            await self._broker.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def _results(self) -> Results:
        if self._results_made is None:
            self._results_made = Results(
                self._broker.watches, clock=self._clock, retry_for=self._retry_for, random=Random()
            )
        return self._results_made

    async def _create(self, task: Task) -> TaskInfo:
        now = self._clock()
        new = new_task(task, task.options, random_id=next(self._random_ids), now=now)
        result = answer(new, await self._coalescer.send(new), now)
        if isinstance(result, EnqueueError | WrongType):
            raise result
        return result

    async def _prepared(
        self, items: Sequence[TaskLike], call_options: Mapping[str, Any]
    ) -> tuple[list[NewTask | InvalidOption], datetime]:
        now = self._clock()
        batch = Batch(call_options, defaults_of=self._defaults_of, random_ids=self._random_ids, now=now)
        prepared: list[NewTask | InvalidOption] = []
        for start in range(0, len(items), _MOST_IN_A_TURN):
            for item in items[start : start + _MOST_IN_A_TURN]:
                try:
                    prepared.append(batch.prepare(item))
                except InvalidOption as error:
                    prepared.append(error)
            await asyncio.sleep(0)
        return prepared, now

    async def _send_prepared(self, prepared: Sequence[NewTask | InvalidOption], now: datetime) -> list[Enqueued]:
        new = [task for task in prepared if not isinstance(task, InvalidOption)]
        sent: list[Enqueued] = []
        for portion in portions(new):
            sent += answers(portion, await self._delivery.send(portion, now=now), now)
        if len(sent) == len(prepared):
            return sent
        remaining = iter(sent)
        return [task if isinstance(task, InvalidOption) else next(remaining) for task in prepared]

    async def _many_through_middleware(
        self, items: Sequence[TaskLike], call_options: Mapping[str, Any]
    ) -> list[Enqueued]:
        async def one(item: TaskLike) -> Enqueued:
            assert self._through_middleware is not None
            try:
                task = task_from(item)
                return await self._through_middleware(
                    with_all_options(task, self._defaults_of(task.type), call_options)
                )
            except (EnqueueError, InvalidOption, WrongType) as error:
                return error

        # each ends by itself: one that fails for another reason must not leave the others half done
        results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
        found: list[Enqueued] = []
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, EnqueueError | InvalidOption | WrongType):
                raise result
            found.append(result)
        return found

    def _defaults_of(self, task_type: str) -> Mapping[str, Any]:
        """The checked defaults of a type. Raises InvalidOption for those that cannot be used."""
        if self._defaults is None:
            return {}
        given = self._defaults(task_type)
        if not given:
            return {}
        known = self._checked_defaults.get(task_type)
        if known is None or known[0] is not given:
            if len(self._checked_defaults) >= _MOST_DEFAULTS:
                self._checked_defaults.clear()
            known = self._checked_defaults[task_type] = (given, checked_options(given))
        return known[1]


# Tasks prepared before the event loop has another turn: a few milliseconds.
_MOST_IN_A_TURN = 200

# Types whose defaults are remembered: a prefix handler may see types without end.
_MOST_DEFAULTS = 1000
