"""Redis' clock, so that all servers go by one: whether a lease is over, and whether a task is due, they then agree on.

Asynq's servers each go by their machine's, and Go peers still do. Between two looks at Redis the time goes on by a
clock of the machine that nobody sets: a correction of the machine's time ends no lease.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from longshore.broker.base import Broker
from longshore.errors import BrokerUnavailable
from longshore.runtime.timing import Clock

_logger = logging.getLogger("longshore.server")

_STEP = timedelta(milliseconds=200)  # what differs less is left: times in Redis are whole seconds
_TOLD = timedelta(seconds=2)  # a difference worth a line in the log
_SLOW_S = 1.0  # a reply that took longer says too little


# One that goes on while the machine sleeps, where there is one: leases do so too.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _elapsed_s() -> float:
    return time.clock_gettime(_CLOCK)


class RedisClock:
    """A Clock. It begins with the machine's time; each ``tick``, and ``run`` every now and then, sets it to Redis'."""

    def __init__(self, broker: Broker, *, machine: Clock, elapsed_s: Callable[[], float] = _elapsed_s) -> None:
        self.on_step: Callable[[timedelta], None] = lambda step: None  # the clock was put forward, or back
        self._broker = broker
        self._machine = machine
        self._elapsed_s = elapsed_s
        self._asked = False  # Redis has told its time at least once
        self._at, self._since_s = machine(), elapsed_s()

    def __call__(self) -> datetime:
        return self._at + timedelta(seconds=self._elapsed_s() - self._since_s)

    async def run(self, period: timedelta) -> None:
        """Ask again and again, until cancelled: soon when Redis has not answered yet, less and less often."""
        longest_s = period.total_seconds()
        pause_s = 0.5
        while True:
            pause_s = longest_s if self._asked else min(longest_s, 2 * pause_s)
            await asyncio.sleep(pause_s)
            await self.tick()

    async def tick(self) -> None:
        """Ask Redis. Never raises for Redis' sake: what keeps it from answering, others notice as well."""
        asked_s = self._elapsed_s()
        try:
            told = await self._broker.time()
        except BrokerUnavailable:
            # A user may lack the permission to ask: then the machine's time is all there is.
            if not self._asked:
                self._set(self._machine())
            return
        took_s = self._elapsed_s() - asked_s
        if took_s <= _SLOW_S:
            self._asked = True
            self._set(told + timedelta(seconds=took_s / 2))

    def _set(self, now: datetime) -> None:
        step = now - self()
        if abs(step) < _STEP:
            return
        self._at, self._since_s = now, self._elapsed_s()
        if abs(step) >= _TOLD:
            _logger.warning(
                "The machine's clock differs from Redis', which counts",
                extra={"action": "clock_set", "seconds": round(step.total_seconds(), 1)},
            )
        self.on_step(step)
