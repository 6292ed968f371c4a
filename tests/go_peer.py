"""Asynq's own library, built from tests/interop/peer, as a value that tests can drive."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from localcluster.errors import MachineCannot
from localcluster.fixtures import skipped_where_impossible

_SOURCE = Path(__file__).parent / "interop" / "peer"


class GoPeer:
    """The built binary.

    ``port`` is that of a Redis on loopback, or an address as tests/interop/peer/redis.go has it.
    """

    def __init__(self, binary: Path) -> None:
        self.binary = binary

    def vectors(self) -> str:
        """Asynq's bytes for fixed values, as JSON text."""
        return self._run("vectors")

    def enqueue(self, port: int | str, **options: Any) -> list[dict[str, Any]]:
        """Enqueue with the released client; what it tells of each task."""
        return [json.loads(line) for line in self._run("enqueue", port=port, **options).splitlines()]

    def try_enqueue(self, port: int | str, **options: Any) -> str:
        """Enqueue and expect a refusal; its text."""
        command = [str(self.binary), "enqueue", *_flags(port, options)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done.stdout
        return done.stderr.strip()

    def inspect(self, port: int | str, queue: str, *, entry: str = "") -> dict[str, Any]:
        """What Asynq's inspector sees."""
        view: dict[str, Any] = json.loads(self._run("inspect", port=port, queue=queue, entry=entry))
        return view

    def operate(self, port: int | str, *operations: dict[str, Any]) -> list[dict[str, Any]]:
        """Carry out broker operations with Asynq's scripts; the answer to each."""
        lines = "".join(json.dumps(operation, default=_base64) + "\n" for operation in operations)
        output = self._run("operate", port=port, input=lines)
        return [json.loads(line) for line in output.splitlines()]

    @contextmanager
    def server(
        self, port: int | str, *, queues: str = "default", concurrency: int = 10, **options: Any
    ) -> Iterator[IO[str]]:
        """A running Asynq server; its output has one JSON line for each task it started."""
        command = [str(self.binary), "serve", *_flags(port, {"queues": queues, "concurrency": concurrency} | options)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield process.stdout
            finally:
                process.stdin.close()  # it ends when its input does, also when this process dies
                try:
                    process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    process.kill()

    def _run(self, command: str, *, port: int | str | None = None, input: str | None = None, **options: Any) -> str:  # noqa: A002
        arguments = [str(self.binary), command, *(_flags(port, options) if port is not None else [])]
        done = subprocess.run(arguments, input=input, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def build_peer(directory: Path) -> GoPeer:
    """Build it into ``directory``."""
    return GoPeer(build_program(_SOURCE, directory))


def build_program(source: Path, directory: Path) -> Path:
    """Build the Go program of one folder; skips the test where there is no Go, and fails it where that must not be."""
    with skipped_where_impossible():
        if shutil.which("go") is None:
            raise MachineCannot(
                f"{source.name}, a program of Go's own libraries, needs Go, and there is none on the PATH"
            )
    program = directory / source.name
    done = subprocess.run(
        ["go", "build", "-o", str(program), "."], cwd=source, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return program


def _flags(port: int | str | None, options: dict[str, Any]) -> list[str]:
    flags = ["--redis", port if isinstance(port, str) else f"127.0.0.1:{port}"]
    for name, value in options.items():
        flags += [f"--{name.replace('_', '-')}", str(value)]
    return flags


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
