"""Counts the tasks that a peer's worker has run, in all its processes and threads, for next to nothing a task.

A file of counters is mapped into each process; a process counts in the slot of its pid. A task therefore costs one
addition, and no peer pays for being measured.
"""

from __future__ import annotations

import itertools
import mmap
import os
from pathlib import Path

SLOTS = 4096
_WIDTH = 8


class Counter:
    """One process' counter; in a forked child it goes on with a slot of its own."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with Path(path).open("r+b") as file:
            self._slots = memoryview(mmap.mmap(file.fileno(), SLOTS * _WIDTH)).cast("Q")
        self._claim()
        os.register_at_fork(after_in_child=self._claim)

    def _claim(self) -> None:
        self._slot = os.getpid() % SLOTS
        self._numbers = itertools.count(self._slots[self._slot] + 1)

    def count(self) -> None:
        """One more. Threads may race to write, which loses nothing: the number itself is taken atomically."""
        self._slots[self._slot] = next(self._numbers)


def create(path: Path) -> None:
    """A file of counters, all zero."""
    path.write_bytes(bytes(SLOTS * _WIDTH))


def total(path: Path) -> int:
    """The tasks counted so far."""
    return sum(memoryview(path.read_bytes()).cast("Q"))


def from_environment() -> Counter:
    """The counter that the benchmark names in ``BENCH_COUNTER``."""
    return Counter(os.environ["BENCH_COUNTER"])
