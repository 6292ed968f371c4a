"""How much of Redis' memory the queues take: an estimate that costs Redis something, so it is made seldom, and only
while somebody asks for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from longshore.errors import LongshoreError
from longshore_operator.observe.redis import Place, Poller, Pollers

logger = logging.getLogger(__name__)

EVERY_S = 60.0
# A user of Redis without the right to MEMORY USAGE will hardly get it within the hour.
REFUSED_FOR_S = 3600.0


class MemoryUsage:
    """Measures the queues of all Brokers in the background, beside the polls, at most once a minute."""

    def __init__(self, pollers: Pollers, *, clock: Callable[[], float]) -> None:
        self._pollers = pollers
        self._clock = clock
        self._sizes: dict[Place, Mapping[str, int]] = {}
        self._due_at: dict[Place, float] = {}  # of those that were measured, or tried
        self._round: asyncio.Task[None] | None = None

    def wanted(self) -> None:
        """Somebody asks: measure those again whose last time is a minute ago. Does not wait for the outcome."""
        if self.idle:
            self._round = asyncio.create_task(self._measure(), name="memory usage")

    @property
    def idle(self) -> bool:
        """Whether nothing is being measured."""
        return self._round is None or self._round.done()

    def of(self, place: Place) -> Mapping[str, int]:
        """Bytes by queue of one Broker, as last measured; without what could not be."""
        return self._sizes.get(place, {})

    async def aclose(self) -> None:
        """End what is under way."""
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)

    async def _measure(self) -> None:
        pollers = dict(self._pollers)
        for gone in self._due_at.keys() - pollers.keys():
            del self._due_at[gone]
            self._sizes.pop(gone, None)
        for place, poller in pollers.items():
            if self._clock() >= self._due_at.get(place, 0.0) and poller.reading.reachable:
                self._due_at[place] = self._clock() + EVERY_S
                self._sizes[place] = await self._measure_one(place, poller)

    async def _measure_one(self, place: Place, poller: Poller) -> Mapping[str, int]:
        inspector = poller.inspector
        if inspector is None:
            return {}
        try:
            async with asyncio.timeout(EVERY_S):
                return await inspector.memory_usages(poller.target.queues)
        except (LongshoreError, OSError, TimeoutError) as error:
            if getattr(error, "refused", False):
                self._due_at[place] = self._clock() + REFUSED_FOR_S
            facts = {"action": "memory", "broker": place, "error": str(error) or "it took too long"}
            logger.info("the memory of queues could not be measured", extra=facts)
            return {}
