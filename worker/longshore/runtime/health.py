"""Probes over HTTP, for whatever restarts the process or routes around it, and pages beside them.

GET /livez   200 while the server's loops go round, 503 with the names of those that do not
GET /readyz  200 once Redis was reached, and from then on: a worker that drains, or waits for Redis, still does its job
GET /metrics of a worker: what it has counted

A few lines on asyncio instead of a web framework: a worker has no other need of one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from longshore.errors import InvalidOption

_REQUEST_LIMIT_S = 5.0
_CLOSING_LIMIT_S = 0.5
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """An answer."""

    ok: bool
    text: str  # one line


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """An answer that takes a moment to gather."""

    status: int
    content: bytes
    content_type: str = "text/plain; charset=utf-8"


def checked_address(address: Any) -> tuple[str, int]:
    """Host ("" for every interface) and port of the probes; 0: any free port. Raises InvalidOption."""
    match address:
        case (str() as host, int() as port) if not isinstance(port, bool) and 0 <= port <= 65535:
            return host, port
    raise InvalidOption("health address", f"is {address!r}; give host and port, such as ('127.0.0.1', 8080)")


class HealthServer:
    """Serves probes and pages by path until closed."""

    def __init__(
        self,
        probes: Mapping[str, Callable[[], Probe]],
        pages: Mapping[str, Callable[[], Awaitable[Page]]] = MappingProxyType({}),
    ) -> None:
        self._probes = probes
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self, host: str, port: int) -> None:
        """Listen. ``host`` "" is every interface. Raises InvalidOption when the address cannot be used."""
        try:
            self._server = await asyncio.start_server(
                self._serve, host or None, port, limit=8192, start_serving=False
            )  # not before it is known here: a cancellation would leave it listening
            await self._server.start_serving()
        except asyncio.CancelledError:
            await self.close()
            raise
        except OSError as error:
            await self.close()
            raise InvalidOption(
                "health address", f"cannot listen on {host}:{port}: {error.strerror or error}"
            ) from error

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop what is connected. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        # Not cancelled: before Python 3.12 a cancelled connection leaves a traceback on stderr.
        for writer in self._connections.values():
            writer.transport.abort()
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=_CLOSING_LIMIT_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_LIMIT_S):
                await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            await self._serve_one(reader, writer)
        finally:
            del self._connections[task]

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_LIMIT_S):
                page, body = await self._answer(await reader.readuntil(b"\r\n\r\n"))
                head = (
                    f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\nContent-Type: {page.content_type}\r\n"
                    f"Content-Length: {len(page.content)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + (page.content if body else b""))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the peer's doing; there is nobody left to answer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, request: bytes) -> tuple[Page, bool]:
        """The answer, and whether its content is sent (not for HEAD)."""
        parts = request.split(b"\r\n", 1)[0].split()
        if len(parts) != 3:
            return _line(400, "bad request"), True
        method, path = parts[0].decode("latin-1"), parts[1].decode("latin-1").split("?", 1)[0]
        probe, page = self._probes.get(path), self._pages.get(path)
        if probe is None and page is None:
            return _line(404, "not found; there are " + ", ".join((*self._probes, *self._pages))), method != "HEAD"
        if method not in ("GET", "HEAD"):
            return _line(405, "only GET"), True
        if page is not None:
            return await page(), method != "HEAD"
        assert probe is not None
        answer = probe()
        return _line(200 if answer.ok else 503, answer.text), method != "HEAD"


def _line(status: int, text: str) -> Page:
    return Page(status=status, content=f"{text}\n".encode())
