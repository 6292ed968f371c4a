"""A worker process that belongs to a supervisor: it tells how it is, and ends when the supervisor is no more.

Both ways go lines of JSON: {"live", "ready", "text"} from time to time, and {"read": number}, which is answered by
{"read": number, "reading": what the process has counted, or null}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from longshore.metrics.reading import WorkerReading
from longshore.runtime.service import Service

SUPERVISOR = "LONGSHORE_SUPERVISOR"
"""Environment variable: the descriptor of the socket to the supervisor."""

PERIOD_S = 1.0  # between two reports
_SOON_S = 0.1  # until the first one that says ready

LONGEST_LINE = 16 * 2**20  # bytes; a reading of a hundred types in a hundred queues is a tenth of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """How a process is, as its own probes would say."""

    live: bool
    ready: bool
    text: str  # what is wrong, or what it does

    def line(self) -> bytes:
        return json.dumps({"live": self.live, "ready": self.ready, "text": self.text}).encode() + b"\n"

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> Report:
        return cls(live=bool(fields["live"]), ready=bool(fields["ready"]), text=str(fields["text"]))

    @classmethod
    def of(cls, service: Service) -> Report:
        live, ready = service.probes()
        return cls(live=live.ok, ready=ready.ok, text=ready.text if live.ok else live.text)


def supervisor() -> socket.socket | None:
    """The socket to the supervisor; None for a process of its own. For one call: programs it starts have none."""
    descriptor = os.environ.pop(SUPERVISOR, None)
    if descriptor is None or not descriptor.isdigit():
        return None
    connection = socket.socket(fileno=int(descriptor))
    connection.set_inheritable(False)
    return connection


@asynccontextmanager
async def reporting(
    service: Service, connection: socket.socket | None, *, read: Callable[[], WorkerReading | None]
) -> AsyncIterator[None]:
    """Report, and answer with what ``read`` gives, for the length of the block. Without a connection, nothing."""
    if connection is None:
        yield
        return
    reader, writer = await asyncio.open_connection(sock=connection)
    duties = [
        asyncio.create_task(_report(service, writer)),
        asyncio.create_task(_answer(service, reader, writer, read)),
    ]
    try:
        yield
    finally:
        for duty in duties:
            duty.cancel()
        await asyncio.gather(*duties, return_exceptions=True)
        writer.close()


async def _report(service: Service, writer: asyncio.StreamWriter) -> None:
    ready = False
    while True:
        if service.started:
            report = Report.of(service)
            ready = ready or report.ready
            with contextlib.suppress(OSError):
                writer.write(report.line())
                await writer.drain()
        await asyncio.sleep(PERIOD_S if ready else _SOON_S)


async def _answer(
    service: Service,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    read: Callable[[], WorkerReading | None],
) -> None:
    with contextlib.suppress(OSError):
        while line := await reader.readline():
            reading = read()
            answer = {"read": json.loads(line)["read"], "reading": None if reading is None else reading.fields()}
            writer.write(json.dumps(answer).encode() + b"\n")
    service.shutdown()
