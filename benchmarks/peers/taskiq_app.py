"""taskiq's no-op task. ``python taskiq_app.py N`` enqueues."""

import asyncio
import os
import sys

from counter import from_environment
from taskiq_redis import ListQueueBroker, RedisStreamBroker

url = os.environ["BENCH_REDIS"]
broker = RedisStreamBroker(url) if os.environ.get("BENCH_BROKER") == "stream" else ListQueueBroker(url)
counter = from_environment()


@broker.task(task_name="noop")
async def noop(n: int) -> None:
    counter.count()


async def enqueue(count: int) -> None:
    await broker.startup()
    for start in range(0, count, 20):
        await asyncio.gather(*(noop.kiq(n) for n in range(start, min(start + 20, count))))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
