"""Ten thousand tasks in flight at once in one process: are leases lost, and how long does its event loop stand still?

    python benchmarks/in_flight.py [--tasks 10000] [--seconds 45]

Each task's handler sleeps for so long, which is longer than a lease (30 s), so every lease is extended several times.
The loop's lag is how late a sleep of 5 ms ends, measured in the worker's own loop from the first task taken to the last
one acknowledged. A task that ran twice, or was counted as failed, counts as a lost lease.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta

import redis
from figures import Figure, table

from longshore import App, Client, Context, Server, Task
from longshore.testing import RedisServer

BAR_MS = 50.0
_SAMPLE_S = 0.005


def main() -> None:
    """Measure, print a table, exit 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--worker", metavar="URL", help=argparse.SUPPRESS)  # the process that is measured
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(asyncio.run(work(arguments.worker, arguments.tasks, arguments.seconds))))
        return
    figure = measure(arguments.tasks, arguments.seconds)
    print(table([figure]))
    sys.exit(not figure.ok)


def measure(tasks: int = 10_000, seconds: float = 45.0) -> Figure:
    """Lag of the loop, and leases lost."""
    with RedisServer() as server:
        asyncio.run(enqueue(server.url, tasks))
        command = [sys.executable, __file__, "--worker", server.url, "--tasks", str(tasks), "--seconds", str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=10 * seconds + 120)
        with redis.Redis(port=server.port) as client:
            failed = int(client.get("asynq:{default}:failed") or 0)
    told = json.loads(done.stdout)
    lost = max(told["again"], failed)
    return Figure(
        name=f"{tasks:,} in flight at once in one process (at most {told['most']:,})",
        bar=f"no lease lost, loop lag p99 ≤ {BAR_MS:g} ms",
        figure=f"{lost} lost, lag p99 {told['p99']:.0f} ms (p50 {told['p50']:.1f}, longest {told['longest']:.0f})",
        ok=lost == 0 and told["most"] == tasks and told["p99"] <= BAR_MS,
    )


async def enqueue(url: str, tasks: int) -> None:
    async with Client(url) as client:
        for start in range(0, tasks, 1000):
            batch = [Task("bench:sleep", {"n": n}) for n in range(start, min(start + 1000, tasks))]
            await client.enqueue_many(batch, timeout=timedelta(hours=1))


async def work(url: str, tasks: int, seconds: float) -> dict[str, float]:
    """Run them all in this process; what was seen."""
    app = App()
    ran: Counter[str] = Counter()
    running = most = ended = 0
    lags: list[float] = []

    @app.task("bench:sleep")
    async def sleep(ctx: Context) -> None:
        nonlocal running, most, ended
        ran[ctx.task_id] += 1
        running += 1
        most = max(most, running)
        await asyncio.sleep(seconds)
        running -= 1
        ended += 1

    async def sample() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_SAMPLE_S)
            lags.append(max(0.0, time.perf_counter() - began - _SAMPLE_S) * 1000)

    async with Server(app, redis=url, concurrency=tasks):
        while not running:  # noqa: ASYNC110  # an event would be one more thing for each of the tasks
            await asyncio.sleep(0.001)
        sampling = asyncio.create_task(sample())
        while ended < tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        sampling.cancel()
    lags.sort()
    return {
        "again": sum(ran.values()) - len(ran),
        "most": most,
        "p50": lags[len(lags) // 2],
        "p99": lags[len(lags) * 99 // 100],
        "longest": lags[-1],
    }


if __name__ == "__main__":
    main()
