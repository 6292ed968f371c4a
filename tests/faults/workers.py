"""Worker processes that may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import redis

from faults.journal import Journal

_STARTS_WITHIN_S = 120.0
_TESTS = Path(__file__).parents[1]
_PROGRAM = _TESTS / "faults" / "work.py"


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

    def wait_serving(self, client: redis.Redis) -> None:
        """Until each is in Asynq's list of servers. Before that, a signal ends it like any program that starts."""
        give_up_at = time.monotonic() + _STARTS_WITHIN_S
        while missing := {process.pid for process in self._processes} - _serving(client):
            assert time.monotonic() < give_up_at, f"not serving after {_STARTS_WITHIN_S:g} s: {missing}"
            time.sleep(0.05)

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


def _serving(client: redis.Redis) -> set[int]:
    """The process ids of the servers that are listed, from keys like asynq:servers:{host:pid:id}."""
    return {int(key.split(b":")[-2]) for key in client.zrange("asynq:servers", 0, -1)}


@contextmanager
def workers(url: str, journal: Journal, *, count: int) -> Iterator[Workers]:
    """So many for the length of the block."""
    some = Workers(url, journal)
    try:
        for _ in range(count):
            some.start()
        yield some
    finally:
        some.close()
