"""The REST API of asynqmon, Asynq's web UI, built from tests/interop/asynqmon."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from go_peer import running_program


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
    with running_program([str(program), address]) as process:
        assert process.stdout is not None
        yield Asynqmon(process.stdout.readline().strip())
