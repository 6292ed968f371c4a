"""Threads for plain functions.

Not the standard executor: its threads are joined when the interpreter ends, so one handler that never returns would
keep a stopped worker from exiting. These are daemons, and the server counts the ones that do not end.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any

_Job = tuple[asyncio.Future[Any], contextvars.Context, Callable[..., Any], list[Any], dict[str, Any]]


class Threads:
    """At most as many threads as calls run at once; the caller bounds those by its slots. Idle threads are reused."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0

    def call(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """Begin the call. The future holds what it returns or raises; cancelling it does not stop the thread."""
        future = self._loop.create_future()
        self._busy += 1
        if self._busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._work, name=f"longshore-handler-{self._threads}", daemon=True).start()
        self._jobs.put((future, contextvars.copy_context(), function, args, kwargs))
        return future

    def close(self) -> None:
        """Let the idle threads end, and the busy ones once they are done."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, context, function, args, kwargs = job
            result, error = None, None
            try:
                result = context.run(function, *args, **kwargs)
            except BaseException as raised:
                error = raised
            try:
                self._loop.call_soon_threadsafe(self._done, future, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
            # a handler's result and error, and what they hold, must not live on in an idle thread
            del job, future, context, function, args, kwargs, result, error

    def _done(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._busy -= 1
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration | KeyboardInterrupt | SystemExit):
            # a future refuses the first; asyncio would end the whole loop with the others
            future.set_exception(RuntimeError(f"the handler raised {type(error).__name__}: {error}"))
        else:
            future.set_exception(error)
