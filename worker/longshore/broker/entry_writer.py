"""Writing a scope's periodic entries, and cleaning up after those that are gone.

An entry that is removed leaves its tick record behind for a while. The record is what keeps a tick from running twice,
and the entry may come back under its name with a ``since`` that is earlier than its last tick: clocks differ, and a
resource's status may be older than the record. So the record gets a lifetime instead of being deleted, and loses it
when the entry comes back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta

from longshore.broker.connection import Argument, Command, RedisConnection
from longshore.errors import InvalidData
from longshore.protocol import keys
from longshore.protocol.periodic import (
    PeriodicEntry,
    decode_entry,
    decode_last_tick,
    encode_entry,
    entry_id,
    scheduler_entry_id,
)

# How long a record outlives its entry. By far longer than clocks differ, and than an operator takes to note the last
# tick in the PeriodicTask's status, which its entry begins from when it comes back later than this.
_RECORD_AFTERLIFE_S = timedelta(days=7) // timedelta(seconds=1)


async def write_entries(
    connection: RedisConnection, scope: str, *, changed: Mapping[str, PeriodicEntry], removed: Collection[str]
) -> None:
    """See :meth:`longshore.inspector.Inspector.write_periodic`. Two round trips, or some more."""
    names = [*changed, *removed]
    if not names:
        return
    [found] = await connection.run([("HMGET", keys.periodic_entries(scope), *names)])
    left = {
        name: keys.tick_record(queue, entry_id(scope, name))
        for name, data in zip(names, found, strict=True)
        if (queue := _queue(data)) is not None and (name not in changed or changed[name].task.queue != queue)
    }
    moved = await _begin_after(connection, {name: changed[name] for name in changed if name in left}, left)
    await connection.run_in_stages([*_removals(scope, removed, left.values()), *_changes(scope, {**changed, **moved})])


async def _begin_after(
    connection: RedisConnection, entries: Mapping[str, PeriodicEntry], records: Mapping[str, str]
) -> dict[str, PeriodicEntry]:
    """Entries that change queues, none beginning before the last tick that it left on record beside its old one.

    Beside the new queue lies no record that would keep a tick from running again, and the scheduler's clock may be
    ahead of the writer's.
    """
    if not entries:
        return {}
    replies = await connection.run_each([("HGET", records[name], "last_tick") for name in entries])
    begun = dict(entries)
    for (name, entry), data in zip(entries.items(), replies, strict=True):
        try:
            last = decode_last_tick(data) if isinstance(data, bytes) else None
        except InvalidData:
            continue
        if last is not None and last > entry.since:
            begun[name] = replace(entry, since=last)
    return begun


# In both, the order is what makes two writers safe, one of which adds an entry while the other still removes it. When
# the entry stays, it was written after the removal, hence the record was kept after it was given a lifetime.


def _removals(scope: str, names: Collection[str], records: Collection[str]) -> list[list[Command]]:
    stages: list[list[Command]] = [[("EXPIRE", record, _RECORD_AFTERLIFE_S) for record in records]]
    if names:
        histories = (keys.scheduler_history(scheduler_entry_id(entry_id(scope, name))) for name in names)
        stages.append([("DEL", history) for history in histories])
        stages.append([("HDEL", keys.periodic_entries(scope), *names)])
    return stages


def _changes(scope: str, entries: Mapping[str, PeriodicEntry]) -> list[list[Command]]:
    if not entries:
        return []
    keep: list[Command] = [
        ("PERSIST", keys.tick_record(entry.task.queue, entry_id(scope, name))) for name, entry in entries.items()
    ]
    fields: list[Argument] = []
    for name, entry in entries.items():
        fields += (name, encode_entry(entry))
    # Before as well: should the connection break in between, the entry would look as if nothing were left to do.
    return [keep, [("HSET", keys.periodic_entries(scope), *fields)], keep]


def _queue(data: bytes | None) -> str | None:
    """The queue beside which the record of a stored entry lies; None when there is none, or it cannot be told."""
    try:
        return None if data is None else decode_entry(data).task.queue
    except InvalidData:
        return None
