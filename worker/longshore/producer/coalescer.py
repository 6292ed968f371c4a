"""Gathers tasks that are enqueued one by one at the same time into calls of many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from longshore.broker.base import EnqueueResult, NewTask
from longshore.broker.limits import MOST_AT_ONCE, MOST_BYTES
from longshore.errors import BrokerUnavailable, WrongType
from longshore.producer.delivery import Delivery

_Waiting = tuple[NewTask, "asyncio.Future[EnqueueResult | WrongType]"]


class Coalescer:
    """What gathers while a call is under way forms the next; there is no timer, so a lone task is sent at once.

    A caller that is cancelled takes nobody along. Its task is not sent if it was not yet, and may exist if it was.
    """

    def __init__(self, delivery: Delivery, *, clock: Callable[[], datetime]) -> None:
        self._delivery = delivery
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._closed = False

    async def send(self, task: NewTask) -> EnqueueResult | WrongType:
        """Create one task. Raises BrokerUnavailable."""
        if self._closed:
            raise BrokerUnavailable("the client is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[EnqueueResult | WrongType] = loop.create_future()
        self._waiting.append((task, future))
        if self._sending is None:
            self._sending = loop.create_task(self._send_waiting())
        return await future

    async def aclose(self) -> None:
        """Fail what is under way."""
        self._closed = True
        sending = self._sending
        if sending is not None:
            sending.cancel()
            await asyncio.wait([sending])
        self._fail(self._waiting, BrokerUnavailable("the client was closed; the task may or may not have been taken"))

    async def _send_waiting(self) -> None:
        try:
            while portion := self._next_portion():
                await self._send(portion)
        finally:
            # nothing is awaited between finding the queue empty and this
            self._sending = None

    def _next_portion(self) -> list[_Waiting]:
        portion: list[_Waiting] = []
        size = 0
        while self._waiting and len(portion) < MOST_AT_ONCE:
            task, future = self._waiting[0]
            if not future.done():  # it is when its caller was cancelled
                size += len(task.message.payload or b"")
                if portion and size > MOST_BYTES:
                    break
                portion.append((task, future))
            self._waiting.popleft()
        return portion

    async def _send(self, portion: Sequence[_Waiting]) -> None:
        try:
            results = await self._delivery.send([task for task, _ in portion], now=self._clock())
        except asyncio.CancelledError:
            text = "the client was closed; the task may or may not have been taken"
            self._fail(portion, BrokerUnavailable(text))
            raise
        except Exception as error:
            self._fail(portion, error)
        else:
            for (_, future), result in zip(portion, results, strict=True):
                if not future.done():
                    future.set_result(result)

    @staticmethod
    def _fail(waiting: Iterable[_Waiting], error: Exception) -> None:
        for _, future in waiting:
            if not future.done():
                future.set_exception(error)
