"""Notices that the event loop stands still, and says in which line: a handler that blocks stops everything else.

Heartbeats stop as well, so after half a minute every running task of this worker is taken for lost and runs again. The
loop cannot tell by itself while it happens; a thread can.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from types import FrameType

from longshore.runtime import runner

_logger = logging.getLogger("longshore.server")


class LoopWatch:
    """Tells once of each stand that lasts longer than ``limit``, while it lasts."""

    def __init__(self, *, limit: timedelta, on_turn: Callable[[float], None] | None = None) -> None:
        """``on_turn`` is told of each turn how many seconds late it was."""
        self._on_turn = on_turn
        self._limit_s = limit.total_seconds()
        self._look_s = self._limit_s / 4
        self._turned_at = monotonic()
        self._ended = threading.Event()

    async def run(self) -> None:
        """Until cancelled. In the loop's own thread."""
        watcher = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="longshore-loop-watch", daemon=True
        )
        self._turned_at = monotonic()
        watcher.start()
        try:
            while True:
                await asyncio.sleep(self._look_s)
                before, self._turned_at = self._turned_at, monotonic()
                if self._on_turn is not None:
                    self._on_turn(max(0.0, self._turned_at - before - self._look_s))
        finally:
            self._ended.set()

    def _watch(self, loop_thread: int) -> None:
        told_of = None
        while True:
            looked_at = monotonic()
            if self._ended.wait(self._look_s):
                return
            turned_at = self._turned_at
            stood_s = monotonic() - turned_at
            # Late itself: the whole process stood still (stopped, or its machine was), which is no handler's doing.
            late = monotonic() - looked_at > self._limit_s
            if stood_s < self._limit_s or late or turned_at == told_of:
                continue
            told_of = turned_at
            _logger.error(
                "The event loop is blocked; what computes or waits for long without await belongs in a plain function",
                extra={
                    "action": "loop_blocked",
                    "seconds": round(stood_s, 1),
                    "where": _place(sys._current_frames().get(loop_thread)),
                },
            )


def _place(innermost: FrameType | None) -> str:
    """The line of the handler, and the one of whatever it calls."""
    if innermost is None:
        return "unknown"
    outer: FrameType | None = innermost
    while outer is not None and outer.f_back is not None:
        if outer.f_back.f_code.co_filename == runner.__file__:
            return _line(outer) if outer is innermost else f"{_line(outer)}, which is at {_line(innermost)}"
        outer = outer.f_back
    return _line(innermost)


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
