"""Everything the operator watches of one Redis, in two round trips whatever the number of queues."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from longshore.broker.connection import Command, RedisConnection
from longshore.broker.entry_reader import read_entries_command, stored_entries
from longshore.broker.scripts import QUEUE_SNAPSHOT
from longshore.errors import InvalidData, WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import ServerInfo, WorkerInfo
from longshore.protocol.periodic import TickRecord, decode_lease, decode_tick_record, entry_id
from longshore.protocol.snapshots import (
    NO_LOOKAHEAD,
    BrokerSnapshot,
    EntriesSnapshot,
    QueueSnapshot,
    SchedulerLease,
    ServerSnapshot,
)


async def poll_broker(
    connection: RedisConnection,
    queues: Collection[str],
    *,
    scope: str | None,
    ticks_of: Mapping[str, str],
    lookaheads: Mapping[str, Collection[timedelta]],
    known: EntriesSnapshot,
    now: datetime,
) -> BrokerSnapshot:
    """See :meth:`longshore.inspector.Inspector.snapshot`."""
    names = list(queues)
    ticks = dict(ticks_of) if scope is not None else {}
    commands: list[Command] = [("INFO", "server"), _live(keys.SERVERS, now)]
    ahead = {name: tuple(lookaheads.get(name, ())) for name in names}
    commands += [queue_command(name, now, ahead[name]) for name in names]
    if scope is not None:
        commands += [("GET", keys.scheduler_lease(scope)), read_entries_command(scope, known)]
        commands += [("HGETALL", keys.tick_record(queue, entry_id(scope, name))) for name, queue in ticks.items()]

    started = time.perf_counter()
    replies = await connection.run_each(commands)
    latency = timedelta(seconds=time.perf_counter() - started)

    info, server_keys, *rest = replies
    _raise_wrong_type(info, server_keys)
    depths, periodic = rest[: len(names)], rest[len(names) :]
    lease, entries, *records = periodic or (None, [b""])
    _raise_wrong_type(lease, entries)
    return BrokerSnapshot(
        redis_version=_version(info),
        latency=latency,
        queues={name: queue_snapshot(name, reply, ahead[name]) for name, reply in zip(names, depths, strict=True)},
        servers=await _servers(connection, server_keys, keep_payloads=False),
        scheduler=_lease(lease),
        entries=stored_entries(entries, known),
        ticks=_ticks(ticks, records),
    )


async def read_servers(connection: RedisConnection, *, now: datetime) -> tuple[ServerSnapshot, ...]:
    """Live worker servers with what they run, payloads included; by host, then id."""
    [server_keys] = await connection.run([_live(keys.SERVERS, now)])
    return await _servers(connection, server_keys, keep_payloads=True)


def queue_command(queue: str, now: datetime, lookaheads: Sequence[timedelta] = ()) -> Command:
    """The call whose reply :func:`queue_snapshot` reads, given the same ``lookaheads``."""
    day = now.astimezone(UTC).date()
    names = (
        keys.pending(queue),
        keys.active(queue),
        keys.scheduled(queue),
        keys.retry(queue),
        keys.archived(queue),
        keys.completed(queue),
        keys.groups(queue),
        keys.paused(queue),
        keys.processed(queue, day),
        keys.failed(queue, day),
        keys.processed_total(queue),
        keys.failed_total(queue),
    )
    arguments = (codec.unix_seconds(now), keys.task_prefix(queue), keys.group_prefix(queue))
    later = (codec.unix_seconds(now + lookahead) for lookahead in lookaheads)
    return (QUEUE_SNAPSHOT, len(names), *names, *arguments, *later)


def queue_snapshot(queue: str, reply: Any, lookaheads: Sequence[timedelta] = ()) -> QueueSnapshot:
    """The depth in a reply to :func:`queue_command`, or the problem when it is a WrongType."""
    if isinstance(reply, WrongType):
        return QueueSnapshot(name=queue, problem=str(reply))
    counts, (due, paused, since), counters, due_by = reply[:7], reply[7:10], reply[10:14], reply[14:]
    pending, active, scheduled, retry, archived, completed, aggregating = counts
    processed_today, failed_today, processed_total, failed_total = map(integer, counters)
    since_ns = integer(since)
    return QueueSnapshot(
        name=queue,
        pending=pending,
        active=active,
        scheduled=scheduled,
        retry=retry,
        archived=archived,
        completed=completed,
        aggregating=aggregating,
        due=due,
        due_within=dict(zip(lookaheads, due_by, strict=True)) if lookaheads else NO_LOOKAHEAD,
        # only the key's existence pauses: a value that is no time means an unknown one
        paused_at=None if paused is None else codec.from_unix_seconds(integer(paused)),
        oldest_pending_at=codec.from_unix_nanoseconds(since_ns) if since_ns > 0 else None,
        processed_today=processed_today,
        failed_today=failed_today,
        processed_total=processed_total,
        failed_total=failed_total,
    )


async def _servers(
    connection: RedisConnection, server_keys: Sequence[bytes], *, keep_payloads: bool
) -> tuple[ServerSnapshot, ...]:
    names = [_text(key) for key in server_keys]
    commands: list[Command] = []
    for name in names:
        commands += [("GET", name), ("HVALS", keys.workers_of(name))]
    replies = await connection.run_each(commands)
    servers = []
    for data, running in zip(replies[::2], replies[1::2], strict=True):
        info = _server(data)
        if info is not None:
            items = [] if isinstance(running, WrongType) else running
            workers = [worker for item in items if (worker := _worker(item, keep_payloads)) is not None]
            workers.sort(key=lambda worker: (worker.started_at, worker.task_id))
            servers.append(ServerSnapshot(info=info, workers=tuple(workers)))
    servers.sort(key=lambda server: (server.info.host, server.info.server_id))
    return tuple(servers)


def _live(zset: str, now: datetime) -> Command:
    # Asynq's readers delete what has expired; a poll writes nothing.
    return ("ZRANGEBYSCORE", zset, codec.unix_seconds(now), "+inf")


def _raise_wrong_type(*replies: Any) -> None:
    for reply in replies:
        if isinstance(reply, WrongType):
            raise reply


def _version(info: bytes) -> str:
    for line in _text(info).splitlines():
        name, _, value = line.partition(":")
        if name == "redis_version":
            return value
    return ""


def _lease(data: bytes | None) -> SchedulerLease | None:
    if data is None:
        return None
    try:
        holder, since = decode_lease(data)
    except InvalidData:
        return None
    return SchedulerLease(holder=holder, since=since)


def _ticks(names: Mapping[str, str], records: Sequence[Any]) -> dict[str, TickRecord]:
    ticks: dict[str, TickRecord] = {}
    for name, record in zip(names, records, strict=True):
        if isinstance(record, WrongType) or not record:
            continue
        try:
            ticks[name] = decode_tick_record(dict(_pairs(record)))
        except InvalidData:
            continue
    return ticks


# A record that a peer wrote badly, or that expired between the two round trips, is passed over.


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


def _pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def integer(data: bytes | None) -> int:
    """The number in a counter's or a time's value; 0 for none and for what is no number."""
    try:
        return int(data or 0)
    except ValueError:
        return 0


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
