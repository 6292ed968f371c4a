"""Writes the outcomes of tasks, those that end close together in one call, and takes the next tasks on the way.

No timer: whatever has gathered is sent at once, and what ends during the call makes up the next one. So a lone task is
acknowledged without delay, and a busy worker's batches grow to what one round trip lets through.

One exception: while tasks of a queue are being taken, its outcomes wait for that call to come back. Most often the next
tasks are taken then, and a busy worker needs half the round trips.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from longshore.broker.base import Dequeued, Outcome
from longshore.runtime.attempt import Attempt
from longshore.runtime.pulse import Pulse
from longshore.runtime.settlement import Answer, Settlement
from longshore.runtime.syncer import Syncer

_LARGEST = 500  # outcomes in a call: bounds how long one script keeps Redis


class Acknowledger:
    """``submit`` never waits. ``run`` and ``take`` send. ``flush`` waits until all is written or the syncer has it."""

    def __init__(self, settlement: Settlement, syncer: Syncer, *, pulse: Pulse) -> None:
        self._settlement = settlement
        self._syncer = syncer
        self._pulse = pulse
        self._waiting: dict[str, list[Answer]] = {}
        self._taking: set[str] = set()  # queues of which tasks are being taken
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

    async def take(self, queue: str, *, limit: int, lease: timedelta) -> Dequeued:
        """Take up to ``limit`` tasks of a queue, and write its outcomes on the way. For one caller at a time.

        Raises what the broker raises; the outcomes are the syncer's then.
        """
        answers = self._collect(queue)
        self._taking.add(queue)
        try:
            return await self._settlement.settle_and_take(
                queue, answers, limit=limit, lease=lease, leave=lambda left: self._syncer.add(queue, left)
            )
        finally:
            self._taking.discard(queue)
            self._sent(len(answers))
            if self._waiting:  # unless the next call takes it along
                self._wake.set()

    async def run(self) -> None:
        """Until cancelled; flush before that."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while queues := [queue for queue in self._waiting if queue not in self._taking]:
                with self._pulse.working("acknowledger"):
                    if len(queues) == 1:
                        await self._send(queues[0])
                    else:
                        await asyncio.gather(*(self._send(queue) for queue in queues))

    async def flush(self) -> None:
        """Wait until nothing is left to send."""
        await self._idle.wait()

    async def _send(self, queue: str) -> None:
        answers = self._collect(queue)
        try:
            self._syncer.add(queue, await self._settlement.settle(queue, answers))
        finally:
            self._sent(len(answers))

    def _collect(self, queue: str) -> list[Answer]:
        """The outcomes of one call."""
        answers = self._waiting.pop(queue, [])
        if len(answers) > _LARGEST:
            self._waiting[queue] = answers[_LARGEST:]
            answers = answers[:_LARGEST]
        self._under_way += len(answers)
        return answers

    def _sent(self, count: int) -> None:
        self._under_way -= count
        if not self:
            self._idle.set()
