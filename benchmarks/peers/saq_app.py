"""saq's no-op task. ``python saq_app.py N`` enqueues."""

import asyncio
import os
import sys
from typing import Any

from counter import from_environment
from saq import Queue

queue = Queue.from_url(os.environ["BENCH_REDIS"])
counter = from_environment()


async def noop(ctx: dict[str, Any], *, n: int) -> None:
    counter.count()


settings = {
    "queue": queue,
    "functions": [("noop", noop)],
    "concurrency": int(os.environ.get("BENCH_CONCURRENCY", "100")),
}


async def enqueue(count: int) -> None:
    await queue.connect()
    for start in range(0, count, 20):
        await asyncio.gather(*(queue.enqueue("noop", n=n, ttl=-1) for n in range(start, min(start + 20, count))))
    await queue.disconnect()


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
