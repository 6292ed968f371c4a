"""Entries, what became of them, and scheduler processes, for the tests of this folder."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from longshore.protocol import keys
from longshore.protocol.periodic import CatchUp, Overlap, PeriodicEntry, PeriodicTaskTemplate, encode_entry, entry_id
from longshore.scheduler import SchedulerTiming

SCOPE = "shop/main"

QUICK = SchedulerTiming(
    lease=timedelta(seconds=2), renewal=timedelta(milliseconds=500), standby=timedelta(milliseconds=100)
)


async def until(condition: Callable[[], object], *, seconds: float = 30) -> None:
    """Wait until it holds, in an event loop."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # it is Redis that changes, which sets no event
            await asyncio.sleep(0.02)


def new_entry(
    schedule: str = "@every 1s",
    *,
    since: datetime | None = None,
    catch_up: CatchUp = CatchUp.ALL,
    deadline: float | None = 60,
    zone: str | None = None,
    suspend: bool = False,
    overlap: Overlap = Overlap.ALLOW,
    jitter: timedelta = timedelta(),
    **task: Any,
) -> PeriodicEntry:
    """An entry from now on, of a task ``report:daily``, unless it is said otherwise."""
    return PeriodicEntry(
        schedule=schedule,
        time_zone=zone,
        since=(since or datetime.now(UTC)).replace(microsecond=0),
        suspend=suspend,
        starting_deadline=None if deadline is None else timedelta(seconds=deadline),
        catch_up=catch_up,
        overlap=overlap,
        jitter=jitter,
        task=PeriodicTaskTemplate(**{"type": "report:daily", "payload": b'{"day":1}', **task}),
    )


def declare(client: redis.Redis, name: str, entry: PeriodicEntry | bytes) -> None:
    """Write an entry as the operator does."""
    source = entry if isinstance(entry, bytes) else encode_entry(entry)
    client.hset(keys.periodic_entries(SCOPE), name, source)


def ticks_enqueued(client: redis.Redis, name: str, queue: str = "default") -> list[int]:
    """The ticks of an entry that became tasks, in the order they went into the queue, oldest first."""
    prefix = f"periodic:{entry_id(SCOPE, name)}:".encode()
    ids = reversed(client.lrange(keys.pending(queue), 0, -1))
    return [int(task_id.removeprefix(prefix)) for task_id in ids if task_id.startswith(prefix)]


def lateness_s(client: redis.Redis, name: str, queue: str = "default") -> list[float]:
    """How long after its time each tick became a task."""
    found = []
    for tick in ticks_enqueued(client, name, queue):
        since_ns = client.hget(keys.task(queue, f"periodic:{entry_id(SCOPE, name)}:{tick}"), "pending_since")
        found.append(int(since_ns) / 1e9 - tick)
    return found


def record(client: redis.Redis, name: str, queue: str = "default") -> dict[str, str]:
    """An entry's tick record."""
    fields = client.hgetall(keys.tick_record(queue, entry_id(SCOPE, name)))
    return {field.decode(): value.decode() for field, value in fields.items()}


def wait_until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for what must come true; it may take long only when something is broken."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "did not come true in time"
        time.sleep(0.02)


class SchedulerProcess:
    """``longshore scheduler`` as a process of its own."""

    def __init__(
        self,
        url: str,
        log: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
        command: str = "scheduler",
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from longshore.cli import main; main()", command, *arguments],
                env={
                    **os.environ,
                    "LONGSHORE_REDIS_URL": url,
                    "LONGSHORE_PERIODIC_SCOPE": SCOPE,
                    "LONGSHORE_LOG_LEVEL": "debug",
                    "PYTHONPATH": str(Path(__file__).parents[2] / "worker"),
                    **(environment or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.pid = self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Its exit code."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Idempotent."""
        self._process.kill()
        self._process.wait()

    def says(self, text: str) -> bool:
        """Whether its log has this text."""
        return re.search(text, self.log.read_text(errors="replace")) is not None


@contextmanager
def running(url: str, log: Path, *arguments: str) -> Iterator[SchedulerProcess]:
    """A scheduler process until the end of the block, then killed if it still runs."""
    process = SchedulerProcess(url, log, *arguments)
    try:
        yield process
    finally:
        process.kill()
