"""Longshore's no-op task, counted like the peers' ones. ``python longshore_app.py N`` enqueues."""

import asyncio
import os
import sys

from counter import from_environment

import longshore

app = longshore.App()
counter = from_environment()


@app.task("noop")
async def noop(n: int) -> None:
    counter.count()


async def enqueue(count: int) -> None:
    async with longshore.Client(os.environ["BENCH_REDIS"]) as client:
        await client.enqueue_many(longshore.Task("noop", n) for n in range(count))


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
