"""arq's no-op task. ``python arq_app.py N`` enqueues."""

import asyncio
import os
import sys
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import func
from counter import from_environment

counter = from_environment()
settings = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])


async def noop(ctx: dict[str, Any], n: int) -> None:
    counter.count()


class WorkerSettings:
    """At its fastest: no results kept, the queue asked again at once."""

    functions = (func(noop, name="noop", keep_result=0),)
    redis_settings = settings
    max_jobs = int(os.environ.get("BENCH_CONCURRENCY", "100"))
    keep_result = 0
    poll_delay = 0.01


async def enqueue(count: int) -> None:
    pool = await create_pool(settings)
    for start in range(0, count, 100):
        await asyncio.gather(*(pool.enqueue_job("noop", n) for n in range(start, min(start + 100, count))))
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
