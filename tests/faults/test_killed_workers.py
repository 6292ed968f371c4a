"""Worker processes are killed under load, again and again.

What they were running runs again; nothing else does. What a killed worker had taken and not begun is begun once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import redis

from faults.conftest import Conclude
from faults.invariants import memberships
from faults.journal import Journal
from faults.load import Load, progress, settled
from faults.work import CONCURRENCY
from longshore import Client
from longshore.testing import RedisServer

_TESTS = Path(__file__).parents[1]
_PROGRAM = _TESTS / "faults" / "work.py"
_KILLS = 4


class Workers:
    """Processes of one worker server each."""

    def __init__(self, url: str, journal: Journal) -> None:
        self._command = [sys.executable, str(_PROGRAM), url, str(journal.path)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self.killed: set[int] = set()

    def start(self) -> None:
        path = os.pathsep.join(str(_TESTS / name) for name in ("../worker", "."))
        self._processes.append(subprocess.Popen(self._command, env=os.environ | {"PYTHONPATH": path}))

    def kill_one(self, random: Random) -> None:
        """At once, as the kernel does it to one that needs too much memory."""
        process = self._processes.pop(random.randrange(len(self._processes)))
        process.kill()
        process.wait()
        self.killed.add(process.pid)

    def stop(self) -> list[int]:
        """All of them, gracefully; their exit codes."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(30) for process in self._processes]
        self._processes = []
        return codes

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@contextmanager
def workers(url: str, journal: Journal, *, count: int) -> Iterator[Workers]:
    some = Workers(url, journal)
    try:
        for _ in range(count):
            some.start()
        yield some
    finally:
        some.close()


async def test_killed_workers_lose_nothing_and_only_what_they_ran_runs_again(
    own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    problems: list[str] = []
    with workers(own_redis.url, journal, count=3) as processes:
        async with Client(own_redis.url) as client:
            load = Load(client, random)
            producers = [asyncio.create_task(load.produce(name)) for name in "abcd"]
            await progress(load, journal)
            for _ in range(_KILLS):
                await asyncio.sleep(random.uniform(0, 0.2))
                processes.kill_one(random)
                processes.start()
                await progress(load, journal, 100)
                with redis.Redis(port=own_redis.port) as plain:
                    problems += memberships(plain)
            load.stop()
            await asyncio.gather(*producers)
        await settled(own_redis.port)
        assert processes.stop() == [0, 0, 0]
    assert problems == []
    story = conclude(own_redis.port, load, kills=_KILLS)
    assert sum(story.repeated.values()) <= _KILLS * CONCURRENCY
    for attempt in story.repeated:
        assert processes.killed.intersection(story.pids[attempt][:-1]), f"{attempt} was not run by a killed worker"
