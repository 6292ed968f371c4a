"""One line of tasks that wait for a limit, as a server sees it: when it is worth asking for the next of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from longshore.broker.permits_base import Again
from longshore.policy.limits import Limit
from longshore.runtime.timing import Timing


class Line:
    """``ready`` when a task may be permitted; ``ask_now`` and ``ask_in`` make it so, ``asked`` ends it.

    Every wait is spread, so that servers that wait for the same line ask in changing order. A start is given as far
    ahead as the horizon, and the spread is smaller: it costs no permits.
    """

    def __init__(
        self,
        queue: str,
        name: str,
        limit: Limit,
        *,
        on_ready: Callable[[], None],
        timing: Timing,
        loop: asyncio.AbstractEventLoop,
        random: Random,
    ) -> None:
        self.queue = queue
        self.name = name
        self.limit = limit
        self.ready = False
        self.wants_room = False  # to be asked when this server holds fewer tasks until their start
        self.told = ""  # what another server's declaration was when it was last told of
        self._on_ready = on_ready
        self._horizon_s = timing.permit_horizon.total_seconds()
        self._poll_s = timing.permit_poll.total_seconds()
        self._loop = loop
        self._random = random
        self._timer: asyncio.TimerHandle | None = None

    def ask_now(self) -> None:
        """There may be a permit: a task has ended, or nobody knows."""
        self._cancel_timer()
        if not self.ready:
            self.ready = True
            self._on_ready()

    def ask_in(self, seconds: float) -> None:
        """Ask then, unless it is to be sooner."""
        when = self._loop.time() + seconds
        if self.ready or (self._timer is not None and self._timer.when() <= when):
            return
        self._cancel_timer()
        self._timer = self._loop.call_at(when, self.ask_now)

    @property
    def awaited(self) -> bool:
        """Whether it will be asked sooner or later."""
        return self.ready or self.wants_room or self._timer is not None

    def ask_again(self, again: Again | None) -> None:
        """Ask when the reply of the last call says, with ``asked`` before it."""
        if again is None:
            self.ask_now()
        else:
            self.ask_in(self.pause_s(again))

    def pause_s(self, again: Again) -> float:
        """The wait before the next call, spread. For a task to begin or end it is the longest: that ends it sooner."""
        if again == "begun":
            self.wants_room = True
            return self._horizon_s
        if again == "ended":
            return self._poll_s * self._random.uniform(0.5, 1.5)
        return again.total_seconds() + self._horizon_s * self._random.uniform(0.0, 0.4)

    def asked(self) -> None:
        """It is being asked for: not ready, until told so again."""
        self._cancel_timer()
        self.ready = self.wants_room = False

    def close(self) -> None:
        """Never ready again by itself."""
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
