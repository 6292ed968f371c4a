"""Processes for handlers that keep a CPU busy: started when first needed, killed when a handler will not end.

Not the standard executor: it cannot end one call, and gives up altogether when a single process dies. Here each process
is told to end its job, killed if it does not, and replaced; the others do not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import signal
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from multiprocessing import spawn
from typing import Any

from longshore.errors import ProcessDied, ProcessError
from longshore.handler import Handler
from longshore.runtime.attempt import Attempt
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

_logger = logging.getLogger("longshore.server")

_ENTRY = "import sys; from longshore.runtime.child_process import main; main(int(sys.argv[1]))"
_LAST_WORDS_S = 1.0  # for reading what a process that has ended left in its socket
_CLOSING_S = 1.0  # for idle processes to end by themselves


class Call:
    """One job. ``future`` holds what the handler returns or raises."""

    def __init__(self, pool: ProcessPool, attempt: Attempt, handler: Handler, future: asyncio.Future[Any]) -> None:
        self.attempt = attempt
        self.handler = handler
        self.future = future
        self.child: Child | None = None  # None: waits for one
        self.number = 0
        self._pool = pool

    def interrupt(self) -> None:
        """Tell the handler to end: it is raised CancelledError wherever it is in Python code."""
        if self.child is None:
            self._pool.withdraw(self)
            self.future.cancel()
        else:
            self.child.send(Interrupt(number=self.number))

    def kill(self) -> None:
        """End the handler with its process, now."""
        if self.child is not None:
            self.child.kill()
        self.fail(ProcessDied("the handler's process was killed, because it did not end when told to"))

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class ProcessPool:
    """At most ``size`` processes. Costs nothing until the first call."""

    def __init__(self, *, size: int) -> None:
        self._size = size
        self._children: set[Child] = set()  # alive, or starting
        self._idle: list[Child] = []
        self._waiting: deque[Call] = deque()
        self._closing = False

    def call(self, attempt: Attempt, handler: Handler) -> Call:
        """Run the handler in a process, as soon as one is free; in the order of calls."""
        call = Call(self, attempt, handler, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._dispatch()
        return call

    @property
    def processes(self) -> list[int]:
        """The ids of the processes that run."""
        return [child.pid for child in self._children if child.pid is not None]

    def withdraw(self, call: Call) -> None:
        """A call that waits shall not run any more."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(call)

    def _dispatch(self) -> None:
        while self._waiting and self._idle:
            # the one used last: what it has loaded is the most likely to be in some cache
            self._idle.pop().begin(self._waiting.popleft())
        starting = sum(1 for child in self._children if child.starting)
        while len(self._waiting) > starting and len(self._children) < self._size and not self._closing:
            self._children.add(Child(self))
            starting += 1

    # -- told by its processes ---------------------------------------------------------------------------------------

    def is_idle(self, child: Child) -> None:
        self._idle.append(child)
        self._dispatch()

    def has_ended(self, child: Child, error: ProcessDied) -> None:
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        if child.call is not None:
            child.call.fail(error)
        elif child.starting and self._waiting:
            # One that cannot start fails a task, or they would be started without end.
            self._waiting.popleft().fail(error)
        self._dispatch()

    async def aclose(self) -> None:
        """End all processes, and wait until they have ended. Idempotent."""
        self._closing = True
        while self._waiting:
            self._waiting.popleft().fail(ProcessError("the server has ended"))
        children = list(self._children)
        for child in children:
            if child.call is None:
                child.hang_up()
            else:
                child.kill()
        lives = [child.life for child in children]
        if lives:
            await asyncio.wait(lives, timeout=_CLOSING_S)
            for child in children:
                child.kill()
            await asyncio.wait(lives)


