"""The scheduler's side of a real Redis: entries, tick records and the lease, one script call or pipeline each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from longshore.broker.connection import Argument, Command, RedisConnection
from longshore.broker.entry_reader import read_entries_command, stored_entries
from longshore.broker.entry_writer import write_entries
from longshore.broker.periodic_base import RecordName, Tick, TickReply, TickResult
from longshore.broker.scripts import HOLD_SCHEDULER_LEASE, RELEASE_SCHEDULER_LEASE, TICK, WRITE_PERIODIC_ERRORS
from longshore.errors import InvalidData
from longshore.protocol import codec, keys
from longshore.protocol.periodic import (
    Overlap,
    PeriodicEntry,
    TickRecord,
    decode_last_tick,
    decode_tick_record,
    encode_lease,
)
from longshore.protocol.snapshots import EntriesSnapshot


class RedisPeriodicStore:
    """Implements :class:`longshore.broker.periodic_base.PeriodicStore`; the connection's owner closes it."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def hold_lease(self, scope: str, holder: str, *, now: datetime, lifetime: timedelta) -> bool:
        milliseconds = lifetime // timedelta(milliseconds=1)
        return bool(
            await self._connection.call(
                HOLD_SCHEDULER_LEASE, [keys.scheduler_lease(scope)], [holder, encode_lease(holder, now), milliseconds]
            )
        )

    async def release_lease(self, scope: str, holder: str) -> None:
        await self._connection.call(RELEASE_SCHEDULER_LEASE, [keys.scheduler_lease(scope)], [holder])

    async def read_entries(self, scope: str, known: EntriesSnapshot) -> EntriesSnapshot:
        [reply] = await self._connection.run([read_entries_command(scope, known)])
        return stored_entries(reply, known)

    async def write_entries(
        self, scope: str, *, changed: Mapping[str, PeriodicEntry], removed: Collection[str]
    ) -> None:
        await write_entries(self._connection, scope, changed=changed, removed=removed)

    async def read_records(self, names: Sequence[RecordName]) -> list[TickRecord | InvalidData]:
        replies = await self._connection.run_each([("HGETALL", keys.tick_record(n.queue, n.entry_id)) for n in names])
        return [_record(reply) for reply in replies]

    async def tick(self, ticks: Sequence[Tick], *, now: datetime) -> list[TickReply | InvalidData]:
        if not ticks:
            return []
        # Registered each time, as every enqueue does: another process may have removed the queue since.
        queues = dict.fromkeys(tick.record.queue for tick in ticks if tick.message is not None)
        commands: list[Command] = [("SADD", keys.QUEUES, *queues)] if queues else []
        replies = await self._connection.run_each([*commands, *(_command(tick, now) for tick in ticks)])
        return [_reply(reply) for reply in replies[len(commands) :]]

    async def write_errors(self, scope: str, errors: Mapping[str, str]) -> None:
        texts = [text for item in errors.items() for text in item]
        await self._connection.call(WRITE_PERIODIC_ERRORS, [keys.periodic_errors(scope)], texts)


def _command(tick: Tick, now: datetime) -> Command:
    record = tick.record
    names: list[Argument] = [keys.tick_record(record.queue, record.entry_id)]
    after = b"" if tick.after is None else codec.unix_seconds(tick.after)
    arguments: list[Argument] = [after, codec.unix_seconds(tick.tick), tick.missed]
    if (message := tick.message) is not None:
        names += [keys.task(message.queue, message.id), keys.pending(message.queue)]
        arguments += [message.id, codec.encode_task(message), codec.unix_nanoseconds(now)]
        if message.unique_key:
            if tick.unique_for is None:
                raise ValueError("a task with a unique key needs unique_for")
            names.append(message.unique_key)
        lock_s = tick.unique_for // timedelta(seconds=1) if tick.unique_for is not None else 0
        arguments += [lock_s, keys.task_prefix(message.queue) if tick.overlap is Overlap.FORBID else b""]
    return (TICK, len(names), *names, *arguments)


def _reply(reply: tuple[int, bytes] | InvalidData) -> TickReply | InvalidData:
    if isinstance(reply, InvalidData):
        return reply
    result, last_tick = reply
    try:
        return TickReply(result=TickResult(result), last_tick=decode_last_tick(last_tick))
    except InvalidData as error:
        return error


def _record(reply: list[bytes] | InvalidData) -> TickRecord | InvalidData:
    if isinstance(reply, InvalidData):
        return reply
    try:
        return decode_tick_record(dict(zip(reply[::2], reply[1::2], strict=True)))
    except InvalidData as error:
        return error
