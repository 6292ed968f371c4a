"""Moves scheduled and retry tasks that are due to pending."""

from __future__ import annotations

from longshore.broker.base import Broker, Waiting
from longshore.runtime.duties import Duties
from longshore.runtime.rounds import visit_each
from longshore.runtime.timing import Clock

_FULL = 100  # what the broker moves of each set at most; so many moved means there may be more


class Forwarder:
    """One tick empties what is due in each of the queues whose duties are this server's."""

    def __init__(self, broker: Broker, *, duties: Duties, clock: Clock) -> None:
        self._broker = broker
        self._duties = duties
        self._clock = clock
        self._occupied: set[str] = set()  # queues that had scheduled or retry tasks at the last look

    async def tick(self) -> None:
        held = self._duties.held()
        self._occupied.intersection_update(held)
        if not held:
            return
        looks = await self._broker.look_for_due(held, occupied=self._occupied, now=self._clock())
        await visit_each(looks, self._forward)

    async def _forward(self, queue: str, found: Waiting) -> None:
        if found is Waiting.NONE:
            self._occupied.discard(queue)
        else:
            self._occupied.add(queue)
        if found is Waiting.DUE:
            while await self._broker.forward(queue, now=self._clock()) >= _FULL:
                pass
        self._duties.done(queue)