class Child:
    """One process, seen from the server."""

    def __init__(self, pool: ProcessPool) -> None:
        self.call: Call | None = None
        self.starting = True
        self._pool = pool
        self._numbers = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._hung_up = False
        self.life = asyncio.create_task(self._live(), name="longshore-handler-process")

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def begin(self, call: Call) -> None:
        """Run a job. Only when idle."""
        self.call, call.child, call.number = call, self, next(self._numbers)
        function, message = call.handler.function, call.attempt.message
        self.send(
            Job(
                number=call.number,
                module=function.__module__,
                function=function.__qualname__,
                pattern=call.handler.pattern,
                message=replace(message, headers=dict(message.headers)),  # the codec's cannot be pickled
                deadline=call.attempt.deadline,
            )
        )

    def send(self, frame: object) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(framed(frame))

    def hang_up(self) -> None:
        """Let the process end by itself; one that starts is killed."""
        self._hung_up = True
        if self.starting or self._writer is None:
            self.kill()
        else:
            self._writer.close()

    def kill(self) -> None:
        """End the process and what it has started, which is in its group."""
        self._hung_up = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    # -- its life ----------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        error = ProcessDied("the handler's process could not be started")
        try:
            code = await self._run()
            error = ProcessDied(_what_ended(code, starting=self.starting))
            if not self._hung_up:
                _logger.error(
                    "The process of a handler has ended unexpectedly",
                    extra={"action": "process_died", "child_pid": self.pid, "error": str(error)},
                )
        except OSError as failed:
            error = ProcessDied(f"the handler's process could not be started: {failed.strerror or failed}")
            _logger.error(str(error), extra={"action": "process_failed"})
        except Exception:
            _logger.exception("The process of a handler was lost", extra={"action": "process_lost"})
        finally:
            for task in self._answering:
                task.cancel()
            self._pool.has_ended(self, error)

    async def _run(self) -> int:
        """Its exit code, once it has ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *_interpreter_options(),
                    "-c",
                    _ENTRY,
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,  # a terminal's signals are for the server; and a group can be killed whole
                )
            except BaseException:
                ours.close()
                raise
        try:
            reader, self._writer = await asyncio.open_connection(sock=ours)
            if self._hung_up:
                self.kill()
            self.send(Prepare(main=_main_module(), log_levels=_log_levels()))
            serving = asyncio.create_task(self._serve(reader))
            ending = asyncio.create_task(self._process.wait())
            # The end of the stream alone would not do: what the handler has started may hold the socket open.
            await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([serving], timeout=_LAST_WORDS_S)
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        finally:
            if not self._hung_up:
                self.kill()
            if self._writer is not None:
                self._writer.close()
            code = await self._process.wait()
        return code

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                data = await reader.readexactly(length)
                try:
                    frame = pickle.loads(data)
                except Exception as error:  # a field of a log record, of a class that only the process has
                    _logger.warning(
                        "Something a handler's process said cannot be read",
                        extra={"action": "frame_unreadable", "child_pid": self.pid, "error": str(error)},
                    )
                    continue
                self._heed(frame)

    def _heed(self, frame: object) -> None:
        match frame:
            case Ready():
                self.starting = False
                self._pool.is_idle(self)
            case Logged(record=record):
                logger = logging.getLogger(record.name)
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)
            case Outcome() if self.call is not None and frame.number == self.call.number:
                call, self.call = self.call, None
                _finish(call, frame)
                if not self._hung_up:
                    self._pool.is_idle(self)
            case Request():
                task = asyncio.create_task(self._answer(frame))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _answer(self, request: Request) -> None:
        call = self.call
        if call is None or call.number != request.job:
            return
        try:
            result = await _OPERATIONS[request.operation](call.attempt, request.argument)
            self.send(Answer(request=request.number, result=result))
        except Exception as error:  # whatever it is, the handler waits for an answer
            self.send(Answer(request=request.number, error=PortableError.of(error)))


_OPERATIONS: dict[str, Callable[[Attempt, Any], Awaitable[Any]]] = {
    "write_result": Attempt.write_result,
    "write_progress": Attempt.write_progress,
}
"""What a handler's process may ask for."""


def _finish(call: Call, outcome: Outcome) -> None:
    if outcome.error is not None:
        call.fail(outcome.error.restored())
        return
    result, problem = None, outcome.problem
    try:
        result = pickle.loads(outcome.result or b"")
    except Exception as error:
        problem = f"cannot be read: {error}"
    if problem is not None:
        message = call.attempt.message
        _logger.error(
            "A handler's result cannot leave its process",
            extra={
                "action": "result_unusable",
                "queue": message.queue,
                "task_id": message.id,
                "task_type": message.type,
                "error": problem,
            },
        )
    if not call.future.done():
        call.future.set_result(result)


def _what_ended(code: int, *, starting: bool) -> str:
    what = "the handler's process could not be started: it" if starting else "the handler's process"
    if code >= 0:
        return f"{what} ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{what} was killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"


def usable_cpus() -> int:
    """The CPUs this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _main_module() -> dict[str, Any]:
    """How multiprocessing makes a new process find what this one has imported."""
    preparation: dict[str, Any] = dict(spawn.get_preparation_data("longshore-handler"))
    preparation.pop("authkey", None)
    return preparation


def _log_levels() -> dict[str, int]:
    loggers = logging.root.manager.loggerDict.items()
    levels = {name: one.level for name, one in loggers if isinstance(one, logging.Logger) and one.level}
    return {**levels, "": logging.root.level}


def _interpreter_options() -> list[str]:
    return [f"-W{option}" for option in sys.warnoptions]
