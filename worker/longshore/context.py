"""What a handler may know and do besides its payload."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, cast

from longshore.errors import InvalidOption
from longshore.protocol.messages import TaskMessage
from longshore.task import encode_payload

if TYPE_CHECKING:  # a default, so that a plain ``Context`` is a whole type; the standard library knows it from 3.13 on
    from typing_extensions import TypeVar

    StateT = TypeVar("StateT", default=Any)
else:
    from typing import TypeVar

    StateT = TypeVar("StateT")

_logger = logging.getLogger("longshore.task")


class _TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Keeps the handler's own extra fields; the standard adapter replaces them before Python 3.13."""

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs


class Control(Protocol):
    """The server's side of an attempt, as its context needs it."""

    @property
    def message(self) -> TaskMessage: ...

    @property
    def deadline(self) -> datetime: ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def interrupted(self) -> bool: ...

    @property
    def state(self) -> object: ...

    async def write_result(self, result: bytes) -> bool: ...

    async def write_progress(self, progress: bytes) -> bool: ...


class Context(Generic[StateT]):
    """One attempt of one task. Made by the server, given to the handler; not for reuse after the handler ended.

    A handler that uses what the application's lifespan yields says so: ``ctx: Context[Services]``.
    """

    __slots__ = ("_control", "_logger", "_message")

    def __init__(self, control: Control) -> None:
        self._control = control
        self._message = control.message
        self._logger: _TaskLogger | None = None

    @property
    def task_id(self) -> str:
        """Unique within its queue."""
        return self._message.id

    @property
    def type(self) -> str:
        """The task's type; a handler registered for a prefix sees the whole."""
        return self._message.type

    @property
    def queue(self) -> str:
        """The queue it was taken from."""
        return self._message.queue

    @property
    def retried(self) -> int:
        """Failed attempts before this one."""
        return self._message.retried

    @property
    def max_retry(self) -> int:
        """Retries in all; this is the last attempt when ``retried == max_retry``."""
        return self._message.max_retry

    @property
    def deadline(self) -> datetime:
        """When this attempt is cut off (aware, UTC)."""
        return self._control.deadline

    @property
    def payload(self) -> bytes:
        """The payload's bytes; empty when there is none."""
        return self._message.payload or b""

    @property
    def state(self) -> StateT:
        """What the application's lifespan yielded; None without one. One value for all attempts of a server."""
        return cast(StateT, self._control.state)

    @property
    def headers(self) -> Mapping[str, str]:
        """The producer's headers."""
        return self._message.headers

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was told to end: deadline, cancellation, lost lease or shutdown.

        Async handlers are cancelled anyway. A plain function runs in a thread, which nobody can stop from outside:
        a long one asks this now and then, and returns.
        """
        return self._control.interrupted

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that adds the task's id, type and queue to each record."""
        if self._logger is None:
            fields = {"task_id": self.task_id, "task_type": self.type, "queue": self.queue}
            self._logger = _TaskLogger(_logger, fields)
        return self._logger

    async def write_result(self, result: bytes | str) -> bool:
        """Store bytes that inspectors show beside the task, replacing earlier ones. For async handlers.

        False: the attempt no longer owns the task (cancelled, or its lease is lost) and nothing was written.
        Raises BrokerUnavailable when Redis does not answer.
        """
        return await self._control.write_result(encode_result(result))

    def write_result_from_thread(self, result: bytes | str) -> bool:
        """The same for plain functions: waits until it is written.

        Raises InvalidOption in an async handler, which would wait for itself.
        """
        self._check_thread("write_result")
        return asyncio.run_coroutine_threadsafe(self.write_result(result), self._control.loop).result()

    async def progress(self, value: Any) -> bool:
        """Say how far the task is: anything JSON can say, such as ``0.3`` or ``{"done": 3, "of": 10}``.

        Inspectors show it while the task is active, and ``Client.watch`` tells those who wait. It goes when the attempt
        ends. False: the attempt no longer owns the task and nothing was written. Raises InvalidOption when JSON cannot
        say it, and BrokerUnavailable when Redis does not answer. For async handlers.
        """
        return await self._control.write_progress(encode_progress(value))

    def progress_from_thread(self, value: Any) -> bool:
        """The same for plain functions: waits until it is written.

        Raises InvalidOption in an async handler, which would wait for itself.
        """
        self._check_thread("progress")
        return asyncio.run_coroutine_threadsafe(self.progress(value), self._control.loop).result()

    def _check_thread(self, method: str) -> None:
        with contextlib.suppress(RuntimeError):  # a thread of a handler's own has no loop
            if asyncio.get_running_loop() is self._control.loop:
                raise InvalidOption(f"{method}_from_thread", f"is for plain functions; here, await {method}")


def encode_result(result: bytes | str) -> bytes:
    """What a handler wants to be stored. Raises InvalidOption for anything but bytes and text."""
    if isinstance(result, str):
        try:
            return result.encode()
        except UnicodeEncodeError as error:
            raise InvalidOption("result", "is not valid Unicode") from error
    if not isinstance(result, bytes | bytearray | memoryview):
        raise InvalidOption("result", f"must be bytes or str, not {type(result).__name__}")
    return bytes(result)


def encode_progress(value: Any) -> bytes:
    """A handler's word on how far it is, as JSON. Raises InvalidOption when JSON cannot say it."""
    if value is None or isinstance(value, bytes | bytearray | memoryview):
        raise InvalidOption("progress", f"must be a value for JSON, not {type(value).__name__}")
    try:
        return encode_payload(value) or b""
    except InvalidOption as error:
        raise InvalidOption("progress", error.problem) from error
