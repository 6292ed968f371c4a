"""Redis commands a second of worker processes that have nothing to do.

    python benchmarks/idle_commands.py [--workers 10] [--queues 4] [--seconds 60]

Counted as Redis counts (``total_commands_processed``): a script counts as one command, and each command that it calls
as one more. Twice: with empty queues, and with queues that are paused and not empty. Each time the workers get some
time to settle first. Also told: which commands these were.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis
from figures import Figure, table
from processes import worker

from longshore import Client, Inspector, Task
from longshore.testing import RedisServer

BAR = 20.0
SETTLE_S = 8.0


def main() -> None:
    """Measure, print a table, exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--queues", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    figures = measure(arguments.workers, arguments.queues, arguments.seconds)
    print(table(figures))
    sys.exit(not all(figure.ok for figure in figures))


def measure(workers: int = 10, queues: int = 4, seconds: float = 60.0) -> list[Figure]:
    """Commands a second on empty and on paused queues."""
    names = [f"q{number}" for number in range(queues)]
    figures = []
    with RedisServer() as server:
        for state in ("empty", "paused, non-empty"):
            if state != "empty":
                asyncio.run(fill_and_pause(server.url, names))
            with serving(server, workers, names):
                time.sleep(SETTLE_S)
                per_second, commands = count(server, seconds)
            told = ", ".join(f"{name} {calls / seconds:.2f}" for name, calls in commands.most_common(12))
            print(f"{state}: {told}", flush=True)
            figures.append(
                Figure(
                    name=f"Redis commands/s of {workers} idle workers × {queues} {state} queues",
                    bar=f"≤ {BAR:g}",
                    figure=f"{per_second:.1f}",
                    ok=per_second <= BAR,
                )
            )
    return figures


async def fill_and_pause(url: str, queues: Sequence[str]) -> None:
    async with Client(url) as client, Inspector(url) as inspector:
        for queue in queues:
            await inspector.pause(queue)
            await client.enqueue_many([Task("bench:noop") for _ in range(100)], queue=queue)


@contextmanager
def serving(server: RedisServer, workers: int, queues: Sequence[str]) -> Iterator[None]:
    """So many worker processes on all of the queues."""
    options = ["--redis", server.url, *(option for queue in queues for option in ("--queue", f"{queue}=1"))]
    started = [worker(*options) for _ in range(workers)]
    try:
        with redis.Redis(port=server.port) as client:
            give_up_at = time.monotonic() + 60
            while client.zcard("asynq:servers") < workers:
                if time.monotonic() > give_up_at:
                    raise RuntimeError("the workers do not start")
                time.sleep(0.1)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=30)


def count(server: RedisServer, seconds: float) -> tuple[float, Counter[str]]:
    """Commands a second, and how many of which, during so many seconds; this function's own left out."""
    with redis.Redis(port=server.port) as client:
        client.info("commandstats")
        client.config_resetstat()
        began = time.monotonic()
        time.sleep(seconds)
        stats = client.info("commandstats")
        total = client.info("stats")["total_commands_processed"]
        lasted = time.monotonic() - began
    commands = Counter({name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()})
    own = commands.pop("config|resetstat", 0) + 1  # the reset counts itself, then the first of the two INFOs
    commands.pop("info", None)
    return (total - own) / lasted, commands


if __name__ == "__main__":
    main()
