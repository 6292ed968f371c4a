"""The client for code without an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from longshore.broker.base import RedisSettings
from longshore.client import DEFAULT_RETRY_FOR, Client, TaskDefaults
from longshore.errors import BrokerUnavailable, UsageError
from longshore.producer.middleware import EnqueueMiddleware
from longshore.producer.preparation import Enqueued, TaskLike, several
from longshore.producer.results import TaskResult
from longshore.protocol.snapshots import TaskInfo
from longshore.task import Task, TaskOptions

T = TypeVar("T")

_END = object()


class SyncClient:
    """A Client whose methods wait: the same arguments, answers and errors, for scripts, Django views, threads.

    Any number of threads may share one; what they enqueue at the same time shares round trips. It works on an event
    loop of its own, in a daemon thread that begins with the first call. A process that is forked makes its own at its
    first call. Called where an event loop runs, it holds that up; use Client there.

    A context manager; ``close`` does the same, and so, without waiting, does forgetting it.
    """

    def __init__(
        self,
        redis: str | RedisSettings | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        defaults: TaskDefaults | None = None,
        middleware: Sequence[EnqueueMiddleware] = (),
        retry_for: timedelta | float = DEFAULT_RETRY_FOR,
    ) -> None:
        """The arguments of Client. The middleware is async here, too. Raises InvalidOption as Client does."""

        def make() -> Client:
            return Client(redis, clock=clock, defaults=defaults, middleware=middleware, retry_for=retry_for)

        make()  # what it cannot be made with is said here, not at the first call
        self._make = make
        self._lock = threading.Lock()
        self._home: _Home | None = None
        self._forgotten: weakref.finalize[..., Any] | None = None  # ends the home of a client that nobody has closed
        self._closed = False
        _clients.add(self)

    def enqueue(self, task: Task | str, payload: Any = None, **options: Unpack[TaskOptions]) -> TaskInfo:
        """As Client.enqueue."""
        return self._run(lambda client: client.enqueue(task, payload, **options))

    def enqueue_many(self, tasks: Iterable[TaskLike], **options: Unpack[TaskOptions]) -> list[Enqueued]:
        """As Client.enqueue_many. ``tasks`` is gone through before the first is sent, in the caller's thread."""
        listed = list(several(tasks))
        return self._run(lambda client: client.enqueue_many(listed, **options))

    def result(self, task_id: str, *, queue: str = "default", timeout: timedelta | float | None = None) -> TaskResult:
        """As Client.result."""
        return self._run(lambda client: client.result(task_id, queue=queue, timeout=timeout))

    def watch(self, task_id: str, *, queue: str = "default") -> Iterator[Any]:
        """As Client.watch."""
        home = self._at_home()
        values = home.client.watch(task_id, queue=queue)
        try:
            while (value := home.run(_next(values))) is not _END:
                yield value
        finally:
            with suppress(BrokerUnavailable):  # the client is closed
                home.run(_close(values))

    def ping(self) -> None:
        """As Client.ping."""
        self._run(lambda client: client.ping())

    def close(self) -> None:
        """Fail what is under way in other threads, and close the connections. Idempotent."""
        with self._lock:
            self._closed = True
            home, self._home = self._home, None
        if home is not None:
            self._keep_home()
            home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        home = self._at_home()
        return home.run(call(home.client))

    def _at_home(self) -> _Home:
        home = self._home
        if home is None:
            with self._lock:
                if self._closed:
                    raise BrokerUnavailable("the client is closed")
                home = self._home
                if home is None:
                    home = self._home = _Home(self._make)
                    self._forgotten = weakref.finalize(self, home.leave)
                    self._forgotten.atexit = False  # the thread is a daemon's
        return home

    def _keep_home(self) -> None:
        if self._forgotten is not None:
            self._forgotten.detach()

    def _forget_parent(self) -> None:
        # The loop's thread is the parent's, and its sockets are in use there. They are neither used nor closed here:
        # closing would take them out of the parent's selector, too.
        self._keep_home()
        if self._home is not None:
            _homes_of_parents.append(self._home)
            self._home = None
        self._lock = threading.Lock()  # a thread that is gone may have held it


class _Home:
    """A client and the loop it lives on."""

    def __init__(self, make: Callable[[], Client]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="longshore-client", daemon=True)
        self._gate = threading.Lock()  # between calls that come in and the end
        self._closed = False
        self._left = False
        self._thread.start()
        self.client = self.run(_made(make))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let the loop carry it out, and wait for it. A caller that is interrupted cancels it."""
        if threading.current_thread() is self._thread:  # it would wait for itself, for ever
            coroutine.close()
            raise UsageError("a SyncClient cannot be used by its own middleware; use a Client there")
        with self._gate:
            if self._closed:
                coroutine.close()
                raise BrokerUnavailable("the client is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise BrokerUnavailable("the client was closed; what was under way may or may not have happened") from error
        except BaseException:
            future.cancel()  # does nothing to one that has ended
            raise

    def close(self) -> None:
        self.run(self.client.aclose())
        with self._gate:
            self._closed = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    def leave(self) -> None:
        """As close, for a client that nobody has any more. The thread does it, while the caller goes on.

        Nothing is waited for and no lock is taken: whichever thread collects garbage comes by here, this one included.
        """
        self._closed = self._left = True
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _work(self) -> None:
        self._loop.run_forever()
        if self._left:
            self._loop.run_until_complete(self.client.aclose())
            self._loop.run_until_complete(self._end())
            self._loop.close()

    async def _end(self) -> None:
        """Let callers whose calls the client has just failed hear of it."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()


async def _next(values: AsyncGenerator[Any, None]) -> Any:
    return await anext(values, _END)


async def _close(values: AsyncGenerator[Any, None]) -> None:
    await values.aclose()


async def _made(make: Callable[[], Client]) -> Client:
    return make()


_clients: weakref.WeakSet[SyncClient] = weakref.WeakSet()
_homes_of_parents: list[_Home] = []


def _forked() -> None:
    for client in list(_clients):
        client._forget_parent()


os.register_at_fork(after_in_child=_forked)
