"""The process of a long-running command: SIGTERM ends it at any moment, and nothing keeps it from ending."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_logger = logging.getLogger("longshore.cli")

_LEAVE_S = 5.0


class Terminated(BaseException):
    """SIGTERM came before there was anything to end in order. Not an Exception: no import may swallow it."""


def heed_sigterm() -> None:
    """From now on SIGTERM raises Terminated in the main thread, until an event loop has a handler of its own.

    Importing an application may take seconds, and the first process of a container is not ended by a signal that it
    has no handler for: it would go on to take tasks until it is killed.
    """
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def heed_no_more() -> None:
    """From now on SIGTERM and SIGINT do nothing: all is in order, and the process ends soon by itself.

    A signal repeated just now would kill it, and look like a failure. For use within ``leaving_soon``.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def leaving_soon(within: float = _LEAVE_S) -> Iterator[None]:
    """After the block the process ends within so many seconds, even if something in it goes on.

    An event loop waits for tasks that swallow their cancellation, and the interpreter for the threads of
    ``asyncio.to_thread``, for ever. The tasks of such handlers have been put back by then, and run elsewhere.
    """
    code = 1
    try:
        yield
        code = 0
    finally:
        timer = threading.Timer(within, _leave, (code,))
        timer.daemon = True
        timer.start()


def _leave(code: int) -> None:
    # In a thread of its own: a handler may hang in the middle of a write, and with it whoever flushes.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(1.0)
    os._exit(code)


def _flush() -> None:
    _logger.error("Something in the application does not end; leaving without it", extra={"action": "leaving"})
    logging.shutdown()
    sys.stdout.flush()
