"""File locks: they end with the process that holds them, so a crash never leaves one behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster.steps import say


class FileLock:
    """An exclusive lock on a file, held until `release` or until the process ends.

    The file is made when it is not there. A folder that is there can be locked as well, and stays as it is.

    The descriptor is closed on exec, so a started component does not inherit the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; say whether it was."""
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def _open(self) -> int:
        if self._path.is_dir():
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def acquire(self, waiting_for: str) -> None:
        """Take the lock, waiting as long as it takes; says once what is waited for."""
        if self.try_acquire():
            return
        say(f"· waiting: {waiting_for}")
        descriptor = self._open()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; doing so twice is harmless."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def locked(path: Path, waiting_for: str) -> Iterator[None]:
    """Hold the lock for the length of a block."""
    lock = FileLock(path)
    lock.acquire(waiting_for)
    try:
        yield
    finally:
        lock.release()
