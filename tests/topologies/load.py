"""Tasks enqueued and run while something happens to Redis, and what became of each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from longshore import App, BrokerUnavailable, Client, Context, Inspector, RedisSettings, Server, TaskIDConflict
from runtime.harness import quick

# A call gives up soon, and a lease that was lost is noticed soon.
TIMING = quick(lease=timedelta(seconds=3), skew=timedelta(seconds=1), heartbeat=timedelta(seconds=1))
TIMEOUT = timedelta(seconds=1)
_PATIENCE_S = 60.0


class Load:
    """Two producers and one worker server on some queues."""

    def __init__(self, url: str, queues: Sequence[str]) -> None:
        self.settings = RedisSettings(url=url, timeout=TIMEOUT)
        self.queues = queues
        self.runs: Counter[str] = Counter()
        self.acknowledged: dict[str, float] = {}  # id → when, by time.monotonic
        self.refused = 0  # calls that failed; they are repeated with the same id
        self._stopping = False
        self._producers: list[asyncio.Task[None]] = []

    async def produce(self, number: int, client: Client) -> None:
        """Enqueue one task after the other, each until it is certain that it is there."""
        count = 0
        while not self._stopping:
            task_id = f"{number}-{count}"
            queue = self.queues[count % len(self.queues)]
            count += 1
            while True:
                try:
                    await client.enqueue("work", task_id=task_id, queue=queue, retention=600)
                except TaskIDConflict:  # an earlier try was carried out
                    pass
                except BrokerUnavailable:
                    self.refused += 1
                    await asyncio.sleep(0.05)
                    continue
                self.acknowledged[task_id] = time.monotonic()
                break
            await asyncio.sleep(0.002)

    async def progress(self, tasks: int = 50) -> None:
        """Wait until so many more tasks have been acknowledged and run."""
        wanted = len(self.acknowledged) + tasks, sum(self.runs.values()) + tasks
        async with asyncio.timeout(_PATIENCE_S):
            while len(self.acknowledged) < wanted[0] or sum(self.runs.values()) < wanted[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def finish(self) -> None:
        """Stop producing and wait until the queues hold nothing that is still to be run."""
        self._stopping = True
        await asyncio.gather(*self._producers)
        async with Inspector(self.settings) as inspector, asyncio.timeout(_PATIENCE_S):
            while True:
                await asyncio.sleep(0.05)
                try:
                    queues = await inspector.queues()
                except BrokerUnavailable:
                    continue
                if not any(q.pending + q.active + q.scheduled + q.retry for q in queues):
                    return

    @property
    def lost(self) -> dict[str, float]:
        """Tasks that never ran though they were acknowledged, and when they were."""
        return {task_id: when for task_id, when in self.acknowledged.items() if not self.runs[task_id]}

    @property
    def repeated(self) -> int:
        """Runs beyond the first of a task."""
        return sum(self.runs.values()) - len(self.runs)


@asynccontextmanager
async def load_on(url: str, *, queues: Sequence[str] = ("default",)) -> AsyncIterator[Load]:
    """Load for the length of the block."""
    load = Load(url, queues)
    app = App()

    @app.task("work")
    async def work(context: Context) -> None:
        load.runs[context.task_id] += 1

    async with (
        Client(load.settings, retry_for=0) as client,
        Server(app, redis=load.settings, queues=dict.fromkeys(queues, 1), concurrency=10, timing=TIMING),
    ):
        load._producers += [asyncio.create_task(load.produce(number, client)) for number in range(2)]
        try:
            yield load
        finally:
            for producer in load._producers:
                producer.cancel()
            await asyncio.gather(*load._producers, return_exceptions=True)
