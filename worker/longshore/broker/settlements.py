"""Ends of attempts to the script calls that write them: one call for all outcomes of a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from longshore.broker.base import Archive, Complete, Done, Outcome, Requeue, Retry
from longshore.broker.connection import Argument, Command
from longshore.broker.limits import ARCHIVE_AGE, ARCHIVE_SIZE, COUNTER_AGE, MOST_AT_ONCE, TRIM_LIMIT
from longshore.broker.queue_names import queue_names
from longshore.broker.scripts import ARCHIVE, COMPLETE, DONE, REQUEUE, RETRY
from longshore.protocol import codec, keys

_SECOND = timedelta(seconds=1)


def settlement_commands(
    queue: str, outcomes: Sequence[Outcome], now: datetime
) -> tuple[list[Command], list[Sequence[int]]]:
    """The calls that carry out the outcomes, and for each call the positions of those it carries out."""
    commands: list[Command] = []
    positions: list[Sequence[int]] = []  # for each command, the outcomes it carries out
    by_kind: dict[type, list[int]] = {}
    for position, outcome in enumerate(outcomes):
        by_kind.setdefault(type(outcome), []).append(position)
    for kind, all_positions in by_kind.items():
        for start in range(0, len(all_positions), MOST_AT_ONCE):
            some = all_positions[start : start + MOST_AT_ONCE]
            commands.append(_SETTLEMENTS[kind](queue, [outcomes[p] for p in some], now))
            positions.append(some)
    if Requeue in by_kind:
        # Each call puts its tasks before all others, so the calls go backwards as the script does.
        commands.reverse()
        positions.reverse()
    return commands, positions


def settled(replies: Sequence[Sequence[int]], positions: Sequence[Sequence[int]], outcomes: int) -> list[bool]:
    """For each of so many outcomes whether it was carried out. A reply counts those that were not, from 1."""
    result = [True] * outcomes
    for refused, carried_out in zip(replies, positions, strict=True):
        for number in refused:
            result[carried_out[number - 1]] = False
    return result


def _settle_done(queue: str, outcomes: Sequence[Done], now: datetime) -> Command:
    names = queue_names(queue)
    tasks: list[Argument] = []
    for outcome in outcomes:
        message = outcome.message
        tasks += (message.id, message.unique_key or b"")
    today, total, _, _ = _counters(queue, now)
    return (DONE, 4, *names.done, today, total, names.task_prefix, _counter_expiry_s(now), *tasks)


def _settle_complete(queue: str, outcomes: Sequence[Complete], now: datetime) -> Command:
    names = queue_names(queue)
    tasks: list[Argument] = []
    for outcome in outcomes:
        message = outcome.message
        if message.completed_at is None or message.retention is None:
            raise ValueError("a completed task needs completed_at and retention")
        tasks += (
            message.id,
            message.unique_key or b"",
            # added as numbers: a peer's retention may lead beyond the calendar's end
            codec.unix_seconds(message.completed_at) + message.retention // _SECOND,
            codec.encode_task(message),
            b"0" if outcome.result is None else b"1",
            outcome.result or b"",
        )
    today, total, _, _ = _counters(queue, now)
    return (
        COMPLETE,
        5,
        *names.complete,
        today,
        total,
        names.task_prefix,
        _counter_expiry_s(now),
        names.waiting_prefix,
        *tasks,
    )


def _settle_retry(queue: str, outcomes: Sequence[Retry], now: datetime) -> Command:
    names = queue_names(queue)
    tasks: list[Argument] = []
    for outcome in outcomes:
        tasks += (
            outcome.message.id,
            codec.unix_seconds(outcome.retry_at),
            codec.encode_task(outcome.message),
            b"1" if outcome.is_failure else b"0",
        )
    return (RETRY, 7, *names.retry, *_counters(queue, now), names.task_prefix, _counter_expiry_s(now), *tasks)


def _settle_archive(queue: str, outcomes: Sequence[Archive], now: datetime) -> Command:
    names = queue_names(queue)
    arguments: list[Argument] = [
        names.task_prefix,
        _counter_expiry_s(now),
        codec.unix_seconds(now),
        codec.unix_seconds(now - ARCHIVE_AGE),
        ARCHIVE_SIZE,
        TRIM_LIMIT,
        names.waiting_prefix,
    ]
    for outcome in outcomes:
        arguments += (outcome.message.id, codec.encode_task(outcome.message))
    return (ARCHIVE, 8, *names.archive, *_counters(queue, now), names.archive_limits, *arguments)


def _settle_requeue(queue: str, outcomes: Sequence[Requeue], now: datetime) -> Command:
    names = queue_names(queue)
    ids = [outcome.message.id for outcome in outcomes]
    return (REQUEUE, 3, *names.requeue, names.task_prefix, codec.unix_nanoseconds(now), *ids)


_SETTLEMENTS: Mapping[type, Any] = {
    Done: _settle_done,
    Complete: _settle_complete,
    Retry: _settle_retry,
    Archive: _settle_archive,
    Requeue: _settle_requeue,
}


def _counters(queue: str, now: datetime) -> tuple[str, str, str, str]:
    day = now.astimezone(UTC).date()
    return (
        keys.processed(queue, day),
        keys.processed_total(queue),
        keys.failed(queue, day),
        keys.failed_total(queue),
    )


def _counter_expiry_s(now: datetime) -> int:
    return codec.unix_seconds(now + COUNTER_AGE)
