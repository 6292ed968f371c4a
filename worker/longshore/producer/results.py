"""Waiting until a task has ended, and hearing how far it is."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from longshore.broker.watches_base import Watches
from longshore.errors import BrokerUnavailable, InvalidData, TaskFailed, TaskNotFound
from longshore.policy.backoff import pause_before
from longshore.protocol.snapshots import TaskInfo
from longshore.protocol.states import TaskState

# The pauses between looks grow: whoever has waited for long can wait a little longer.
_GROWTH = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """What a completed task left behind."""

    task_id: str
    queue: str
    bytes: bytes | None  # as stored: JSON of what the handler returned, or what it wrote; None: it left nothing
    completed_at: datetime | None  # None when a peer has not recorded it

    @property
    def value(self) -> Any:
        """What the handler returned, read from JSON; None when it left nothing.

        Raises InvalidData when the bytes are not JSON, which only a handler that writes its result itself can make.
        """
        if self.bytes is None:
            return None
        try:
            return json.loads(self.bytes)
        except ValueError as error:
            raise InvalidData(f"the result of task {self.task_id!r} is not JSON; its bytes are as stored") from error


class Results:
    """The waits of one client. They share one subscription, which begins with the first and lasts until ``aclose``.

    A wait looks at its task, and again when it is told that something has happened. Go servers tell nobody, and nobody
    tells of what is deleted; so there are looks without being told, too.
    """

    def __init__(
        self,
        watches: Watches,
        *,
        clock: Callable[[], datetime],
        retry_for: timedelta,
        random: Random,
        first_pause: timedelta = timedelta(seconds=1),
        longest_pause: timedelta = timedelta(seconds=10),
    ) -> None:
        """``retry_for``: for how long a look is repeated while Redis cannot be reached.

        The pauses between looks that nobody asked for begin with ``first_pause`` and grow up to ``longest_pause``.
        """
        self._first_pause_s = first_pause.total_seconds()
        self._longest_pause_s = longest_pause.total_seconds()
        self._watches = watches
        self._clock = clock
        self._retry_for_s = retry_for.total_seconds()
        self._random = random
        self._hearer = uuid.uuid4().hex
        self._woken: dict[str, list[asyncio.Event]] = {}  # by token, of which each task that is waited for has one
        self._listener: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self, queue: str, task_id: str) -> TaskResult:
        """Wait until the task is completed. Raises TaskFailed when it is archived, TaskNotFound when there is none."""
        async with aclosing(self.looks(queue, task_id)) as looks:
            async for info in looks:
                if info.state is TaskState.COMPLETED:
                    completed_at = info.message.completed_at
                    return TaskResult(task_id=task_id, queue=queue, bytes=info.result, completed_at=completed_at)
                if info.state is TaskState.ARCHIVED:
                    message = info.message
                    raise TaskFailed(queue, task_id, error=message.error, retried=message.retried)
        raise TaskNotFound(queue, task_id)

    async def looks(self, queue: str, task_id: str) -> AsyncGenerator[TaskInfo, None]:
        """The task now, and again whenever something may have happened to it, until it is gone."""
        async with self._woken_by(queue, task_id) as (token, woken):
            pause_s = self._first_pause_s
            while True:
                woken.clear()
                info = await self._look(queue, task_id, token)
                if info is None:
                    return
                yield info
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await woken.wait()
                pause_s = min(pause_s * _GROWTH, self._longest_pause_s)

    async def aclose(self) -> None:
        """End every wait with BrokerUnavailable."""
        self._closed = True
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            await asyncio.wait([listener])
        self._wake_all()

    async def _look(self, queue: str, task_id: str, token: str) -> TaskInfo | None:
        began = asyncio.get_running_loop().time()
        tries = 0
        while True:
            if self._closed:
                raise BrokerUnavailable("the client is closed")
            try:
                return await self._watches.look(queue, task_id, hearer=self._hearer, token=token, now=self._clock())
            except BrokerUnavailable as error:
                if error.refused:
                    raise
                tries += 1
                pause_s = pause_before(tries, jitter=self._random.random()).total_seconds()
                if asyncio.get_running_loop().time() - began + pause_s >= self._retry_for_s:
                    raise
                await asyncio.sleep(pause_s)

    @asynccontextmanager
    async def _woken_by(self, queue: str, task_id: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
        if self._closed:
            raise BrokerUnavailable("the client is closed")
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())
        token = f"{queue} {task_id}"
        woken = asyncio.Event()
        self._woken.setdefault(token, []).append(woken)
        try:
            yield token, woken
        finally:
            self._woken[token].remove(woken)
            if not self._woken[token]:
                del self._woken[token]

    async def _listen(self) -> None:
        tries = 0
        while True:
            with suppress(BrokerUnavailable):
                async with aclosing(self._watches.hear(self._hearer)) as tokens:
                    async for token in tokens:
                        tries = 0
                        if token is None:
                            self._wake_all()  # to look at what was missed while nothing was heard
                        else:
                            _wake(self._woken.get(token, ()))
            tries += 1
            await asyncio.sleep(pause_before(tries, jitter=self._random.random()).total_seconds())

    def _wake_all(self) -> None:
        for waits in self._woken.values():
            _wake(waits)


def _wake(waits: Iterable[asyncio.Event]) -> None:
    for woken in waits:
        woken.set()
