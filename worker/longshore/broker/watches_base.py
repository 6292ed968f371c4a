"""What a waiting client needs of Redis beside :class:`longshore.broker.base.Broker`: looks at a task, and wake-ups.

Every method raises :class:`longshore.errors.BrokerUnavailable` when Redis cannot be reached or does not answer in time.
Repeating is safe.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Protocol

from longshore.protocol.snapshots import TaskInfo


class Watches(Protocol):
    """A Redis in which tasks can be waited for."""

    async def look(self, queue: str, task_id: str, *, hearer: str, token: str, now: datetime) -> TaskInfo | None:
        """The task as it is now, or None; whatever happens to it from now on is told to ``hearer``.

        Told are, with ``token``: that one of our servers has completed it (it has a retention then) or archived it, and
        its progress. The wish is forgotten after a minute without another look.
        """

    def hear(self, hearer: str) -> AsyncGenerator[str | None, None]:
        """The tokens told to ``hearer`` until the connection is lost (BrokerUnavailable).

        First None, from when on nothing is missed.
        """
