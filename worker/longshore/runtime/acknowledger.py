"""Writes the outcomes of tasks, those that end close together in one call.

No timer: whatever has gathered is sent at once, and what ends during the call makes up the next one. So a lone task is
acknowledged without delay, and a busy worker's batches grow to what one round trip lets through.
"""

from __future__ import annotations

import asyncio

from longshore.broker.base import Outcome
from longshore.runtime.attempt import Attempt
from longshore.runtime.pulse import Pulse
from longshore.runtime.settlement import Answer, Settlement
from longshore.runtime.syncer import Syncer

_LARGEST = 500  # outcomes in a call: bounds how long one script keeps Redis


class Acknowledger:
    """``submit`` never waits; ``run`` sends; ``flush`` waits until all is sent or handed to the syncer."""

    def __init__(self, settlement: Settlement, syncer: Syncer, *, pulse: Pulse) -> None:
        self._settlement = settlement
        self._syncer = syncer
        self._pulse = pulse
        self._waiting: dict[str, list[Answer]] = {}
        self._under_way = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, attempt: Attempt, outcome: Outcome) -> None:
        """Write this outcome soon."""
        queue = attempt.message.queue
        waiting = self._waiting.get(queue)
        if waiting is None:
            self._waiting[queue] = [Answer(attempt, outcome)]
            self._idle.clear()
            self._wake.set()
        else:
            waiting.append(Answer(attempt, outcome))

    def __len__(self) -> int:
        """Outcomes neither written nor handed to the syncer."""
        return self._under_way + sum(map(len, self._waiting.values()))

    async def run(self) -> None:
        """Until cancelled; flush before that."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batches, self._waiting = self._waiting, {}
                self._under_way = sum(map(len, batches.values()))
                with self._pulse.working("acknowledger"):
                    if len(batches) == 1:
                        ((queue, answers),) = batches.items()
                        await self._send(queue, answers)
                    else:
                        await asyncio.gather(*(self._send(queue, answers) for queue, answers in batches.items()))
            self._idle.set()

    async def flush(self) -> None:
        """Wait until nothing is left to send."""
        await self._idle.wait()

    async def _send(self, queue: str, answers: list[Answer]) -> None:
        for start in range(0, len(answers), _LARGEST):
            some = answers[start : start + _LARGEST]
            self._syncer.add(queue, await self._settlement.settle(queue, some))
            self._under_way -= len(some)
