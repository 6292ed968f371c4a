"""Tells when an attempt's time is up.

Most attempts end long before they would need a timer, and making and cancelling one costs as much as a short handler
does. So attempts gather for a moment, and only those that still run then get a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from longshore.runtime.attempt import Attempt
from longshore.runtime.timing import Clock

_GATHER_S = 0.02
_LONGEST_TIMER_S = 86400.0  # a timer for longer is renewed; event loops differ in how far ahead they can look


class Deadlines:
    """Calls ``on_over`` once for each watched attempt that has not ended by its deadline."""

    def __init__(self, *, on_over: Callable[[Attempt], None], clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._on_over = on_over
        self._clock = clock
        self._loop = loop
        self._gathered: list[Attempt] = []

    def watch(self, attempt: Attempt, *, now: datetime) -> None:
        """From now on, which must be before its deadline."""
        if (attempt.deadline - now).total_seconds() < 2 * _GATHER_S:
            self._set_timer(attempt)
            return
        if not self._gathered:
            self._loop.call_later(_GATHER_S, self._set_timers)
        self._gathered.append(attempt)

    def _set_timers(self) -> None:
        gathered, self._gathered = self._gathered, []
        for attempt in gathered:
            if not attempt.ended and attempt.interruption is None:
                self._set_timer(attempt)

    def _set_timer(self, attempt: Attempt) -> None:
        left_s = (attempt.deadline - self._clock()).total_seconds()
        if left_s <= 0:
            self._on_over(attempt)
        else:
            attempt.timer = self._loop.call_later(min(left_s, _LONGEST_TIMER_S), self._set_timer, attempt)
