"""Tells the application's error callbacks of failed attempts, beside everything else.

An outcome is on its way to Redis before anybody is told of it: a callback that is slow, raises or never returns costs
no task its outcome and the server nothing but its own place.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from datetime import timedelta
from typing import Any

from longshore.policy.failed_attempt import FailedAttempt, RetryDecision
from longshore.policy.failure_policy import ErrorCallback
from longshore.runtime.threads import Threads

_AT_ONCE = 16  # calls under way; one that never returns keeps its place
_MOST = 1000  # failed attempts to be told of; beyond that they are counted instead, as when everything fails at once

_logger = logging.getLogger("longshore.server")


class ErrorCallbacks:
    """``tell`` never waits and never raises. Every method is for the event loop's thread."""

    def __init__(self, *, limit: timedelta) -> None:
        """``limit``: how long a call may take."""
        self._limit_s = limit.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._threads = Threads(loop=self._loop)
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._telling: set[asyncio.Task[None]] = set()
        self._untold = 0  # since the last one that was told

    def tell(self, callbacks: tuple[ErrorCallback, ...], failed: FailedAttempt, decision: RetryDecision) -> None:
        """Call them soon, one after the other."""
        if len(self._telling) >= _MOST:
            self._untold += 1
            return
        untold, self._untold = self._untold, 0
        if untold:
            _untold(untold)
        task = self._loop.create_task(self._tell(callbacks, failed, decision))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def flush(self) -> None:
        """Wait until all have been told."""
        while self._telling:
            await asyncio.wait(self._telling)

    def close(self) -> None:
        """Tell no more."""
        if left := len(self._telling) + self._untold:
            _untold(left)
        for task in self._telling:
            task.cancel()
        self._threads.close()

    async def _tell(self, callbacks: tuple[ErrorCallback, ...], failed: FailedAttempt, decision: RetryDecision) -> None:
        async with self._places:
            for callback in callbacks:
                await self._call(callback, failed, decision)

    async def _call(self, callback: ErrorCallback, failed: FailedAttempt, decision: RetryDecision) -> None:
        if _is_async(callback):
            begun = callback(failed, decision)
        else:
            begun = self._threads.call(callback, [failed, decision], {})
            await self._outlast(begun, failed)
        error = await self._bounded(self._loop.create_task(_error_of(begun)), failed)
        if error is not None:
            _logger.error(
                "An error callback raised",
                extra=_fields("error_callback_broken", failed),
                exc_info=error,
            )

    async def _outlast(self, thread: asyncio.Future[Any], failed: FailedAttempt) -> None:
        """Wait for the thread, however long it goes on: nobody can end it, and it keeps its place."""
        try:
            await asyncio.wait([thread], timeout=self._limit_s)
            if not thread.done():
                _slow(failed)
                await asyncio.wait([thread])
        finally:
            thread.cancel()

    async def _bounded(self, call: asyncio.Task[BaseException | None], failed: FailedAttempt) -> BaseException | None:
        """What the call raised. Cancelled when its time is over; its place is free when its code has ended."""
        try:
            await asyncio.wait([call], timeout=self._limit_s)
            if not call.done():
                _slow(failed)
                call.cancel()
                await asyncio.wait([call])
        finally:
            call.cancel()
        return None if call.cancelled() else call.result()


def _is_async(callback: ErrorCallback) -> bool:
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(type(callback).__call__)


async def _error_of(call: Any) -> BaseException | None:
    """What it raises, as a value: an asyncio task that raises SystemExit would end the whole loop."""
    try:
        result = await call
        if asyncio.iscoroutine(result):  # of a plain function that returned one
            await result
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return error
    return None


def _slow(failed: FailedAttempt) -> None:
    _logger.error("An error callback takes too long", extra=_fields("error_callback_slow", failed))


def _untold(attempts: int) -> None:
    _logger.error(
        "Error callbacks are too slow; failed attempts were not told",
        extra={"action": "errors_untold", "attempts": attempts},
    )


def _fields(action: str, failed: FailedAttempt) -> dict[str, str]:
    return {"action": action, "task_id": failed.task_id, "task_type": failed.type}
