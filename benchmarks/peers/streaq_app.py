"""streaq's no-op task. ``python streaq_app.py N`` enqueues."""

import asyncio
import os
import sys

from counter import from_environment
from streaq import Worker

worker = Worker(
    redis_url=os.environ["BENCH_REDIS"],
    concurrency=int(os.environ.get("BENCH_CONCURRENCY", "100")),
    anyio_kwargs={"use_uvloop": True},
)
counter = from_environment()


@worker.task(name="noop", ttl=0, silent=True)
async def noop(n: int) -> None:
    counter.count()


async def enqueue(count: int) -> None:
    async with worker:
        for start in range(0, count, 1000):
            await worker.enqueue_many([noop.enqueue(n) for n in range(start, min(start + 1000, count))])


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
