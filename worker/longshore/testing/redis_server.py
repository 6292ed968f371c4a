"""A real redis-server of one's own, on a free loopback port."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1
_OWN_PORTS = (12000, 22000)  # a node of a cluster also takes the port 10,000 above its own


class RedisServer:
    """Runs ``redis-server`` as a child, without persistence, on 127.0.0.1.

    On Linux it dies with the thread that started it, so nothing is left of a test run that is killed. A context
    manager. ``stop`` and ``start`` may be repeated: the port stays the same, the content does not.
    """

    def __init__(self, *arguments: str, executable: str = "redis-server") -> None:
        """``arguments`` are appended to the command line, such as ``--requirepass secret``."""
        self._arguments = arguments
        self._executable = executable
        self._directory = Path(tempfile.mkdtemp(prefix="longshore-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.host = "127.0.0.1"
        self.port = 0

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> str:
        """What the server has logged."""
        file = self._directory / "redis.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def start(self) -> None:
        """Start it and wait until it answers. Raises RuntimeError with the server's log when it does not in 10 s."""
        if shutil.which(self._executable) is None:
            raise RuntimeError(f"{self._executable} is not installed (Debian's package is redis-server)")
        for _ in range(5):
            port = self.port or self._find_port()
            if self._start_on(port):
                self.port = port
                return
            if self.port:
                break
        raise RuntimeError(f"redis-server does not start:\n{self.log}")

    def stop(self) -> None:
        """Stop it, at once. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            # a frozen server would not see SIGTERM
            process.send_signal(signal.SIGKILL)
            process.wait()

    def freeze(self) -> None:
        """Let it answer nothing while its connections stay open, until ``thaw``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End ``freeze``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _find_port(self) -> int:
        return free_port()

    def _command(self, port: int) -> list[str]:
        return [self._executable, "--save", "", "--appendonly", "no"]

    def _start_on(self, port: int) -> bool:
        libc = ctypes.CDLL(None, use_errno=True)
        parent = os.getpid()

        def die_with_parent() -> None:
            if sys.platform == "linux":
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent has died in between
                os._exit(1)

        self._process = subprocess.Popen(
            [
                *self._command(port),
                *("--port", str(port), "--bind", self.host, "--daemonize", "no"),
                *("--dir", str(self._directory), "--logfile", str(self._directory / "redis.log")),
                *self._arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        give_up_at = time.monotonic() + 10
        while time.monotonic() < give_up_at:
            if self._process.poll() is not None:
                self._process = None
                return False
            if _answers(self.host, port):
                return True
            time.sleep(0.01)
        self.stop()
        return False


def free_port() -> int:
    """A loopback port that nobody uses.

    Below those that the kernel gives to connections: a server that is stopped for a while finds its port free again,
    and whoever tries to reach it meanwhile is not connected to himself.
    """
    for _ in range(100):
        port = random.randrange(*_OWN_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no port from {_OWN_PORTS[0]} to {_OWN_PORTS[1]} is free")


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        # +PONG, or -NOAUTH … from a server with a password
        return connection.recv(1) in (b"+", b"-")
    return False
