"""No-op tasks a second: one `longshore worker` process against one Go asynq server, on the same Redis.

    python benchmarks/throughput.py [--tasks 30000] [--rounds 5]

The tasks are enqueued first. A round runs each server once, one after the other, and measures from the moment when a
tenth of the tasks is done to the moment when all are, as Redis counts them: start-up is left out for both. The Go
server runs at the concurrency that a trial of several finds best; ours at 100. What counts is the ratio of the
medians. On a busy machine run it under `nice -n -19`: three processes share the work here, and the scheduler splits
the rest unevenly.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis

from longshore import Client, Task
from longshore.testing import RedisServer

HERE = Path(__file__).parent
GO_CONCURRENCIES = (2, 10, 50, 100, 200)
OUR_CONCURRENCY = 100
BAR = 3.0


def main() -> None:
    """Measure, print a table, exit 1 when the ratio is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    go = build_go_server()
    try:
        with RedisServer() as server:
            trial = {n: measure(server, go_command(go, server, n), arguments.tasks // 3) for n in GO_CONCURRENCIES}
            best = max(trial, key=lambda n: trial[n])
            print("Go asynq v0.26.0, trial: " + ", ".join(f"{n}: {rate:,.0f}/s" for n, rate in trial.items()))
            ours, theirs = [], []
            for number in range(1, arguments.rounds + 1):
                ours.append(measure(server, our_command(server), arguments.tasks))
                theirs.append(measure(server, go_command(go, server, best), arguments.tasks))
                print(f"round {number}: longshore {ours[-1]:>8,.0f}/s   Go {theirs[-1]:>8,.0f}/s", flush=True)
    finally:
        shutil.rmtree(go.parent)
    ratio = statistics.median(ours) / statistics.median(theirs)
    print()
    print("| no-op tasks/s, one process                    | median | lowest | highest |")
    print("|-----------------------------------------------|--------|--------|---------|")
    rows = {f"longshore worker, concurrency {OUR_CONCURRENCY}": ours, f"Go asynq, concurrency {best}": theirs}
    for name, rates in rows.items():
        print(f"| {name:<45} | {statistics.median(rates):>6,.0f} | {min(rates):>6,.0f} | {max(rates):>7,.0f} |")
    print(f"ratio {ratio:.1f} (bar: {BAR:g})")
    sys.exit(ratio < BAR)


def build_go_server() -> Path:
    """The compiled Go server."""
    target = Path(tempfile.mkdtemp(prefix="longshore-bench-")) / "asynq-server"
    subprocess.run(["go", "build", "-o", str(target), "."], cwd=HERE / "go", check=True)
    return target


def go_command(binary: Path, server: RedisServer, concurrency: int) -> list[str]:
    return [str(binary), "-redis", f"{server.host}:{server.port}", "-concurrency", str(concurrency)]


def our_command(server: RedisServer) -> list[str]:
    return [
        *(sys.executable, "-m", "longshore", "worker", "noop_app:app", "--redis", server.url),
        *("--concurrency", str(OUR_CONCURRENCY), "--log-level", "warning"),
    ]


def measure(server: RedisServer, command: list[str], tasks: int) -> float:
    """Tasks a second of one server run."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
        asyncio.run(enqueue(server.url, tasks))
        process = subprocess.Popen(command, cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE.parent / "worker")})
        try:
            first, started = wait_for(client, tasks // 10, process)
            last, ended = wait_for(client, tasks, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
        return (last - first) / (ended - started)


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
