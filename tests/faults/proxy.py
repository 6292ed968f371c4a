"""A TCP proxy in front of a Redis that cuts connections anywhere, is slow, or falls silent. The chance is seeded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

from client.proxy import Proxy


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What befalls the bytes that pass."""

    cut_after: int | None = (
        None  # a connection is cut after so many bytes of one direction, on the average; None: never
    )
    delay_s: tuple[float, float] = (0.0, 0.0)  # each reply waits for so long, drawn anew
    trickle: int | None = None  # replies pass in pieces of at most so many bytes; None: as they come
    silent: bool = False  # nothing passes either way; connections stay open


WELL = Fault()


class FaultyProxy(Proxy):
    """Passes everything on; ``fault`` may be changed at any time and holds at once, for open connections too."""

    def __init__(self, port: int, random: Random) -> None:
        super().__init__(port)
        self._random = random
        self._changed = asyncio.Event()
        self._fault = WELL
        self.cuts = 0

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await super()._serve(reader, writer)
        except OSError:  # Redis is not there
            writer.transport.abort()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool = False
    ) -> None:
        left, of = self._bytes_left()
        with suppress(OSError):
            while data := await reader.read(65536):
                while self._fault.silent:
                    await self._changed.wait()
                if of != self._fault.cut_after:
                    left, of = self._bytes_left()
                if left is not None:
                    left -= len(data)
                    if left < 0:
                        # what comes before the place of the cut still arrives: half a request, or half a reply
                        writer.write(data[:left])
                        with suppress(OSError, TimeoutError):
                            await asyncio.wait_for(writer.drain(), 1)
                        await asyncio.sleep(0)
                        self.cuts += 1
                        break
                await (self._reply(writer, data) if replies else self._pass_on(writer, data))
        # the other direction of the same connection sees its end by itself
        reader._transport.abort()  # type: ignore[attr-defined]
        writer.close()

    def _bytes_left(self) -> tuple[int | None, int | None]:
        """Until the cut, and the average that was in force when it was drawn."""
        of = self._fault.cut_after
        return (None if of is None else int(self._random.expovariate(1 / of))), of

    async def _reply(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        fault = self._fault
        if fault.delay_s[1]:
            await asyncio.sleep(self._random.uniform(*fault.delay_s))
        if fault.trickle is None:
            await self._pass_on(writer, data)
            return
        at = 0
        while at < len(data):
            # all of a large reply byte by byte would take for ever: the pieces grow
            size = self._random.randint(1, fault.trickle) + len(data) // 50
            await self._pass_on(writer, data[at : at + size])
            at += size
            await asyncio.sleep(0.001)

    async def _pass_on(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def faulty_proxy_of(port: int, random: Random) -> AsyncIterator[FaultyProxy]:
    """A proxy for the length of the block."""
    proxy = FaultyProxy(port, random)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.aclose()
