"""The inside of a process that runs handlers: one job at a time in its main thread, until its server closes the socket.

Three threads. The main one runs handlers, so that libraries find what they expect there. One reads what the server
says: an interruption must be heard while a handler runs, and the end of the server too. One writes: a handler that is
interrupted must not leave half a frame behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import inspect
import itertools
import logging
import os
import pickle
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from multiprocessing import spawn
from types import FrameType
from typing import Any, NoReturn

from longshore.context import Context, encode_progress, encode_result
from longshore.errors import InvalidOption, ProcessError
from longshore.handler import Handler, handler_for
from longshore.protocol.messages import TaskMessage
from longshore.runtime.child_frames import (
    LENGTH,
    Answer,
    Interrupt,
    Job,
    Logged,
    Outcome,
    PortableError,
    Prepare,
    Ready,
    Request,
    framed,
)
from longshore.task import encode_payload

# Its default is to be ignored, so one that comes too early or too late does no harm; and hardly any library uses it.
_INTERRUPTION = signal.SIGURG
_LAST_MOMENT_S = 2.0


class ChildControl:
    """The server's side of an attempt, as far as another process can have it."""

    def __init__(self, job: Job, ask: Callable[[int, str, Any], Any]) -> None:
        self.number = job.number
        self.interrupted = False
        self.job = job
        self._ask = ask

    @property
    def message(self) -> TaskMessage:
        return self.job.message

    @property
    def deadline(self) -> datetime:
        return self.job.deadline

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        raise InvalidOption("context", "the server's event loop cannot be reached from a handler's own process")

    @property
    def state(self) -> object:
        raise InvalidOption("state", "what the lifespan yields is in the server's process, out of this handler's reach")

    async def write_result(self, result: bytes) -> bool:
        raise InvalidOption("write_result", "is for async handlers; here, call write_result_from_thread")

    async def write_progress(self, progress: bytes) -> bool:
        raise InvalidOption("progress", "is for async handlers; here, call progress_from_thread")

    def ask(self, operation: str, argument: Any) -> Any:
        """Let the server do something for the task, and wait for it."""
        return self._ask(self.number, operation, argument)


class ChildContext(Context[Any]):
    """A context whose server is in another process."""

    __slots__ = ("_child",)

    def __init__(self, control: ChildControl) -> None:
        super().__init__(control)
        self._child = control

    def write_result_from_thread(self, result: bytes | str) -> bool:
        """As in a thread: waits until it is written."""
        return bool(self._child.ask("write_result", encode_result(result)))

    def progress_from_thread(self, value: Any) -> bool:
        """As in a thread: waits until it is written."""
        return bool(self._child.ask("write_progress", encode_progress(value)))


