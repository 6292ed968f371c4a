"""Producers that enqueue tasks of every kind, and remember which of them Redis acknowledged."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from random import Random
from typing import Any

import redis

from faults.journal import Journal
from faults.work import QUEUES
from longshore import BrokerUnavailable, Client
from longshore.protocol import keys

_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """What is to become of a task."""

    id: str
    queue: str
    failures: int = 0  # failed attempts before it succeeds
    max_retry: int = 25  # archived when there are more failures
    kept: bool = True  # whether it is still there, completed, afterwards
    group: str | None = None  # it is merged with others instead

    @property
    def archived(self) -> bool:
        return self.failures > self.max_retry

    @property
    def retried(self) -> int:
        """Retries at its end."""
        return min(self.failures, self.max_retry)

    @property
    def attempts(self) -> int:
        """That count."""
        return self.retried + 1

    @property
    def failed(self) -> int:
        """Attempts that count as failed."""
        return self.retried + self.archived


class Load:
    """What was enqueued. ``client`` may fail at any time."""

    def __init__(self, client: Client, random: Random, *, groups: bool = True, pause_s: float = 0.002) -> None:
        self.promises: dict[str, Promise] = {}
        self.acknowledged: set[str] = set()
        self.refused = 0  # calls that failed: their task may be there, or not
        self._client = client
        self._random = random
        self._groups = groups
        self._pause_s = pause_s
        self._stopping = False

    async def produce(self, name: str) -> None:
        """One task after the other, until ``stop``."""
        number = 0
        while not self._stopping:
            await self.enqueue(f"{name}-{number}")
            number += 1
            await asyncio.sleep(self._pause_s)

    def stop(self) -> None:
        self._stopping = True

    async def enqueue(self, task_id: str) -> None:
        """One task of any kind."""
        chance = self._random.random()
        queue = self._random.choice([*QUEUES])
        options: dict[str, Any] = {"retention": 3600}
        promise = Promise(id=task_id, queue=queue)
        kind = "work"
        if chance < 0.15:
            promise = Promise(id=task_id, queue=queue, failures=self._random.randint(1, 2))
        elif chance < 0.2:
            promise = Promise(id=task_id, queue=queue, failures=9, max_retry=1)
            options["max_retry"] = 1
        elif chance < 0.3:
            kind, options["unique_for"] = f"unique:{task_id}", 3600
        elif chance < 0.4:
            options["process_in"] = 1
        elif chance < 0.5:
            kind = "plain"
            options.pop("retention")
            promise = Promise(id=task_id, queue=queue, kept=False)
        elif chance < 0.65 and self._groups:
            options["group"] = group = self._random.choice("gh")
            promise = Promise(id=task_id, queue=queue, group=group, kept=False)
        payload: object = None if kind == "plain" else promise.failures
        await self.enqueue_as(promise, kind, payload, **options)

    async def enqueue_as(self, promise: Promise, kind: str, payload: object, **options: Any) -> None:
        """The task of that promise."""
        self.promises[promise.id] = promise
        try:
            await self._client.enqueue(kind, payload, task_id=promise.id, queue=promise.queue, **options)
        except BrokerUnavailable:
            self.refused += 1
        else:
            self.acknowledged.add(promise.id)


async def settled(port: int, *, patience_s: float = _PATIENCE_S) -> None:
    """Wait until nothing is left to be run."""
    give_up_at = time.monotonic() + patience_s
    with redis.Redis(port=port) as client:
        while (left := _left(client)) and time.monotonic() < give_up_at:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert not left, f"still to be run after {patience_s:g} s: {left}"


def _left(client: redis.Redis) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for _ in range(2):  # twice: a full Redis refuses MULTI, and between two commands a task may pass by
        with client.pipeline(transaction=False) as pipe:
            for queue in QUEUES:
                pipe.llen(keys.pending(queue)).llen(keys.active(queue)).zcard(keys.scheduled(queue))
                pipe.zcard(keys.retry(queue)).scard(keys.groups(queue)).zcard(keys.aggregation_sets(queue))
            for number, size in enumerate(pipe.execute()):
                name = ("pending", "active", "scheduled", "retry", "groups", "aggregation_sets")[number % 6]
                if size:
                    sizes[f"{[*QUEUES][number // 6]}:{name}"] = size
    return sizes


async def progress(load: Load, journal: Journal, tasks: int = 60, *, patience_s: float = _PATIENCE_S) -> None:
    """Wait until so many more tasks were acknowledged and so many more attempts were begun."""
    begun = sum(journal.read().runs.values())
    wanted = len(load.acknowledged) + tasks
    async with asyncio.timeout(patience_s):
        while len(load.acknowledged) < wanted or sum(journal.read().runs.values()) < begun + tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
