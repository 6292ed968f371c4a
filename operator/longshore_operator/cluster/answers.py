"""Answers of the API server as JSON, however deep somebody has nested an object of ours.

The API server takes 10,000 levels where our schemas leave a field open (a payload, a template); Python's decoder gives
up at some 900, and with it would whoever lists or watches objects: for all tenants, and again after each start. So what
lies too deep is cut out before it is decoded. No model of ours takes an object so deep (see api.nesting), so that what
was cut is refused and told, and never used.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from aiohttp.connector import Connection

# Values below so many levels of one text are cut: more than the deepest object that anything here accepts, and far from
# what any of the functions that walk objects can bear.
DEEPEST = 200
CUT = '"cut: nested too deep"'

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def decode(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError when it is none."""
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(shallow(text.encode() if isinstance(text, str) else text))


def shallow(text: bytes) -> bytes:
    """The JSON text with CUT for each object and list below DEEPEST levels."""
    if text.count(b"{") + text.count(b"[") <= DEEPEST:
        return text
    kept: list[bytes] = []
    depth = copied = 0
    for token in _TOKENS.finditer(text):
        match token[0]:
            case b"{" | b"[":
                depth += 1
                if depth == DEEPEST + 1:
                    kept += [text[copied : token.start()], CUT.encode()]
            case b"}" | b"]":
                depth -= 1
                if depth == DEEPEST:
                    copied = token.end()
    return b"".join([*kept, text[copied:]]) if kept else text


class Response(aiohttp.ClientResponse):
    """What a session of ours gives, to kopf as well: its JSON, and the lines of its stream, are never too deep."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """As aiohttp calls it, when the head of the answer has come."""
        started = await super().start(connection)
        self.content = _Lines(self.content)  # type: ignore[assignment]  # it is all that a StreamReader is
        return started

    async def json(
        self,
        *,
        encoding: str | None = None,
        loads: Callable[[str], Any] = decode,
        content_type: str | None = "application/json",
    ) -> Any:
        """The body as JSON."""
        return await super().json(encoding=encoding, loads=loads, content_type=content_type)


class _Lines:
    """A StreamReader, of which chunks are whole lines."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """The lines as they come, each with its end."""
        rest = b""
        async for data in self._content.iter_chunked(size):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield shallow(line) + b"\n"
        if rest:
            yield shallow(rest)
