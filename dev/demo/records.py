"""Redis' account and the shop's journal, read with plain commands: not through the inspector that the operator uses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from redis.asyncio import Redis

from demo.evidence import JournalEntry, PeriodicAccount, QueueCount
from longshore.protocol import keys
from longshore.protocol.periodic import decode_entry, decode_tick_record, entry_id

JOURNAL = "shop:journal"
PAGE = 5000


async def count_queues(redis: Redis, queues: Iterable[str]) -> dict[str, QueueCount]:
    """Count the tasks of some queues by state, all of one moment."""
    names = list(queues)
    async with redis.pipeline(transaction=True) as pipe:
        for name in names:
            pipe.llen(keys.pending(name))
            pipe.llen(keys.active(name))
            pipe.zcard(keys.scheduled(name))
            pipe.zcard(keys.retry(name))
            pipe.zcard(keys.archived(name))
            pipe.zcard(keys.completed(name))
            pipe.get(keys.failed_total(name))
        found = await pipe.execute()
    return {
        name: QueueCount(
            pending=found[i],
            active=found[i + 1],
            scheduled=found[i + 2],
            retry=found[i + 3],
            archived=found[i + 4],
            completed=found[i + 5],
            failed_attempts=int(found[i + 6] or 0),
        )
        for i, name in zip(range(0, len(found), 7), names, strict=True)
    }


async def completed_ids(redis: Redis, queues: Iterable[str]) -> frozenset[str]:
    """Give the ids of every task that Redis holds as completed."""
    ids: set[str] = set()
    for name in queues:
        ids |= {member.decode() for member in cast("list[bytes]", await redis.zrange(keys.completed(name), 0, -1))}
    return frozenset(ids)


async def read_journal(redis: Redis) -> tuple[JournalEntry, ...]:
    """Read the shop's journal from its beginning."""
    entries: list[JournalEntry] = []
    after = "-"
    while page := cast("list[tuple[bytes, dict[bytes, bytes]]]", await redis.xrange(JOURNAL, min=after, count=PAGE)):
        entries += [_journal_entry(stream_id, fields) for stream_id, fields in page]
        after = "(" + page[-1][0].decode()
    return tuple(entries)


def _journal_entry(stream_id: bytes, fields: dict[bytes, bytes]) -> JournalEntry:
    milliseconds = int(stream_id.split(b"-")[0])
    text = {key.decode(): value.decode() for key, value in fields.items()}
    return JournalEntry(
        at=datetime.fromtimestamp(milliseconds / 1000, UTC),
        event=text["event"],
        task_id=text["task"],
        task_type=text["type"],
        retried=int(text["retried"]),
        worker=text["worker"],
    )


async def read_periodic(redis: Redis, scope: str) -> tuple[PeriodicAccount, ...]:
    """Read each periodic entry of a Broker and the record of its ticks."""
    accounts = []
    for name, data in sorted(cast("dict[bytes, bytes]", await _hash(redis, keys.periodic_entries(scope))).items()):
        entry, its_id = decode_entry(data), entry_id(scope, name.decode())
        record = decode_tick_record(await _hash(redis, keys.tick_record(entry.task.queue, its_id)))
        accounts.append(
            PeriodicAccount(
                name=name.decode(),
                entry_id=its_id,
                since=entry.since,
                every=distance(entry.schedule),
                enqueued=record.enqueued,
                missed=record.missed,
                last_tick=record.last_tick,
            )
        )
    return tuple(accounts)


async def _hash(redis: Redis, key: str) -> dict[Any, Any]:
    return cast("dict[Any, Any]", await redis.hgetall(key))


def distance(schedule: str) -> timedelta | None:
    """Give the distance of the ticks of `@every 20s`, or None for another kind of schedule."""
    match = re.fullmatch(r"@every (\d+)(s|m|h)", schedule)
    return timedelta(seconds=int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]) if match else None
