"""Deletes completed tasks whose retention is over."""

from __future__ import annotations

from longshore.broker.base import Broker
from longshore.runtime.duties import Duties
from longshore.runtime.rounds import visit_each
from longshore.runtime.timing import Clock

_BATCH = 100  # a step blocks Redis; as in Asynq


class Janitor:
    """One tick cleans each of the queues whose duties are this server's."""

    def __init__(self, broker: Broker, *, duties: Duties, clock: Clock) -> None:
        self._broker = broker
        self._duties = duties
        self._clock = clock

    async def tick(self) -> None:
        if held := self._duties.held():
            await visit_each(await self._broker.look_for_expired(held, now=self._clock()), self._clean)

    async def _clean(self, queue: str, expired: bool) -> None:
        while expired:
            expired = await self._broker.delete_expired_completed(queue, now=self._clock(), limit=_BATCH) >= _BATCH
