"""Which server does the background duties of a queue: one of those that serve it, as far as they hear each other.

Every duty (forwarding, recovering, cleaning) may be done by any number of servers at once, as Asynq's do it: Redis
decides who moves a task. So this is no lock. It spares Redis the questions of all servers but one, and when in doubt
two ask.

The rule: a server does the duties of a queue unless it has lately heard of an older one that does. So a server that is
alone, or hears nothing, does them all; one that starts does so until the older one's next announcement; and when that
one falls silent the others take over, all of them first, until the oldest has announced itself.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from longshore.protocol.notices import DutiesHeld, Standing


class _Older(NamedTuple):
    standing: Standing
    until: float


class Roster:
    """What one server knows of who does the duties of its queues. Times are seconds of a monotonic clock."""

    def __init__(self, standing: Standing, queues: Collection[str], *, silence_s: float) -> None:
        """``silence_s``: a server that was not heard for so long does nothing any more."""
        self._standing = standing
        self._queues = tuple(queues)
        self._silence_s = silence_s
        self._older: dict[str, _Older] = {}  # by queue, the oldest that was heard

    def held(self, *, at: float) -> list[str]:
        """The queues whose duties are this server's now, in the order of its queues."""
        return [queue for queue in self._queues if queue not in self._older or self._older[queue].until <= at]

    def heard(self, announcement: DutiesHeld, *, at: float) -> None:
        """Another server, or this one, has announced what it does."""
        standing = announcement.standing
        if standing >= self._standing:
            return
        announced = frozenset(announcement.queues)
        for queue in self._queues:
            known = self._older.get(queue)
            if queue in announced:
                if known is None or known.until <= at or standing <= known.standing:
                    self._older[queue] = _Older(standing, at + self._silence_s)
            elif known is not None and known.standing == standing:
                del self._older[queue]
