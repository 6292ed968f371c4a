"""What a server and the processes of its handlers say to each other: pickles, each after its length.

They go over a socket of their own. Both ends run the same application; nothing from outside gets into this stream.
"""

from __future__ import annotations

import itertools
import pickle
import struct
import traceback
from dataclasses import dataclass
from datetime import datetime
from logging import LogRecord
from typing import Any

from longshore.errors import ForeignError, LongshoreError
from longshore.protocol.messages import TaskMessage

LENGTH = struct.Struct("!Q")

_LONGEST_CHAIN = 20  # causes of an error that travel with it; a chain may be a ring

# -- to the process ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepare:
    """The first frame: what the process needs before it can import the application."""

    main: dict[str, Any]  # sys.path, the working directory and the main module, as multiprocessing takes them over
    log_levels: dict[str, int]  # logger name to the level set on it; "" is the root


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Run the handler of a task."""

    number: int  # of this job; an interruption or an answer that comes late finds another one
    module: str
    function: str  # qualified name within the module
    pattern: str
    message: TaskMessage
    deadline: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Interrupt:
    """End a job, if it still runs."""

    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """To a :class:`Request`."""

    request: int
    result: Any = None
    error: PortableError | None = None


# -- from the process --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """It can take a job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Something only the server can do for the task of a job."""

    number: int  # of the request
    job: int
    operation: str
    argument: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """A record for the server's own loggers."""

    record: LogRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A job has ended; the process can take another one."""

    number: int
    result: bytes | None = None  # a pickle; None: there is an error
    error: PortableError | None = None
    problem: str | None = None  # why the function's result is not the one here


# -- errors ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class PortableError:
    """An error and the causes it was raised from, for another process."""

    pickles: tuple[bytes, ...]  # the error itself, then its causes
    texts: tuple[str, ...]  # what stands for those that cannot be read there
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> PortableError:
        """Never fails."""
        chain: list[BaseException] = []
        seen: BaseException | None = error
        while seen is not None and len(chain) < _LONGEST_CHAIN:
            chain.append(seen)
            seen = seen.__cause__
        return cls(
            pickles=tuple(_pickled(one) for one in chain),
            texts=tuple(_text(one) for one in chain),
            traceback="".join(traceback.format_exception(error)),
        )

    def restored(self) -> BaseException:
        """The error, with its causes and a note that holds its traceback. Never fails."""
        errors = [_unpickled(data, text) for data, text in zip(self.pickles, self.texts, strict=True)]
        for error, cause in itertools.pairwise(errors):
            error.__cause__ = cause
        errors[0].add_note(f"In its own process:\n{self.traceback}")
        return errors[0]


def _pickled(error: BaseException) -> bytes:
    try:
        data = pickle.dumps(error)
        # Many errors are written and cannot be read again: their __init__ wants more than ``args``.
        return data if type(pickle.loads(data)) is type(error) else b""
    except Exception:
        return b""


def _unpickled(data: bytes, text: str) -> BaseException:
    try:
        error = pickle.loads(data) if data else None
    except Exception:
        error = None
    return error if isinstance(error, BaseException) else ForeignError(text)


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be read)"
    if isinstance(error, LongshoreError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def framed(frame: object) -> bytes:
    """The bytes of a frame. Raises whatever pickle does."""
    data = pickle.dumps(frame)
    return LENGTH.pack(len(data)) + data
