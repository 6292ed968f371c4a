"""No-op tasks a second: one `longshore worker` process against one Go asynq server, on the same Redis.

    python benchmarks/throughput.py [--tasks 30000] [--rounds 5]

The tasks are enqueued first. A round runs each server once, one after the other, and measures from the moment when a
tenth of the tasks is done to the moment when all are, as Redis counts them: start-up is left out for each. Ours runs at
concurrency 100, with asyncio's own event loop and with uvloop's; Go's at the concurrency that a trial of several finds
best for it. Each handler gets a context and the payload's bytes. What counts is the median of the rounds' ratios: the
runs of a round meet about the same load. The processor time that server and Redis spend on a task depends less on what
else the machine does, so it is told as well.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from figures import Figure, table
from processes import go_program, processor_time_s

from longshore import Client, Task
from longshore.testing import RedisServer

HERE = Path(__file__).parent
GO_CONCURRENCIES = (2, 10, 50, 100, 200)
CONCURRENCY = 100
BAR = 4.0
_WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from longshore.cli import main; main()"


def main() -> None:
    """Measure, print a table, exit 1 when a ratio is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    figures = measure(arguments.tasks, arguments.rounds)
    print(table(figures))
    sys.exit(not all(figure.ok for figure in figures))


def measure(tasks: int = 30_000, rounds: int = 5) -> list[Figure]:
    """Our rate as a multiple of Go's, with each event loop."""
    ours: dict[str, list[Run]] = {"asyncio": [], "uvloop": []}
    theirs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="longshore-bench-") as directory, RedisServer() as server:
        go = go_program("", Path(directory))
        go_at = best("Go asynq v0.26.0", GO_CONCURRENCIES, lambda n: run_go(server, go, n, tasks // 3))
        for number in range(1, rounds + 1):
            for loop, runs in ours.items():
                runs.append(run_ours(server, loop, tasks))
            theirs.append(run_go(server, go, go_at, tasks // 2))
            told = "   ".join(f"{loop} {runs[-1].rate:>8,.0f}/s" for loop, runs in ours.items())
            print(f"round {number}: {told}   Go {theirs[-1].rate:>8,.0f}/s", flush=True)
    print()
    print("| no-op tasks/s, one process                         | median | lowest | highest | µs a task, with Redis' |")
    print("|----------------------------------------------------|--------|--------|---------|------------------------|")
    rows = {f"longshore worker, concurrency {CONCURRENCY}, {loop}": runs for loop, runs in ours.items()}
    for name, runs in (rows | {f"Go asynq, concurrency {go_at}": theirs}).items():
        rates = [run.rate for run in runs]
        spent = statistics.median(run.spent_us for run in runs)
        median, lowest, highest = statistics.median(rates), min(rates), max(rates)
        print(f"| {name:<50} | {median:>6,.0f} | {lowest:>6,.0f} | {highest:>7,.0f} | {spent:>22,.0f} |")
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores\n")
    return [
        Figure(
            name=f"no-op tasks/s, one process at concurrency {CONCURRENCY}, {loop}, against Go asynq's best",
            bar=f"≥ {BAR:g}×",
            figure=f"{(ratio := ratio_of(runs, theirs)):.1f}× ({statistics.median(run.rate for run in runs):,.0f}/s)",
            ok=ratio >= BAR,
        )
        for loop, runs in ours.items()
    ]


def ratio_of(ours: Sequence[Run], theirs: Sequence[Run]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(our.rate / their.rate for our, their in zip(ours, theirs, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What one server run gave."""

    rate: float  # tasks a second
    spent_us: float  # processor time of the server and of Redis, for each task


def best(name: str, concurrencies: Sequence[int], run: Callable[[int], Run]) -> int:
    """The concurrency with the highest rate."""
    trial = {concurrency: run(concurrency).rate for concurrency in concurrencies}
    print(f"{name}, trial: " + ", ".join(f"{n}: {rate:,.0f}/s" for n, rate in trial.items()), flush=True)
    return max(trial, key=lambda n: trial[n])


def run_go(server: RedisServer, binary: Path, concurrency: int, tasks: int) -> Run:
    address = f"{server.host}:{server.port}"
    return run(server, [str(binary), "-redis", address, "-concurrency", str(concurrency)], tasks)


def run_ours(server: RedisServer, loop: str, tasks: int) -> Run:
    # As if uvloop were not installed; otherwise it is used.
    start = ("-c", _WITHOUT_UVLOOP) if loop == "asyncio" else ("-m", "longshore")
    options = ("--redis", server.url, "--concurrency", str(CONCURRENCY), "--log-level", "warning")
    return run(server, [sys.executable, *start, "worker", "noop_app:app", *options], tasks)


def run(server: RedisServer, command: list[str], tasks: int) -> Run:
    """Run a server until the tasks are done."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
        asyncio.run(enqueue(server.url, tasks))
        redis_pid = client.info("server")["process_id"]
        process = subprocess.Popen(command, cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE.parent / "worker")})
        try:
            first, started = wait_for(client, tasks // 10, process)
            spent_before_s = processor_time_s(process.pid) + processor_time_s(redis_pid)
            last, ended = wait_for(client, tasks, process)
            spent_s = processor_time_s(process.pid) + processor_time_s(redis_pid) - spent_before_s
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
        return Run(rate=(last - first) / (ended - started), spent_us=spent_s / (last - first) * 1e6)


async def enqueue(url: str, tasks: int) -> None:
    async with Client(url) as client:
        for start in range(0, tasks, 1000):
            batch = [Task("bench:noop", {"n": n}) for n in range(start, min(start + 1000, tasks))]
            await client.enqueue_many(batch)


def wait_for(client: redis.Redis, count: int, process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """How many tasks were done, and when, once at least ``count`` were."""
    while True:
        done = int(client.get("asynq:{default}:processed") or 0)
        now = time.perf_counter()
        if done >= count:
            return done, now
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        time.sleep(0.005)


if __name__ == "__main__":
    main()
