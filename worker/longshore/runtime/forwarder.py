"""Moves scheduled and retry tasks that are due to pending."""

from __future__ import annotations

from collections.abc import Collection

from longshore.broker.base import Broker
from longshore.runtime.rounds import visit_each
from longshore.runtime.timing import Clock

_FULL = 100  # what the broker moves of each set at most; so many moved means there may be more


class Forwarder:
    """One tick empties what is due in each of the server's queues."""

    def __init__(self, broker: Broker, *, queues: Collection[str], clock: Clock) -> None:
        self._broker = broker
        self._queues = queues
        self._clock = clock

    async def tick(self) -> None:
        await visit_each(self._queues, self._forward)

    async def _forward(self, queue: str) -> None:
        while await self._broker.forward(queue, now=self._clock()) >= _FULL:
            pass
