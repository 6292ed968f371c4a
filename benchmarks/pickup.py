"""Idle pick-up: from the moment a producer begins to enqueue until the handler's first line, in an idle worker process.

    python benchmarks/pickup.py [--tasks 400] [--rate 20]

Once with our client as the producer and once with Go's, both in a process of their own. Tasks come at a steady pace, so
that the worker has nothing to do when the next one comes. The clock is the machine's, which both processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis
from figures import Figure, table
from processes import go_program, worker

from longshore import Client
from longshore.testing import RedisServer

P50_MS, P99_MS = 1.5, 5.0


def main() -> None:
    """Measure, print a table, exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--produce", metavar="URL", help=argparse.SUPPRESS)  # our producer's process
    arguments = parser.parse_args()
    if arguments.produce:
        asyncio.run(produce(arguments.produce, arguments.tasks, arguments.rate))
        return
    figures = measure(arguments.tasks, arguments.rate)
    print(table(figures))
    sys.exit(not all(figure.ok for figure in figures))


def measure(tasks: int = 400, rate: float = 20.0) -> list[Figure]:
    """A figure for each of the two producers."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="longshore-bench-") as name, RedisServer() as server:
        directory = Path(name)
        pace = ("--tasks", str(tasks), "--rate", str(rate))
        producers = {
            "our client": [sys.executable, __file__, "--produce", server.url, *pace],
            "Go's client": [str(go_program("paced", directory)), "--redis", f"{server.host}:{server.port}", *pace],
        }
        pickups = directory / "pickups"
        process = worker("--redis", server.url, BENCH_PICKUPS=str(pickups))
        try:
            with redis.Redis(port=server.port) as client:
                while not client.info("clients")["blocked_clients"]:
                    time.sleep(0.05)
            for producer, command in producers.items():
                pickups.write_text("")
                subprocess.run(command, check=True)
                time.sleep(0.5)
                figures.append(figure(producer, sorted(int(line) / 1e6 for line in pickups.read_text().splitlines())))
        finally:
            process.terminate()
            process.wait(timeout=30)
    return figures


def figure(producer: str, milliseconds: list[float]) -> Figure:
    """Of the pick-up times of one producer's tasks."""
    p50, p99 = (milliseconds[int(len(milliseconds) * share)] for share in (0.5, 0.99))
    return Figure(
        name=f"idle pick-up with {producer}, enqueue → handler start, p50 / p99 of {len(milliseconds)}",
        bar=f"≤ {P50_MS:g} / {P99_MS:g} ms",
        figure=f"{p50:.2f} / {p99:.2f} ms",
        ok=p50 <= P50_MS and p99 <= P99_MS,
    )


async def produce(url: str, tasks: int, rate: float) -> None:
    async with Client(url) as client:
        for _ in range(tasks):
            await asyncio.sleep(1 / rate)
            await client.enqueue("bench:stamp", str(time.time_ns()).encode())


if __name__ == "__main__":
    main()
