"""The REST API of asynqmon, Asynq's web UI, and the Asynq of its time; built from tests/interop/asynqmon."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from go_peer import base64_text, running_program


class Asynqmon:
    """Blocking calls of the API at ``url``; each gives the JSON of the answer, or None when it is empty."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, *path: str, **query: int) -> Any:
        """GET; ``path`` in parts."""
        return self._call("GET", path, query=query)

    def post(self, *path: str, ids: Sequence[str] | None = None) -> Any:
        """POST; ``ids`` are those of a batch."""
        return self._call("POST", path, body=None if ids is None else {"task_ids": list(ids)})

    def delete(self, *path: str) -> Any:
        """DELETE."""
        return self._call("DELETE", path)

    def refusal(self, method: str, *path: str) -> tuple[int, str]:
        """The status and text of a call that must be refused."""
        try:
            self._call(method, path)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode().strip()
        raise AssertionError(f"{method} {'/'.join(path)} was not refused")

    def _call(self, method: str, path: Sequence[str], *, query: dict[str, int] | None = None, body: Any = None) -> Any:
        url = "/".join([self.url, *(quote(part, safe=":") for part in path)])
        if query:
            url += "?" + "&".join(f"{name}={value}" for name, value in query.items())
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)  # on loopback
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None


@contextmanager
def asynqmon_on(program: Path, address: str) -> Iterator[Asynqmon]:
    """The API, served for the length of the block; ``address`` of Redis as tests/interop/asynqmon/redis.go has it."""
    with running_program([str(program), "web", address]) as process:
        assert process.stdout is not None
        yield Asynqmon(process.stdout.readline().strip())


class OldPeer:
    """The client and the server of the Asynq that asynqmon names, on one Redis."""

    def __init__(self, program: Path, address: str) -> None:
        self._program = program
        self._address = address

    def submit(self, *tasks: dict[str, Any]) -> None:
        """Enqueue, as tests/interop/asynqmon/submit.go says."""
        lines = "".join(json.dumps(task, default=base64_text) + "\n" for task in tasks)
        command = [str(self._program), "submit", self._address]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    @contextmanager
    def server(self) -> Iterator[None]:
        """A server for the length of the block."""
        with running_program([str(self._program), "serve", self._address]):
            yield