class ChildProcess:
    """Runs until the socket is closed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._jobs: queue.SimpleQueue[ChildControl | None] = queue.SimpleQueue()
        self._outgoing: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answers: dict[int, queue.SimpleQueue[Answer]] = {}
        self._numbers = itertools.count(1)
        self._newest: ChildControl | None = None  # the job that runs, or is about to
        self._interruptible = False  # whether a handler's code runs

    def run(self) -> None:
        """From start to end."""
        # A terminal, or a service manager, tells every process to end. When a handler shall end, its server knows.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP):
            signal.signal(number, _heedless)  # not SIG_IGN, which programs started by a handler would inherit
        signal.signal(_INTERRUPTION, self._interrupted)
        prepare = self._receive()
        assert isinstance(prepare, Prepare)
        logging.getLogger().addHandler(_Forwarding(self._send))
        for name, level in prepare.log_levels.items():
            logging.getLogger(name).setLevel(level)
        threading.Thread(target=self._write, name="longshore-writer", daemon=True).start()
        spawn.prepare(prepare.main)
        threading.Thread(target=self._read, name="longshore-reader", daemon=True).start()
        self._send(Ready())
        while (control := self._jobs.get()) is not None:
            self._send(self._outcome(control))
            control = self._newest = None  # a payload must not live on in an idle process

    # -- one job -----------------------------------------------------------------------------------------------------

    def _outcome(self, control: ChildControl) -> Outcome:
        job = control.job
        try:
            try:
                handler = _handler(job.module, job.function, job.pattern)
                args, kwargs = handler.arguments(ChildContext(control), job.message.payload)
                self._interruptible = True
                if control.interrupted:
                    raise asyncio.CancelledError
                result = handler.function(*args, **kwargs)
            finally:
                self._interruptible = False
            if inspect.iscoroutine(result):
                result.close()
                raise InvalidOption("process", f"{job.function} is async after all; only plain functions can do that")
        except (KeyboardInterrupt, SystemExit) as error:
            text = f"the handler raised {type(error).__name__}: {error}"
            return Outcome(number=job.number, error=PortableError.of(RuntimeError(text)))
        except BaseException as error:
            return Outcome(number=job.number, error=PortableError.of(error))
        return _outcome_of(job.number, result)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._interruptible and self._newest is not None and self._newest.interrupted:
            self._interruptible = False  # once: what the handler does to clean up is left alone
            raise asyncio.CancelledError

    def _ask(self, job: int, operation: str, argument: Any) -> Any:
        number = next(self._numbers)
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._answers[number] = answers
        try:
            self._send(Request(number=number, job=job, operation=operation, argument=argument))
            answer = answers.get()
        finally:
            del self._answers[number]
        if answer.error is not None:
            raise answer.error.restored()
        return answer.result

    # -- the socket --------------------------------------------------------------------------------------------------

    def _send(self, frame: object) -> None:
        self._outgoing.put(framed(frame))

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._connection.sendall(self._outgoing.get())

    def _receive(self) -> Any:
        """The next frame. Raises EOFError at the end."""
        (length,) = LENGTH.unpack(self._read_exactly(LENGTH.size))
        return pickle.loads(self._read_exactly(length))

    def _read_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._connection.recv(min(size - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def _read(self) -> None:
        try:
            while True:
                frame = self._receive()
                if isinstance(frame, Job):
                    self._newest = ChildControl(frame, self._ask)
                    self._jobs.put(self._newest)
                elif isinstance(frame, Interrupt):
                    self._interrupt(frame.number)
                elif isinstance(frame, Answer) and (waiting := self._answers.get(frame.request)) is not None:
                    waiting.put(frame)
        except (EOFError, OSError):
            self._leave(busy=self._interruptible)

    def _interrupt(self, number: int) -> None:
        newest = self._newest
        if newest is not None and newest.number == number:
            newest.interrupted = True
            signal.pthread_kill(threading.main_thread().ident or 0, _INTERRUPTION)

    def _leave(self, *, busy: bool) -> None:
        """The server has closed the socket, or is no more."""
        if not busy:
            self._jobs.put(None)
            threading.Event().wait(_LAST_MOMENT_S)  # the interpreter ends meanwhile, unless something keeps it
        # With whatever the handler has started: it has this group to itself.
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


class _Forwarding(logging.Handler):
    """Sends every record to the server, where logging is set up."""

    def __init__(self, send: Callable[[object], None]) -> None:
        super().__init__()
        self._pass_on = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = {**record.__dict__, "msg": record.getMessage(), "args": None, "exc_info": None}
            if record.exc_info and not record.exc_text:
                fields["exc_text"] = (self.formatter or logging.Formatter()).formatException(record.exc_info)
            try:
                self._pass_on(Logged(record=logging.makeLogRecord(fields)))
            except Exception:  # an extra field that cannot be pickled
                plain = {name: _plain(value) for name, value in fields.items()}
                self._pass_on(Logged(record=logging.makeLogRecord(plain)))
        except Exception:
            self.handleError(record)


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def _heedless(number: int, frame: FrameType | None) -> None: ...


@functools.cache
def _handler(module: str, function: str, pattern: str) -> Handler:
    found: Any = sys.modules.get(module) or importlib.import_module(module)
    for name in function.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ProcessError(f"module {module!r} has no {function!r} in the handler's own process") from error
    return handler_for(pattern, found)


def _outcome_of(number: int, result: Any) -> Outcome:
    try:
        return Outcome(number=number, result=pickle.dumps(result))
    except Exception as error:
        problem = f"{type(result).__name__}: cannot be pickled: {error}"
    with contextlib.suppress(InvalidOption):  # what is kept of a result are these bytes anyway
        return Outcome(number=number, result=pickle.dumps(encode_payload(result)))
    return Outcome(number=number, result=pickle.dumps(None), problem=problem)


def main(descriptor: int) -> NoReturn:
    """The process begins here."""
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    with contextlib.suppress(EOFError, OSError):
        ChildProcess(connection).run()
    sys.exit(0)
