"""Ends of attempts: many of all kinds in one call, and who may write when two try.

That each kind alone leaves the key space as Asynq's does is shown in test_as_asynq_does.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from longshore.broker.base import Archive, Complete, Dequeued, Done, Outcome, Requeue, Retry
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.testing import new_message, queue_content, read_keyspace, read_lifetimes, seed_keyspace

_NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
_NOW_S = codec.unix_seconds(_NOW)
_NOW_NS = codec.unix_nanoseconds(_NOW)
_DAY = timedelta(days=1)


def _active(*messages: TaskMessage) -> list[tuple[TaskMessage, int]]:
    return [(message, _NOW_S + 5) for message in messages]


async def test_outcomes_of_every_kind_are_carried_out_in_one_call(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    names = ("done", "done2", "kept", "failed", "late", "dead", "back", "running")
    done, done2, kept, failed, late, dead, back, running = (new_message(id=name) for name in names)
    kept = replace(kept, retention=_DAY)
    seed_keyspace(redis_client, queue_content(active=_active(done, done2, kept, failed, late, dead, back, running)))
    completed = replace(kept, completed_at=_NOW)
    again = replace(failed, retried=1, error="boom", last_failed_at=_NOW)
    archived = replace(dead, error="boom", last_failed_at=_NOW)
    outcomes: list[Outcome] = [
        Done(message=done),
        Retry(message=again, retry_at=_NOW + _DAY),
        Complete(message=completed, result=b"\x00r"),
        Archive(message=archived),
        Requeue(message=back),
        Done(message=done2),
        Retry(message=late, retry_at=_NOW + _DAY, is_failure=False),
    ]
    assert await broker.settle("default", outcomes, now=_NOW) == [True] * 7
    expected = queue_content(
        active=_active(running),
        completed=[(completed, _NOW_S + 86400)],
        retry=[(again, _NOW_S + 86400), (late, _NOW_S + 86400)],
        archived=[(archived, _NOW_S)],
    ) | queue_content(pending=[back], pending_since_ns=_NOW_NS)
    expected[keys.task("default", "kept")][b"result"] = b"\x00r"
    # the day's counters of 2024 are past their 90 days at once, so Redis has dropped them
    counters = {keys.processed_total("default"): b"5", keys.failed_total("default"): b"2"}
    assert read_keyspace(redis_client) == expected | counters


async def test_the_days_counters_live_for_90_days_after_the_first_count(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    now = datetime.now(UTC)
    first, second = new_message(), new_message()
    seed_keyspace(redis_client, queue_content(active=_active(first, second)))
    await broker.settle("default", [Done(message=first)], now=now)
    await broker.settle("default", [Done(message=second)], now=now + timedelta(seconds=100))
    key = keys.processed("default", now.date())
    assert read_lifetimes(redis_client) == {key: codec.unix_seconds(now + timedelta(days=90))}
    assert redis_client.get(key) == b"2"


async def test_only_the_tasks_that_were_no_longer_active_are_refused(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    mine, gone, moved = new_message(id="mine"), new_message(id="gone"), new_message(id="moved")
    before = queue_content(active=_active(mine), retry=[(moved, _NOW_S)])
    seed_keyspace(redis_client, before)
    outcomes: list[Outcome] = [
        Done(message=gone),
        Requeue(message=moved),
        Archive(message=moved),
        Retry(message=moved, retry_at=_NOW),
        Complete(message=replace(moved, completed_at=_NOW, retention=_DAY)),
        Done(message=mine),
        Done(message=moved),
    ]
    assert await broker.settle("default", outcomes, now=_NOW) == [False, False, False, False, False, True, False]
    seen = read_keyspace(redis_client)
    assert seen.pop(keys.processed_total("default")) == b"1"
    assert seen == queue_content(retry=[(moved, _NOW_S)])


async def test_repeating_a_settlement_writes_nothing(broker: RedisBroker, redis_client: redis.Redis) -> None:
    message = new_message()
    seed_keyspace(redis_client, queue_content(active=_active(message)))
    outcome = Retry(message=replace(message, retried=1), retry_at=_NOW)
    assert await broker.settle("default", [outcome], now=_NOW) == [True]
    before = read_keyspace(redis_client)
    assert await broker.settle("default", [outcome], now=_NOW) == [False]
    assert read_keyspace(redis_client) == before


async def test_a_failed_attempt_whose_reply_was_lost_is_not_written_into_the_next_attempt(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    message = new_message()
    seed_keyspace(redis_client, queue_content(active=_active(message)))
    outcome = Retry(message=replace(message, retried=1, error="boom", last_failed_at=_NOW), retry_at=_NOW)
    assert await broker.settle("default", [outcome], now=_NOW) == [True]
    await broker.forward("default", now=_NOW)
    [leased] = (await broker.dequeue("default", limit=1, now=_NOW, lease=_DAY)).leased
    before = read_keyspace(redis_client)
    assert await broker.settle("default", [outcome], now=_NOW) == [False]
    assert read_keyspace(redis_client) == before
    second = Retry(message=replace(leased.message, retried=2), retry_at=_NOW)
    assert await broker.settle("default", [second], now=_NOW) == [True]


async def test_requeued_tasks_are_next_in_the_order_given(broker: RedisBroker, redis_client: redis.Redis) -> None:
    waiting = new_message(id="waiting")
    back = [new_message(id=f"back{n}") for n in range(3)]
    seed_keyspace(redis_client, queue_content(active=_active(*back), pending=[waiting]))
    await broker.settle("default", [Requeue(message=message) for message in back], now=_NOW)
    taken = await broker.dequeue("default", limit=4, now=_NOW, lease=_DAY)
    assert [leased.message.id for leased in taken.leased] == ["back0", "back1", "back2", "waiting"]


async def test_an_active_task_without_a_lease_can_be_settled(broker: RedisBroker, redis_client: redis.Redis) -> None:
    message = new_message()
    seed_keyspace(redis_client, queue_content(active=_active(message)))
    redis_client.delete(keys.lease("default"))
    assert await broker.settle("default", [Archive(message=message)], now=_NOW) == [True]
    seen = read_keyspace(redis_client)
    assert seen == queue_content(archived=[(message, _NOW_S)]) | {
        keys.processed_total("default"): b"1",
        keys.failed_total("default"): b"1",
    }


async def test_more_than_one_script_can_hold_are_settled_in_order(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    messages = [new_message(id=f"{n:04}") for n in range(2500)]
    seed_keyspace(redis_client, queue_content(active=_active(*messages)))
    assert all(await broker.settle("default", [Requeue(message=m) for m in messages], now=_NOW))
    assert redis_client.lrange(keys.pending("default"), 0, -1) == [m.id.encode() for m in reversed(messages)]
    assert redis_client.llen(keys.active("default")) == 0


@pytest.mark.one_server
async def test_outcomes_are_written_and_the_next_tasks_taken_in_one_round_trip(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    mine, gone, failed, following = (new_message(id=name) for name in ("mine", "gone", "failed", "following"))
    seed_keyspace(redis_client, queue_content(active=_active(mine, failed), pending=[following]))
    await broker.ping()
    reads = redis_client.info("stats")["total_reads_processed"]
    again = replace(failed, retried=1)
    outcomes: list[Outcome] = [Done(message=gone), Retry(message=again, retry_at=_NOW + _DAY), Done(message=mine)]
    settled, taken = await broker.settle_and_dequeue("default", outcomes, limit=2, now=_NOW, lease=_DAY)
    assert isinstance(taken, Dequeued)
    # a script's first call may be repeated with its text; the question itself is a read, too
    assert redis_client.info("stats")["total_reads_processed"] - reads <= 3
    assert settled == [False, True, True]
    assert [leased.message for leased in taken.leased] == [following]
    assert redis_client.lrange(keys.active("default"), 0, -1) == [b"following"]


async def test_outcomes_that_are_refused_do_not_lose_the_tasks_taken_on_the_way(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    mine, following = new_message(id="mine", retention=_DAY), new_message(id="following")
    seed_keyspace(redis_client, queue_content(active=_active(mine), pending=[following]))
    redis_client.set(keys.completed("default"), "not a set")
    outcome = Complete(message=replace(mine, completed_at=_NOW))
    settled, taken = await broker.settle_and_dequeue("default", [outcome], limit=2, now=_NOW, lease=_DAY)
    assert isinstance(settled, WrongType)
    assert isinstance(taken, Dequeued)
    assert [leased.message for leased in taken.leased] == [following]


async def test_tasks_that_cannot_be_taken_do_not_hide_what_became_of_outcomes(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    mine = new_message(id="mine")
    seed_keyspace(redis_client, queue_content(active=_active(mine)))
    redis_client.set(keys.pending("default"), "not a list")
    exchange = await broker.settle_and_dequeue("default", [Done(message=mine)], limit=2, now=_NOW, lease=_DAY)
    assert exchange.settled == [True]
    assert isinstance(exchange.taken, WrongType)


async def test_settling_nothing_is_nothing(broker: RedisBroker) -> None:
    assert await broker.settle("default", [], now=_NOW) == []


async def test_the_archive_keeps_the_newest_9999_and_trims_hashes_with_ids_a_chunk_at_a_time(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    old = [new_message(id=f"{n:05}", payload=None) for n in range(11_500)]
    pipeline = redis_client.pipeline(transaction=False)
    for number, message in enumerate(old):
        pipeline.hset(
            keys.task("default", message.id), mapping={"msg": codec.encode_task(message), "state": "archived"}
        )
        pipeline.zadd(keys.archived("default"), {message.id: _NOW_S - 20_000 + number})
    pipeline.execute()
    for expected in (10_501, 9_999, 9_999):
        message = new_message()
        seed_keyspace(redis_client, queue_content(active=_active(message)))
        await broker.settle("default", [Archive(message=message)], now=_NOW)
        assert redis_client.zcard(keys.archived("default")) == expected
        assert len(redis_client.keys(keys.task_prefix("default") + "*")) == expected
        assert redis_client.zscore(keys.archived("default"), message.id) == _NOW_S


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        (keys.retry, lambda message: Retry(message=message, retry_at=_NOW)),
        (keys.archived, lambda message: Archive(message=message)),
        (keys.completed, lambda message: Complete(message=message)),
        (keys.pending, lambda message: Requeue(message=message)),
    ],
    ids=["retry", "archive", "complete", "requeue"],
)
async def test_a_task_stays_active_while_there_is_nowhere_to_put_it(
    broker: RedisBroker,
    redis_client: redis.Redis,
    target: Callable[[str], str],
    outcome: Callable[[TaskMessage], Outcome],
) -> None:
    message = new_message(retention=_DAY, completed_at=_NOW)
    before = queue_content(active=_active(message)) | {target("default"): b"text"}
    seed_keyspace(redis_client, before)
    with pytest.raises(WrongType, match=re.escape(target("default"))):
        await broker.settle("default", [outcome(message)], now=_NOW)
    assert read_keyspace(redis_client) == before


async def test_a_lock_of_another_type_is_left_alone_and_stops_no_outcome(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    locked, kept, plain = (
        new_message(unique_key="lock"),
        new_message(unique_key="lock", retention=_DAY, completed_at=_NOW),
        new_message(),
    )
    seed_keyspace(redis_client, queue_content(active=_active(plain, locked, kept)) | {"lock": [b"text"]})
    outcomes = [Done(message=plain), Done(message=locked), Complete(message=kept)]
    assert await broker.settle("default", outcomes, now=_NOW) == [True, True, True]
    expected = queue_content(completed=[(kept, _NOW_S + 86400)]) | {"lock": [b"text"]}
    assert read_keyspace(redis_client) == expected | {keys.processed_total("default"): b"3"}


async def test_a_retention_beyond_the_calendar_is_kept_and_stops_no_other_outcome(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    # what a peer's retention of 2⁶² seconds is read as
    kept, done = new_message(retention=timedelta.max, completed_at=_NOW), new_message()
    seed_keyspace(redis_client, queue_content(active=_active(kept, done)))
    assert await broker.settle("default", [Complete(message=kept), Done(message=done)], now=_NOW) == [True, True]
    seconds = timedelta.max // timedelta(seconds=1)
    assert redis_client.zscore(keys.completed("default"), kept.id) == _NOW_S + seconds
    assert redis_client.llen(keys.active("default")) == 0


@pytest.mark.parametrize("length", [10, 300, 5000])
async def test_a_task_is_found_wherever_it_lies_among_the_active_ones(
    broker: RedisBroker, redis_client: redis.Redis, length: int
) -> None:
    ids = [f"{number:04}" for number in range(length)]
    redis_client.rpush(keys.active("default"), *ids)
    # next to both ends, in the middle, an unknown one in between, and again near the other end
    wanted = ["0000", ids[-1], ids[length // 2], "gone", "0002", ids[-3]]
    outcomes = [Done(message=new_message(id=task_id)) for task_id in wanted]
    assert await broker.settle("default", outcomes, now=_NOW) == [task_id != "gone" for task_id in wanted]
    left = [task_id.encode() for task_id in ids if task_id not in wanted]
    assert redis_client.lrange(keys.active("default"), 0, -1) == left


@pytest.mark.parametrize("value", [b"many", b"9223372036854775807", [b"a list"]])
async def test_a_counter_that_cannot_be_counted_on_stops_no_outcome_and_hides_no_task_taken_beside_it(
    broker: RedisBroker, redis_client: redis.Redis, value: bytes | list[bytes]
) -> None:
    now = datetime.now(UTC)
    ending = [new_message(id=name, retention=_DAY, completed_at=now) for name in ("done", "kept", "failed", "dead")]
    day = now.date()
    counters = [keys.processed_total("default"), keys.failed_total("default")]
    counters += [keys.processed("default", day), keys.failed("default", day)]
    seed_keyspace(redis_client, queue_content(active=_active(*ending), pending=[new_message(id="next")]))
    seed_keyspace(redis_client, dict.fromkeys(counters, value))
    done, kept, failed, dead = ending
    outcomes: list[Outcome] = [
        Done(message=done),
        Complete(message=kept),
        Retry(message=replace(failed, retried=1), retry_at=now),
        Archive(message=dead),
    ]
    exchange = await broker.settle_and_dequeue("default", outcomes, limit=1, now=now, lease=_DAY)
    assert exchange.settled == [True] * 4
    assert isinstance(exchange.taken, Dequeued)
    assert [leased.message.id for leased in exchange.taken.leased] == ["next"]
    for counter in counters:
        if isinstance(value, list):
            assert redis_client.lrange(counter, 0, -1) == value  # not ours
        else:
            assert int(redis_client.get(counter)) <= 4
