"""A TCP proxy in front of a Redis, which can lose replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Passes everything on, until it is told to lose replies."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.before_losing: Callable[[], Awaitable[object]] = _at_once
        self.to_lose = 0  # so many of the next replies are lost, each with its connection
        self.lost = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def aclose(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, redis_writer}
        for relay in (self._relay(reader, redis_writer), self._relay(redis_reader, writer, replies=True)):
            task = asyncio.create_task(relay)
            self._relays.add(task)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if replies and self.to_lose:
                    self.to_lose -= 1
                    self.lost += 1
                    await self.before_losing()
                    writer.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()


async def _at_once() -> None: ...


@asynccontextmanager
async def proxy_of(port: int) -> AsyncIterator[Proxy]:
    """A proxy for the length of the block."""
    proxy = Proxy(port)
    await proxy.start()
    yield proxy
    await proxy.aclose()
