"""What a kubelet does for the operator's pod: starts the process again when it ends, and ends it when /livez fails."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_PERIOD_S = 0.5
_FAILURES = 3  # of the probe in a row, after which the process is ended
_SILENCES = 20  # likewise, when nobody answers: a process that is about to end may take some seconds


class Process(Protocol):
    """An operator, as the harness of the handlers has it."""

    def start(self) -> None: ...
    def stop(self) -> int | None: ...
    def wait(self, timeout_s: float = 30) -> int: ...
    def probe(self, path: str = "/readyz") -> tuple[int, str]: ...


class Kubelet:
    """Keeps one operator alive in a thread, quicker than a real one: no back-off, a probe each half second."""

    def __init__(self, operator: Process) -> None:
        self._operator = operator
        self._over = threading.Event()
        self.exits: list[int] = []  # exit codes of lives that ended, by whatever end
        self.complaints: list[str] = []  # what /livez said when it cost a life

    @contextmanager
    def running(self) -> Iterator[Kubelet]:
        """Keep it running for the length of a block."""
        thread = threading.Thread(target=self._keep, name="kubelet")
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join(60)

    def _keep(self) -> None:
        # All in one thread: the operator dies with the thread that started it.
        try:
            while not self._over.is_set():
                self._operator.start()
                self.exits.append(self._life())
                time.sleep(_PERIOD_S)
        finally:
            self._operator.stop()

    def _life(self) -> int:
        failed, silent, answered = 0, 0, False
        while not self._over.is_set():
            try:
                return self._operator.wait(_PERIOD_S)
            except subprocess.TimeoutExpired:
                status, said = self._operator.probe("/livez")
                answered = answered or status == 200
                failed = failed + 1 if status == 503 else 0
                silent = silent + 1 if answered and status == 0 else 0
                if failed == _FAILURES or silent == _SILENCES:
                    self.complaints.append(said)
                    return self._operator.stop() or 0
        return self._operator.stop() or 0
        return self._operator.stop() or 0
