"""Periodic ticks while the active scheduler is killed (SIGKILL) again and again.

    python benchmarks/cron_kills.py [--minutes 5] [--kills 5] [--interval 2s] [--standby]

One entry, `@every 2s`, catchUp All, startingDeadline 60s. The active `longshore scheduler` is killed at even distances
and started anew a second later, as a kubelet would; with --standby a second one runs all the time. A consumer takes
each task at once and deletes it, so that no task left in Redis can hide a second one of the same tick.

Counted are the ticks from the first to the end: each must have become exactly one task. Exit code 1 when one became
two, or none within the starting deadline.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis

from longshore.broker.base import Done, RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.policy.periodic import Schedule
from longshore.protocol import keys
from longshore.protocol.periodic import (
    CatchUp,
    PeriodicEntry,
    PeriodicTaskTemplate,
    decode_lease,
    decode_tick_record,
    encode_entry,
    entry_id,
)
from longshore.testing import RedisServer

SCOPE = "bench/main"
NAME = "tick"
QUEUE = "ticks"
DEADLINE = timedelta(seconds=60)
RESTART_S = 1.0  # between a kill and the new process
SETTLE_S = 10.0  # after the last kill there must be time for a takeover: the lease lasts 6 s


def main() -> None:
    """Run, print the figures, exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--interval", default="2s", help="of @every")
    parser.add_argument("--standby", action="store_true", help="run a second scheduler beside the first")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="longshore-cron-kills-"))
    try:
        with RedisServer() as server:
            sys.exit(0 if asyncio.run(measure(server, folder / "schedulers.log", arguments)) else 1)
    finally:
        shutil.rmtree(folder)


async def measure(server: RedisServer, log: Path, arguments: argparse.Namespace) -> bool:
    """One run; whether every bar was met."""
    schedule = Schedule.parse(f"@every {arguments.interval}")
    since = datetime.now(UTC).replace(microsecond=0)
    client = redis.Redis(port=server.port)
    client.hset(keys.periodic_entries(SCOPE), NAME, encode_entry(entry(schedule, since)))
    seen: defaultdict[int, list[float]] = defaultdict(list)  # tick → when its tasks were taken, Unix seconds
    end = time.time() + arguments.minutes * 60
    schedulers = Schedulers(server.url, log)
    consumer = asyncio.create_task(consume(server.url, seen))
    gaps: list[float] = []
    try:
        for _ in range(2 if arguments.standby else 1):
            schedulers.start()
        every = (arguments.minutes * 60 - SETTLE_S) / (arguments.kills + 1)
        for number in range(1, arguments.kills + 1):
            await asyncio.sleep(max(0.0, end - SETTLE_S - every * (arguments.kills + 1 - number) - time.time()))
            pid = await active(client)
            schedulers.kill(pid)
            killed_at = time.monotonic()
            print(f"kill {number}: process {pid}, {sum(map(len, seen.values()))} tasks so far", flush=True)
            await asyncio.sleep(RESTART_S)
            schedulers.start()
            await active(client, other_than=pid)
            gaps.append(time.monotonic() - killed_at)
        await asyncio.sleep(max(0.0, end - time.time()))
    finally:
        schedulers.stop()
        await asyncio.sleep(0.5)  # the consumer takes what is left
        consumer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await consumer
    record = decode_tick_record(client.hgetall(keys.tick_record(QUEUE, entry_id(SCOPE, NAME))))
    client.close()

    expected, at = [], since
    # The last second is left out: a tick in it may have met the end of the run.
    while (at := schedule.next_after(at, since) or at).timestamp() < end - 1:
        expected.append(int(at.timestamp()))
    missing = [tick for tick in expected if tick not in seen]
    twice = [tick for tick, times in seen.items() if len(times) > 1]
    strange = sorted(seen.keys() - set(expected) - set(range(int(end) - 1, int(end) + 3)))
    late = sorted(times[0] - tick for tick, times in seen.items())
    on_time = [seconds for seconds in late if seconds < 0.5]
    print()
    print(
        "| @every {}, {:g} minutes, {} kills{} | |".format(
            arguments.interval, arguments.minutes, arguments.kills, ", with a standby" if arguments.standby else ""
        )
    )
    print("|---|---|")
    print(f"| ticks expected | {len(expected)} |")
    print(f"| ticks that became a task | {len(expected) - len(missing)} |")
    print(f"| ticks that became two tasks | {len(twice)} |")
    print(f"| ticks that became none | {len(missing)} |")
    print(f"| tasks of no tick | {len(strange)} |")
    print(f"| ticks the record counts as missed | {record.missed} |")
    print(f"| from kill to the next active scheduler, longest | {max(gaps):.1f} s |" if gaps else "| kills | none |")
    print(f"| ticks made up, latest of them | {len(late) - len(on_time)}, {late[-1]:.1f} s |")
    print(
        f"| lateness of the others at the consumer: median, worst | {statistics.median(on_time) * 1000:.1f} ms, "
        f"{on_time[-1] * 1000:.1f} ms |"
    )
    good = not (missing or twice or strange or record.missed) and late[-1] <= DEADLINE.total_seconds()
    print("every tick became exactly one task" if good else f"FAILED: missing {missing}, twice {twice}, {strange}")
    return good


def entry(schedule: Schedule, since: datetime) -> PeriodicEntry:
    return PeriodicEntry(
        schedule=schedule.text,
        since=since,
        starting_deadline=DEADLINE,
        catch_up=CatchUp.ALL,
        task=PeriodicTaskTemplate(type="bench:tick", queue=QUEUE),
    )


async def consume(url: str, seen: defaultdict[int, list[float]]) -> None:
    """Take every task as soon as it is there, note its tick, and delete it as done."""
    broker = RedisBroker.connect(RedisSettings(url=url))
    try:
        while True:
            await broker.wait_for_task(QUEUE, timeout=timedelta(seconds=1))
            now = datetime.now(UTC)
            taken = await broker.dequeue(QUEUE, limit=100, now=now, lease=timedelta(seconds=30))
            for leased in taken.leased:
                seen[int(leased.message.id.rsplit(":", 1)[1])].append(now.timestamp())
            await broker.settle(QUEUE, [Done(message=leased.message) for leased in taken.leased], now=now)
    finally:
        await broker.aclose()


async def active(client: redis.Redis, *, other_than: int | None = None) -> int:
    """The pid of the active scheduler, once there is one."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        value = client.get(keys.scheduler_lease(SCOPE))
        pid = int(decode_lease(value)[0].rsplit(":", 2)[1]) if value else None
        if pid is not None and pid != other_than:
            return pid
        await asyncio.sleep(0.02)
    raise SystemExit("no scheduler became active within a minute")


class Schedulers:
    """The scheduler processes of the run."""

    def __init__(self, url: str, log: Path) -> None:
        self._url = url
        self._log = log
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", "from longshore.cli import main; main()", "scheduler"],
                env={
                    **os.environ,
                    "LONGSHORE_REDIS_URL": self._url,
                    "LONGSHORE_PERIODIC_SCOPE": SCOPE,
                    "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "worker"),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes[process.pid] = process

    def kill(self, pid: int) -> None:
        process = self._processes.pop(pid)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
