"""Deletes completed tasks whose retention is over."""

from __future__ import annotations

from collections.abc import Collection

from longshore.broker.base import Broker
from longshore.runtime.rounds import visit_each
from longshore.runtime.timing import Clock

_BATCH = 100  # a step blocks Redis; as in Asynq


class Janitor:
    """One tick cleans each of the server's queues."""

    def __init__(self, broker: Broker, *, queues: Collection[str], clock: Clock) -> None:
        self._broker = broker
        self._queues = queues
        self._clock = clock

    async def tick(self) -> None:
        await visit_each(self._queues, self._clean)

    async def _clean(self, queue: str) -> None:
        while await self._broker.delete_expired_completed(queue, now=self._clock(), limit=_BATCH) >= _BATCH:
            pass
