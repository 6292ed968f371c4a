"""A worker is killed (SIGKILL) with 20 running tasks: all 20 run again on another worker, none is lost.

    python benchmarks/kill_recovery.py [--tasks 20]

Nobody can know of a SIGKILL before the leases (30 s, extended every 5 s) are over and the allowance for clock skew
(30 s, Asynq's) has passed, so a run takes about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis

from longshore import Client
from longshore.testing import RedisServer

HERE = Path(__file__).parent
PATIENCE_S = 180


def main() -> None:
    """Measure, print the figures, exit 1 unless every task ran again and ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20)
    tasks = parser.parse_args().tasks
    with RedisServer() as server, tempfile.TemporaryDirectory() as directory:
        journal = Path(directory) / "journal"
        journal.touch()
        ids = asyncio.run(enqueue(server.url, tasks, journal))
        victim = start_worker(server, tasks)
        survivor = None
        try:
            wait_until(lambda: len(pids(journal, "start")) == tasks, "all tasks running")
            survivor = start_worker(server, tasks)
            time.sleep(2)
            victim.kill()
            victim.wait()
            killed = time.monotonic()
            print(f"killed worker {victim.pid} with {tasks} running tasks", flush=True)
            first = None
            while len(again := restarted(journal, survivor.pid)) < tasks and time.monotonic() - killed < PATIENCE_S:
                if again and first is None:
                    first = time.monotonic() - killed
                time.sleep(0.1)
            last = time.monotonic() - killed
            wait_until(lambda: len(pids(journal, "end")) >= len(again), "the second attempts ended")
            with redis.Redis(port=server.port) as client:
                names = ("pending", "active", "scheduled", "retry", "archived")
                left = {name: count(client, f"asynq:{{default}}:{name}") for name in names}
        finally:
            for process in filter(None, (victim, survivor)):
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    process.wait(timeout=60)
        ended = {task_id for task_id, pid in pids(journal, "end") if pid == survivor.pid}
    lost = set(ids) - ended
    print()
    print("| figure                                        | value |")
    print("|-----------------------------------------------|-------|")
    print(f"| running when the worker was killed            | {tasks:>5} |")
    print(f"| run again on the other worker                 | {len(again):>5} |")
    print(f"| ended there                                   | {len(ended):>5} |")
    print(f"| lost                                          | {len(lost):>5} |")
    print(f"| first one running again, seconds after        | {first or last:>5.1f} |")
    print(f"| last one running again, seconds after         | {last:>5.1f} |")
    print(f"left in Redis: {left}")
    sys.exit(bool(lost) or any(left.values()))


async def enqueue(url: str, tasks: int, journal: Path) -> list[str]:
    async with Client(url) as client:
        options = {"headers": {"journal": str(journal), "seconds": "5"}}
        return [(await client.enqueue("bench:hold", **options)).message.id for _ in range(tasks)]


def start_worker(server: RedisServer, concurrency: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "longshore", "worker", "noop_app:app", "--redis", server.url),
            *("--concurrency", str(concurrency), "--log-level", "error"),
        ],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": str(HERE.parent / "worker")},
    )


def pids(journal: Path, what: str) -> list[tuple[str, int]]:
    """(task id, process) of each line that says ``what``."""
    lines = [line.split() for line in journal.read_text().splitlines()]
    return [(task_id, int(pid)) for event, task_id, pid in lines if event == what]


def restarted(journal: Path, pid: int) -> set[str]:
    return {task_id for task_id, by in pids(journal, "start") if by == pid}


def count(client: redis.Redis, key: str) -> int:
    return client.llen(key) if client.type(key) == b"list" else client.zcard(key)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"waited in vain: {what}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
