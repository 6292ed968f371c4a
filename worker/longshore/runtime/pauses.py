"""Knows which queues are paused, and when a pause ends, so that not every server need ask Redis again and again.

A server that finds a queue paused tells all. From then on the one that does the queue's duties asks Redis each second
whether it still is, for all of them, and tells when it is not. Asynq's own tools only write to Redis, so somebody has
to ask; our inspector tells of it as well, which saves the second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

from longshore.broker.base import Broker
from longshore.errors import LongshoreError
from longshore.protocol.notices import QueuePaused, QueueResumed


class Pauses:
    """Every server follows the notices, so that any can take over the asking."""

    def __init__(self, broker: Broker, *, held: Callable[[], Collection[str]]) -> None:
        """``held``: the queues whose duties are this server's."""
        self.on_resumed: Callable[[str], None] = lambda queue: None  # a queue may be taken from again
        self.hears = False  # the channel of notices
        self._broker = broker
        self._held = held
        self._paused: set[str] = set()

    async def found(self, queue: str) -> None:
        """A dequeue of this server's found the queue paused. Never raises for Redis' sake."""
        if queue not in self._paused:
            self._paused.add(queue)
            with contextlib.suppress(LongshoreError):
                await self._broker.notify(QueuePaused(queue=queue))

    def heard(self, notice: QueuePaused | QueueResumed) -> None:
        """A server, or an inspector, has told of a queue, maybe of one that is not served here."""
        if isinstance(notice, QueuePaused):
            self._paused.add(notice.queue)
        else:
            self._paused.discard(notice.queue)
            self.on_resumed(notice.queue)

    def missed(self) -> None:
        """Notices may have been missed: let every paused queue be tried again."""
        paused, self._paused = self._paused, set()
        for queue in paused:
            self.on_resumed(queue)

    async def tick(self) -> None:
        """Ask for the queues whose duties this server does, and tell whose pause is over."""
        asked = [queue for queue in self._held() if queue in self._paused]
        if not asked:
            return
        for queue, paused in (await self._broker.look_for_pauses(asked)).items():
            if not paused:
                self.heard(QueueResumed(queue=queue))  # also when this server does not hear itself
                with contextlib.suppress(LongshoreError):
                    await self._broker.notify(QueueResumed(queue=queue))
