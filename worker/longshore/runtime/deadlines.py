"""Tells when an attempt's time is up.

Most attempts end long before they would need a timer, and making and cancelling one costs as much as a short handler
does. So nothing is done for each: every now and then those that run are looked at, and the ones whose time is nearly up
get a timer. A deadline that is over before the first look is seen then, a quarter of a second late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta

from longshore.runtime.attempt import Attempt
from longshore.runtime.timing import Clock

_LOOK = timedelta(milliseconds=250)
_NEARLY_UP = 2 * _LOOK  # so that no deadline passes between two looks


class Deadlines:
    """Calls ``on_over`` once for each attempt that runs at its deadline and was not interrupted before."""

    def __init__(
        self,
        running: Collection[Attempt],
        *,
        on_over: Callable[[Attempt], None],
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``running`` is read at every look; the looks end when it is empty."""
        self._running = running
        self._on_over = on_over
        self._clock = clock
        self._loop = loop
        self._next_look: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Somebody runs: look now and then, until nobody does."""
        if self._next_look is None:
            self._next_look = self._loop.call_later(_LOOK.total_seconds(), self._look)

    def close(self) -> None:
        """Look no more."""
        if self._next_look is not None:
            self._next_look.cancel()

    def _look(self) -> None:
        nearly_up_at = self._clock() + _NEARLY_UP
        # a copy: ending one may change who runs
        for attempt in list(self._running):
            if attempt.timer is None and attempt.deadline < nearly_up_at and attempt.interruption is None:
                self._set_timer(attempt)
        self._next_look = self._loop.call_later(_LOOK.total_seconds(), self._look) if self._running else None

    def _set_timer(self, attempt: Attempt) -> None:
        left = attempt.deadline - self._clock()
        if left <= timedelta(0):
            self._on_over(attempt)
        elif left < _NEARLY_UP:
            attempt.timer = self._loop.call_later(left.total_seconds(), self._set_timer, attempt)
        else:  # the clock was put back while the timer ran
            attempt.timer = None
