"""Knows whether one queue may have work, without asking again and again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from random import Random

from longshore.broker.base import Broker
from longshore.errors import BrokerUnavailable, LongshoreError
from longshore.runtime.outage import Outage, backoff_s
from longshore.runtime.pauses import Pauses
from longshore.runtime.timing import Timing

_logger = logging.getLogger("longshore.server")

_FRUITLESS = 10  # wake-ups in a row that found nothing before the watch slows down


class QueueWatch:
    """``ready`` until a dequeue came back with less than it asked for; ready again when a task arrives.

    It waits on a connection of its own (parks), which any producer's push ends at once. Not on a paused queue: with
    tasks in it, parking would return immediately for ever. There it waits to be told that the pause is over. Queues
    beyond the parking limit are polled.
    """

    def __init__(
        self,
        queue: str,
        broker: Broker,
        *,
        parks: bool,
        pauses: Pauses,
        on_ready: Callable[[], None],
        timing: Timing,
        outage: Outage,
        random: Random,
    ) -> None:
        self.ready = True
        self._queue = queue
        self._broker = broker
        self._parks = parks
        self._pauses = pauses
        self._on_ready = on_ready
        self._park = timing.park
        self._poll_s = timing.poll.total_seconds()
        self._paused_s = timing.paused.total_seconds()
        self._longest_s = timing.backoff.total_seconds()
        self._outage = outage
        self._random = random
        self._may_park = True
        self._paused = False
        self._resumed = asyncio.Event()
        self._limited_s: float | None = None
        self._place_free = asyncio.Event()
        self._fruitless = 0
        self._failures = 0
        self._armed = asyncio.Event()

    def emptied(
        self, *, found: bool, may_park: bool = True, paused: bool = False, limited_s: float | None = None
    ) -> None:
        """A dequeue left nothing behind. ``found``: it brought something; ``may_park``: False when Redis refused it.

        ``limited_s``: it left tasks behind that must not begin yet; how long not to ask, unless a place gets free.
        """
        self.ready = False
        self._fruitless = 0 if found else self._fruitless + 1
        self._may_park = may_park
        self._paused = paused
        self._limited_s = limited_s
        self._resumed.clear()
        self._armed.set()

    def resumed(self) -> None:
        """The queue is not paused any more."""
        self._resumed.set()

    def place_free(self) -> None:
        """One of the tasks that a limit counts has ended."""
        self._place_free.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._armed.wait()
            if not await self._wait_for_work():
                continue
            self._armed.clear()
            self.ready = True
            self._on_ready()

    async def _wait_for_work(self) -> bool:
        if self._limited_s is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._place_free.wait(), self._limited_s)
            self._place_free.clear()
            return True
        if self._paused and self._pauses.hears:
            await self._pauses.found(self._queue)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._resumed.wait(), self._paused_s * self._random.uniform(0.5, 1.5))
            return True
        if self._paused or not (self._parks and self._may_park):
            await asyncio.sleep(self._poll_s * self._random.uniform(0.5, 1.5))
            return True
        if self._fruitless > _FRUITLESS:
            # Other workers are quicker each time, or the list holds what dequeue cannot take.
            await asyncio.sleep(self._random.uniform(0.0, 0.005))
        try:
            ready = await self._broker.wait_for_task(self._queue, timeout=self._park)
        except BrokerUnavailable as error:
            self._outage.failed(f"queue {self._queue}", error)
            self._failures += 1
            await asyncio.sleep(backoff_s(self._failures, longest_s=self._longest_s, random=self._random))
            return False
        except LongshoreError as error:
            self._outage.refused(f"queue {self._queue}", error)
            await asyncio.sleep(self._poll_s * self._random.uniform(0.5, 1.5))
            return True
        except Exception:
            _logger.exception("Waiting for tasks failed", extra={"action": "wait_failed", "queue": self._queue})
            await asyncio.sleep(self._poll_s * self._random.uniform(0.5, 1.5))
            return True
        self._failures = 0
        self._outage.succeeded(f"queue {self._queue}")
        return ready
