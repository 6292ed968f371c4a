"""Asynq's own library, built from tests/interop/peer, as a value that tests can drive."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
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

    def submit(self, port: int | str, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
        """Enqueue with the released client, as tests/interop/peer/submit.go says; the answer to each."""
        return self._lines("submit", tasks, port=port)

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
        return self._lines("operate", operations, port=port)

    def administer(self, port: int | str, *actions: dict[str, Any]) -> list[dict[str, Any]]:
        """Act through the released inspector, as tests/interop/peer/administer.go says; the answer to each."""
        return self._lines("administer", actions, port=port)

    def recode(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        """Pass messages through Asynq's codec: what it reads, and the bytes it makes of that (base64)."""
        return self._lines("recode", messages)

    @contextmanager
    def server(
        self, port: int | str, *, queues: str = "default", concurrency: int = 10, **options: Any
    ) -> Iterator[IO[str]]:
        """A running Asynq server; its output has one JSON line for each task it started."""
        flags = _flags(port, {"queues": queues, "concurrency": concurrency} | options)
        with running_program([str(self.binary), "serve", *flags]) as process:
            assert process.stdout is not None
            yield process.stdout

    @contextmanager
    def killable_server(self, port: int | str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """The same as a process, for a test that kills it."""
        with running_program([str(self.binary), "serve", *_flags(port, options)]) as process:
            yield process

    @contextmanager
    def scheduler(self, port: int | str, *entries: dict[str, Any]) -> Iterator[list[str]]:
        """A running Asynq scheduler; the ids of its entries."""
        flags = _flags(port, {"entries": json.dumps(entries, default=base64_text)})
        with running_program([str(self.binary), "schedule", *flags]) as process:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())

    def _lines(self, command: str, items: Sequence[dict[str, Any]], *, port: int | str | None = None) -> list[Any]:
        lines = "".join(json.dumps(item, default=base64_text) + "\n" for item in items)
        return [json.loads(line) for line in self._run(command, port=port, input=lines).splitlines()]

    def _run(self, command: str, *, port: int | str | None = None, input: str | None = None, **options: Any) -> str:  # noqa: A002
        arguments = [str(self.binary), command, *(_flags(port, options) if port is not None else [])]
        done = subprocess.run(arguments, input=input, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def running_program(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A program that runs for the length of the block. It ends when its input does, also when this process dies."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()


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


def base64_text(value: bytes) -> str:
    """Bytes as Go's JSON has them."""
    return base64.b64encode(value).decode()
