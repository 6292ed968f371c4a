"""Gives aggregation sets back to their groups whose server died, or left them alone after a failure."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from longshore.broker.base import Broker
from longshore.broker.groups_base import SetName
from longshore.errors import InvalidData
from longshore.runtime.duties import Duties
from longshore.runtime.rounds import visit_each
from longshore.runtime.timing import Clock

_logger = logging.getLogger("longshore.server")


class Reclaimer:
    """One tick looks at each of the queues whose duties are this server's, also on a server that aggregates nothing."""

    def __init__(self, broker: Broker, *, duties: Duties, clock: Clock) -> None:
        self._groups = broker.groups
        self._duties = duties
        self._clock = clock

    async def tick(self) -> None:
        await visit_each(dict.fromkeys(self._duties.held()), self._look_at)

    async def _look_at(self, queue: str, _: None) -> None:
        await self.reclaim(await self._groups.expired_sets(queue, now=self._clock()))

    async def reclaim(self, expired: Iterable[SetName]) -> None:
        """Give these sets back, if they still are what they were; also those after one whose keys cannot be used.

        Raises the first InvalidData then, and BrokerUnavailable at once.
        """
        refused: InvalidData | None = None
        for name in expired:
            try:
                given_back = await self._groups.reclaim(name, now=self._clock())
            except InvalidData as error:
                refused = refused or error
                continue
            if given_back:
                _logger.warning(
                    "An aggregation that was not finished in time was given back to its group",
                    extra={"action": "aggregation_reclaimed", "queue": name.queue, "group": name.group},
                )
        if refused is not None:
            raise refused
