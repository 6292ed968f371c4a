"""Live worker servers and what they run. What is still as it was read before is not decoded again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from longshore.broker.connection import Command, RedisConnection
from longshore.broker.reading import text
from longshore.errors import BrokerUnavailable, InvalidData, WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import ServerInfo, WorkerInfo
from longshore.protocol.snapshots import ReadServer, ServerSnapshot


async def read_servers(connection: RedisConnection, *, now: datetime) -> tuple[ServerSnapshot, ...]:
    """Live worker servers with what they run, payloads included; by host, then id."""
    [server_keys] = await connection.run([live_servers_command(now)])
    names = [text(key) for key in server_keys]
    replies = await connection.run_each(servers_commands(names))
    return in_order(servers_read(names, replies, {}, keep_payloads=True).values())


def live_servers_command(now: datetime, *, at_most: int = -1) -> Command:
    """The call whose reply is the keys of servers that have not been silent for too long; of ``at_most`` of them."""
    # Asynq's readers delete what has expired; a poll writes nothing.
    return ("ZRANGEBYSCORE", keys.SERVERS, codec.unix_seconds(now), "+inf", "LIMIT", 0, at_most)


def servers_commands(names: Iterable[str]) -> list[Command]:
    """Two calls for each server, given by its key, whose replies :func:`servers_read` reads."""
    commands: list[Command] = []
    for name in names:
        commands += [("GET", name), ("HVALS", keys.workers_of(name))]
    return commands


def servers_read(
    names: Sequence[str], replies: Sequence[Any], known: Mapping[str, ReadServer], *, keep_payloads: bool
) -> dict[str, ReadServer]:
    """What the replies say, by the server's key; of ``known`` what has not changed, and what could not be read."""
    found: dict[str, ReadServer] = {}
    for name, data, running in zip(names, replies[::2], replies[1::2], strict=True):
        before = known.get(name)
        if isinstance(data, BrokerUnavailable) or isinstance(running, BrokerUnavailable):
            if before is not None:
                found[name] = before
        elif before is not None and (before.data, before.running) == (data, running):
            found[name] = before
        else:
            found[name] = ReadServer(data, running, _server_snapshot(data, running, keep_payloads))
    return found


def in_order(servers: Iterable[ReadServer]) -> tuple[ServerSnapshot, ...]:
    """Those that could be read, by host, then id."""
    found = [server.snapshot for server in servers if server.snapshot is not None]
    return tuple(sorted(found, key=lambda server: (server.info.host, server.info.server_id)))


# A record that a peer wrote badly, or that expired before it was read, is passed over.


def _server_snapshot(data: Any, running: Any, keep_payloads: bool) -> ServerSnapshot | None:
    info = _server(data)
    if info is None:
        return None
    items = [] if isinstance(running, WrongType) else running
    workers = [worker for item in items if (worker := _worker(item, keep_payloads)) is not None]
    workers.sort(key=lambda worker: (worker.started_at, worker.task_id))
    return ServerSnapshot(info=info, workers=tuple(workers))


def _server(data: bytes | WrongType | None) -> ServerInfo | None:
    try:
        return codec.decode_server(data) if isinstance(data, bytes) else None
    except InvalidData:
        return None


def _worker(data: bytes, keep_payload: bool) -> WorkerInfo | None:
    try:
        return codec.decode_worker(data, keep_payload=keep_payload)
    except InvalidData:
        return None
