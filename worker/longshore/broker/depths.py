"""Queues' depths: one at a time, or several in one call that sends nothing of those that have not changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from longshore.broker.connection import Command
from longshore.broker.scripts import QUEUE_SNAPSHOT, QUEUE_SNAPSHOTS
from longshore.errors import BrokerUnavailable, WrongType
from longshore.protocol import codec, keys
from longshore.protocol.snapshots import NO_LOOKAHEAD, QueueSnapshot

Asked = tuple[str, tuple[timedelta, ...]]
"""A queue, and how far ahead its scheduled and retry tasks are counted."""


def queue_command(queue: str, now: datetime, lookaheads: Sequence[timedelta] = ()) -> Command:
    """The call whose reply :func:`queue_snapshot` reads, given the same ``lookaheads``."""
    names = _names(queue, now)
    arguments = (codec.unix_seconds(now), keys.task_prefix(queue), keys.group_prefix(queue))
    return (QUEUE_SNAPSHOT, len(names), *names, *arguments, *_moments(now, lookaheads))


def queue_snapshot(queue: str, reply: Any, lookaheads: Sequence[timedelta] = ()) -> QueueSnapshot:
    """The depth in a reply to :func:`queue_command`, or the problem when it is an error of ours."""
    if isinstance(reply, WrongType | BrokerUnavailable):
        return QueueSnapshot(name=queue, problem=str(reply), unreachable=isinstance(reply, BrokerUnavailable))
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


def queues_command(asked: Sequence[Asked], known_digest: bytes, now: datetime) -> Command:
    """One call for several queues, on one server, whose reply :func:`queue_snapshots` reads."""
    prefix = _prefix("")
    suffixes = [name.removeprefix(prefix) for name in _names("", now)]
    arguments: list[str | bytes | int] = [
        known_digest,
        codec.unix_seconds(now),
        keys.task_prefix("").removeprefix(prefix),
        keys.group_prefix("").removeprefix(prefix),
        len(suffixes),
        *suffixes,
    ]
    for queue, lookaheads in asked:
        arguments += (_prefix(queue), len(lookaheads), *_moments(now, lookaheads))
    return (QUEUE_SNAPSHOTS, 0, *arguments)


def queue_snapshots(asked: Sequence[Asked], reply: Sequence[Any], now: datetime) -> list[QueueSnapshot] | None:
    """The depths in a reply to :func:`queues_command`; None when they are still as the caller knows them."""
    _digest, *replies = reply
    if not replies and asked:
        return None
    return [
        queue_snapshot(queue, _wrong_type(queue, each, now) if isinstance(each[0], bytes) else each, lookaheads)
        for (queue, lookaheads), each in zip(asked, replies, strict=True)
    ]


def integer(data: bytes | None) -> int:
    """The number in a counter's or a time's value; 0 for none and for what is no number."""
    try:
        return int(data or 0)
    except ValueError:
        return 0


def _names(queue: str, now: datetime) -> tuple[str, ...]:
    day = now.astimezone(UTC).date()
    return (
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


def _prefix(queue: str) -> str:
    return keys.pending(queue).removesuffix("pending")


def _moments(now: datetime, lookaheads: Sequence[timedelta]) -> list[int]:
    return [codec.unix_seconds(now + lookahead) for lookahead in lookaheads]


def _wrong_type(queue: str, types: Sequence[bytes], now: datetime) -> WrongType:
    return QUEUE_SNAPSHOT.wrong_type(_names(queue, now), types, "or a key beside it is not what Asynq keeps there")
