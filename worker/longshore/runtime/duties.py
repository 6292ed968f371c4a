"""Shares the background duties of queues among the servers that serve them: each is done by one, and none by nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection

from longshore.broker.base import Broker
from longshore.errors import LongshoreError
from longshore.policy.roster import Roster
from longshore.protocol.notices import DutiesHeld, Standing
from longshore.runtime.timing import Timing


class Duties:
    """``held`` says which queues are this server's to look after; ``tick`` tells the others.

    Only a server that hears the others tells them: one that could not be told anything shall not be relied on. For the
    same reason it tells of those queues only where it lately got its work done.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        standing: Standing,
        queues: Collection[str],
        timing: Timing,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self.hears = False  # the channel of notices
        self._broker = broker
        self._standing = standing
        self._monotonic = monotonic or asyncio.get_running_loop().time
        self._silence_s = timing.silence.total_seconds()
        self._roster = Roster(standing, queues, silence_s=self._silence_s)
        self._done_at: dict[str, float] = {}  # by queue

    def held(self) -> list[str]:
        """The queues whose background duties this server does now."""
        return self._roster.held(at=self._monotonic())

    def done(self, queue: str) -> None:
        """The most frequent of the duties was done for a queue."""
        self._done_at[queue] = self._monotonic()

    def heard(self, announcement: DutiesHeld) -> None:
        """A server has announced what it does."""
        self._roster.heard(announcement, at=self._monotonic())

    async def tick(self) -> None:
        """Announce what this server does, if anything. Never raises for Redis' sake: then others do it as well."""
        since = self._monotonic() - self._silence_s
        announced = tuple(queue for queue in self.held() if self._done_at.get(queue, since) > since)
        if announced and self.hears:
            with contextlib.suppress(LongshoreError):
                await self._broker.notify(DutiesHeld(standing=self._standing, queues=announced))

    async def leave(self) -> None:
        """Let the others take over at once instead of after a silence. Never raises for Redis' sake."""
        if self.held() and self.hears:
            with contextlib.suppress(LongshoreError):
                await self._broker.notify(DutiesHeld(standing=self._standing, queues=()))
