"""How long after its time a tick is enqueued, so that many entries of one schedule do not all come at once.

The delay is made of the entry and the tick alone: it is another one for each tick, and the same for whichever scheduler
looks, hence neither a takeover nor a restart moves a tick. It always ends before the next tick's time. So ticks are
enqueued in their order, which a tick record, that knows the newest one only, relies on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from longshore.protocol.periodic import PeriodicEntry


@dataclass(frozen=True, kw_only=True, slots=True)
class Jitter:
    """Of one entry."""

    most_s: int  # the longest delay; 0: none
    seed: str  # the entry's id

    def delay_s(self, tick: int, following: int | None) -> int:
        """The delay of a tick. ``tick`` and the one that follows it in Unix seconds; None: none follows."""
        room = self.most_s if following is None else min(self.most_s, following - tick - 1)
        if room <= 0:
            return 0
        digest = hashlib.sha256(f"{self.seed}:{tick}".encode()).digest()
        return int.from_bytes(digest[:8]) % (room + 1)


def jitter_of(entry_id: str, entry: PeriodicEntry) -> Jitter:
    """How an entry's ticks are delayed. ``entry_id``: protocol.periodic.entry_id."""
    return Jitter(most_s=int(entry.jitter.total_seconds()), seed=entry_id)


NO_JITTER = Jitter(most_s=0, seed="")
