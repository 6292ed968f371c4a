"""Tries again to write the outcomes that Redis did not take."""

from __future__ import annotations

from collections import defaultdict

from longshore.runtime.settlement import Answer, Settlement


class Syncer:
    """Holds outcomes until they are written or the lease of their task is over. Heartbeats still extend that lease."""

    def __init__(self, settlement: Settlement) -> None:
        self._settlement = settlement
        self._waiting: dict[str, list[Answer]] = defaultdict(list)

    def add(self, queue: str, answers: list[Answer]) -> None:
        """Take over outcomes that could not be written."""
        if answers:
            self._waiting[queue].extend(answers)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def tick(self) -> None:
        """Try each queue's outcomes once."""
        for queue in list(self._waiting):
            answers = self._waiting.pop(queue)
            left = answers
            try:
                left = await self._settlement.settle(queue, answers)
            finally:  # cancelled at shutdown: they stay for the last try
                self.add(queue, left)
