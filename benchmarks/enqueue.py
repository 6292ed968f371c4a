"""Tasks enqueued a second: `enqueue_many` of one Python process against Go's client with 16 goroutines, on one Redis.

    python benchmarks/enqueue.py [--tasks 60000] [--rounds 5]

Both make the same tasks, a type and a small JSON payload, from nothing: the payload's encoding is part of it. Each is a
process of its own that has connected before the clock starts. The two alternate, and the median of the rounds' ratios
counts, since the two runs of a round meet about the same load. The processor time that producer and Redis spend on a
task depends less on what else the machine does, so it is told as well. So is one by one: 16 asyncio tasks that await
`enqueue`, as Go's goroutines do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from figures import Figure, table
from processes import HERE, go_program, processor_time_s

from longshore import Client
from longshore.testing import RedisServer

GOROUTINES = 16
BAR = 2.0


def main() -> None:
    """Measure, print a table, exit 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--produce", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--one-by-one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.produce:
        asyncio.run(produce(arguments.produce, arguments.tasks, one_by_one=arguments.one_by_one))
        return
    figures = measure(arguments.tasks, arguments.rounds)
    print(table(figures))
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    sys.exit(not all(figure.ok for figure in figures))


def measure(tasks: int = 60_000, rounds: int = 5) -> list[Figure]:
    """The rates, and their ratio."""
    with tempfile.TemporaryDirectory(prefix="longshore-bench-") as directory, RedisServer() as server:
        python = [sys.executable, str(HERE / "enqueue.py"), "--produce", server.url, "--tasks"]
        address = f"{server.host}:{server.port}"
        go = [str(go_program("enqueue", Path(directory))), "-redis", address, "-goroutines", str(GOROUTINES), "-tasks"]
        ours, one_by_one, theirs = [], [], []
        for _ in range(rounds):
            ours.append(run(server, [*python, str(tasks)], tasks))
            theirs.append(run(server, [*go, str(tasks)], tasks))
            one_by_one.append(run(server, [*python, str(tasks // 4), "--one-by-one"], tasks // 4))
    return [
        _figure("`enqueue_many`, one process", ours, theirs, bar=BAR),
        _figure(f"`enqueue` from {GOROUTINES} asyncio tasks, one process", one_by_one, theirs, bar=None),
    ]


def _figure(name: str, ours: Sequence[Run], theirs: Sequence[Run], *, bar: float | None) -> Figure:
    ratio = statistics.median(our.rate / their.rate for our, their in zip(ours, theirs, strict=True))
    our_rate, their_rate = (statistics.median(run.rate for run in runs) for runs in (ours, theirs))
    our_us, their_us = (statistics.median(run.spent_us for run in runs) for runs in (ours, theirs))
    return Figure(
        name=f"{name}, against Go with {GOROUTINES} goroutines",
        bar="none" if bar is None else f"≥ {bar:g}×",
        figure=f"{our_rate:,.0f}/s ({our_us:.0f} µs with Redis') against {their_rate:,.0f}/s ({their_us:.0f} µs): "
        f"{ratio:.1f}×",
        ok=bar is None or ratio >= bar,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What one run of a producer gave."""

    rate: float  # tasks a second
    spent_us: float  # processor time of the producer and of Redis, for each task


def run(server: RedisServer, command: Sequence[str], tasks: int) -> Run:
    """Let a producer enqueue its tasks, by its own clock; all of them are then in Redis."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
        assert server.pid is not None
        paths = {"PYTHONPATH": str(HERE.parent / "worker")}
        with subprocess.Popen(
            command, env={**os.environ, **paths}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the producer does not start")
            before_s = processor_time_s(process.pid) + processor_time_s(server.pid)
            process.stdin.write("\n")
            process.stdin.flush()
            seconds = float(process.stdout.readline())
            spent_s = processor_time_s(process.pid) + processor_time_s(server.pid) - before_s
            process.stdin.close()
        found = client.llen("asynq:{default}:pending")
        if found != tasks + 1:
            raise RuntimeError(f"{found} tasks are in Redis, not {tasks + 1}")
        return Run(rate=tasks / seconds, spent_us=spent_s / tasks * 1e6)


async def produce(url: str, tasks: int, *, one_by_one: bool) -> None:
    """The other process: enqueue, and print the seconds it took."""
    async with Client(url) as client:
        await client.enqueue("bench:noop")  # connects, and loads the script
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        if one_by_one:

            async def some(first: int) -> None:
                for n in range(first, tasks, GOROUTINES):
                    await client.enqueue("bench:noop", {"n": n})

            await asyncio.gather(*(some(first) for first in range(GOROUTINES)))
        else:
            await client.enqueue_many(("bench:noop", {"n": n}) for n in range(tasks))
        print(time.perf_counter() - began, flush=True)
        sys.stdin.readline()  # until it was looked at


if __name__ == "__main__":
    main()
