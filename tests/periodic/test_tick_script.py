"""The tick script and the lease scripts on a real Redis: seed, act once, compare everything.

Shown of a tick: that it and its record are one step, that nothing makes it happen twice, and what stays untouched when
it is refused. Left out: which ticks there are (test_due.py), and who calls when (test_scheduler.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from longshore.broker.base import RedisSettings
from longshore.broker.periodic import RedisPeriodicStore
from longshore.broker.periodic_base import RecordName, Tick, TickReply, TickResult
from longshore.broker.topology import open_redis
from longshore.errors import InvalidData, WrongType
from longshore.protocol import codec
from longshore.protocol.messages import TaskMessage
from longshore.protocol.periodic import Overlap, TickRecord, decode_lease
from longshore.testing import read_keyspace, seed_keyspace

NOW = datetime(2026, 3, 10, 12, 0, 30, 250_000, tzinfo=UTC)
TICK = datetime(2026, 3, 10, 12, 0, 30, tzinfo=UTC)
BEFORE = TICK - timedelta(seconds=30)
TICK_S, BEFORE_S = str(int(TICK.timestamp())), str(int(BEFORE.timestamp()))

RECORD = "longshore:{default}:periodic:shop:main:daily"
TASK_ID = f"periodic:shop:main:daily:{TICK_S}"
TASK = f"asynq:{{default}}:t:{TASK_ID}"
PENDING = "asynq:{default}:pending"
LOCK = "asynq:{default}:unique:report:daily:"
QUEUES = {"asynq:queues": {b"default"}}
MESSAGE = TaskMessage(type="report:daily", id=TASK_ID, queue="default", timeout=timedelta(minutes=30))


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisPeriodicStore]:
    connection = open_redis(RedisSettings(url=redis_url))
    yield RedisPeriodicStore(connection)
    await connection.aclose()


def new_tick(**changes: Any) -> Tick:
    fields: dict[str, Any] = {
        "record": RecordName(queue="default", entry_id="shop:main:daily"),
        "after": BEFORE,
        "tick": TICK,
        "message": MESSAGE,
    }
    return Tick(**{**fields, **changes})


def with_lock() -> Tick:
    message = TaskMessage(
        type="report:daily", id=TASK_ID, queue="default", timeout=timedelta(minutes=30), unique_key=LOCK
    )
    return new_tick(message=message, unique_for=timedelta(hours=1))


def created(tick: Tick, **more: bytes) -> dict[bytes, bytes]:
    """The hash of the tick's task."""
    assert tick.message is not None
    return {
        b"msg": codec.encode_task(tick.message),
        b"state": b"pending",
        b"pending_since": str(int(NOW.timestamp() * 1_000_000) * 1000).encode(),
        **{name.encode(): value for name, value in more.items()},
    }


def fields(**values: str) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in values.items()}


OLD_RECORD = fields(last_tick=BEFORE_S, last_task_id="old", enqueued="4", missed="2")
NEW_RECORD = fields(last_tick=TICK_S, last_task_id=TASK_ID, enqueued="5", missed="2")


async def carry_out(store: RedisPeriodicStore, *ticks: Tick) -> list[TickReply | InvalidData]:
    return await store.tick(ticks, now=NOW)


async def test_a_tick_creates_its_task_and_moves_the_record(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, {RECORD: OLD_RECORD, PENDING: [b"other"]})
    assert await carry_out(store, new_tick()) == [TickReply(result=TickResult.ENQUEUED, last_tick=TICK)]
    assert read_keyspace(redis_client) == {
        **QUEUES,
        RECORD: NEW_RECORD,
        TASK: created(new_tick()),
        PENDING: [TASK_ID.encode(), b"other"],
    }


async def test_the_first_tick_of_an_entry_begins_the_record(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    assert await carry_out(store, new_tick(after=None, missed=3)) == [
        TickReply(result=TickResult.ENQUEUED, last_tick=TICK)
    ]
    assert read_keyspace(redis_client) == {
        **QUEUES,
        RECORD: fields(last_tick=TICK_S, last_task_id=TASK_ID, enqueued="1", missed="3"),
        TASK: created(new_tick()),
        PENDING: [TASK_ID.encode()],
    }


async def test_the_same_tick_a_second_time_changes_nothing(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    await carry_out(store, new_tick(after=None))
    redis_client.delete(TASK, PENDING)  # the task is done and gone: its id alone would not stop a second one
    before = read_keyspace(redis_client)
    assert await carry_out(store, new_tick(after=None)) == [TickReply(result=TickResult.OVERTAKEN, last_tick=TICK)]
    assert read_keyspace(redis_client) == before


OVERTAKEN = {
    "the record has reached the tick": (TICK_S, BEFORE),
    "the record is beyond the tick": (str(int(TICK_S) + 30), BEFORE),
    "the record is beyond the tick and the caller knows": (
        str(int(TICK_S) + 30), TICK + timedelta(seconds=30)),
    "another tick was recorded since the decision": (str(int(BEFORE_S) + 10), BEFORE),
    "the record began since the decision": (BEFORE_S, None),
}  # fmt: skip


@pytest.mark.parametrize(("last", "decided_on"), OVERTAKEN.values(), ids=OVERTAKEN)
async def test_nothing_is_written_when(
    store: RedisPeriodicStore, redis_client: redis.Redis, last: str, decided_on: datetime | None
) -> None:
    seed_keyspace(redis_client, {RECORD: fields(last_tick=last, enqueued="4")})
    before = read_keyspace(redis_client)
    reply = TickReply(result=TickResult.OVERTAKEN, last_tick=datetime.fromtimestamp(int(last), UTC))
    for tick in (
        new_tick(after=decided_on, missed=1),
        new_tick(after=decided_on, missed=1, message=None),
    ):
        assert await carry_out(store, tick) == [reply]
        assert read_keyspace(redis_client) | QUEUES == before | QUEUES


@pytest.mark.parametrize("last", ["soon", "9" * 30])
async def test_a_record_that_became_unreadable_refuses_its_tick_alone(
    store: RedisPeriodicStore, redis_client: redis.Redis, last: str
) -> None:
    seed_keyspace(redis_client, {RECORD: fields(last_tick=last)})
    elsewhere = new_tick(
        record=RecordName(queue="other", entry_id="shop:main:hourly"),
        after=None,
        message=TaskMessage(type="t", id="x", queue="other"),
    )
    refused, carried_out = await carry_out(store, new_tick(), elsewhere)
    assert isinstance(refused, InvalidData)
    assert carried_out == TickReply(result=TickResult.ENQUEUED, last_tick=TICK)
    assert redis_client.hgetall(RECORD) == fields(last_tick=last)


async def test_a_record_that_was_lost_is_told_to_a_caller_who_relied_on_it(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    assert await carry_out(store, new_tick()) == [TickReply(result=TickResult.OVERTAKEN, last_tick=None)]
    assert read_keyspace(redis_client) == QUEUES


async def test_ticks_given_up_are_counted_without_a_task(store: RedisPeriodicStore, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, {RECORD: OLD_RECORD})
    assert await carry_out(store, new_tick(message=None, missed=7)) == [
        TickReply(result=TickResult.RECORDED, last_tick=TICK)
    ]
    assert read_keyspace(redis_client) == {
        RECORD: fields(last_tick=TICK_S, last_task_id="old", enqueued="4", missed="9")
    }


async def test_a_tick_whose_task_exists_is_recorded_and_creates_none(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    # The record was lost, the task was not.
    seed_keyspace(redis_client, {TASK: {"msg": b"kept", "state": b"archived"}})
    assert await carry_out(store, new_tick(after=None)) == [TickReply(result=TickResult.ID_CONFLICT, last_tick=TICK)]
    assert read_keyspace(redis_client) == {
        **QUEUES,
        RECORD: fields(last_tick=TICK_S, last_task_id=TASK_ID, skipped="1"),
        TASK: fields(msg="kept", state="archived"),
    }


OLD_TASK = "asynq:{default}:t:old"
UNFINISHED = ["pending", "scheduled", "aggregating", "retry", "active"]


@pytest.mark.parametrize("state", UNFINISHED)
async def test_a_tick_is_skipped_while_the_task_of_an_earlier_one_has_not_ended(
    store: RedisPeriodicStore, redis_client: redis.Redis, state: str
) -> None:
    tick = new_tick(overlap=Overlap.FORBID)
    seed_keyspace(redis_client, {RECORD: OLD_RECORD, OLD_TASK: fields(state=state)})
    assert await carry_out(store, tick) == [TickReply(result=TickResult.OVERLAPPING, last_tick=TICK)]
    skipped = {**OLD_RECORD, b"last_tick": TICK_S.encode(), b"skipped": b"1"}
    assert read_keyspace(redis_client) == {**QUEUES, RECORD: skipped, OLD_TASK: fields(state=state)}
    # what counts is still the task that has not ended, not a tick that created none
    after = TICK + timedelta(seconds=30)
    [reply] = await carry_out(store, new_tick(after=TICK, tick=after, overlap=Overlap.FORBID))
    assert reply == TickReply(result=TickResult.OVERLAPPING, last_tick=after)


@pytest.mark.parametrize(
    ("state", "overlap"),
    [(state, Overlap.FORBID) for state in ("completed", "archived", None)]
    + [(state, Overlap.ALLOW) for state in UNFINISHED],
)
async def test_a_tick_runs_when_the_earlier_task_has_ended_or_they_may_overlap(
    store: RedisPeriodicStore, redis_client: redis.Redis, state: str | None, overlap: Overlap
) -> None:
    old = {} if state is None else {OLD_TASK: fields(state=state)}
    seed_keyspace(redis_client, {RECORD: OLD_RECORD, **old})
    assert await carry_out(store, new_tick(overlap=overlap)) == [TickReply(result=TickResult.ENQUEUED, last_tick=TICK)]
    assert read_keyspace(redis_client) == {
        **QUEUES,
        **old,
        RECORD: NEW_RECORD,
        TASK: created(new_tick()),
        PENDING: [TASK_ID.encode()],
    }


async def test_of_ticks_to_catch_up_that_may_not_overlap_the_first_runs(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    first = new_tick(after=None, overlap=Overlap.FORBID)
    second = new_tick(
        after=TICK, tick=TICK + timedelta(seconds=30), message=replace(MESSAGE, id="second"), overlap=Overlap.FORBID
    )
    replies = await carry_out(store, first, second)
    assert [reply.result for reply in replies if isinstance(reply, TickReply)] == [
        TickResult.ENQUEUED,
        TickResult.OVERLAPPING,
    ]
    assert redis_client.lrange(PENDING, 0, -1) == [TASK_ID.encode()]


async def test_a_task_whose_key_is_no_hash_does_not_hold_up_the_ticks(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, {RECORD: OLD_RECORD, OLD_TASK: b"text"})
    [reply] = await carry_out(store, new_tick(overlap=Overlap.FORBID))
    assert reply == TickReply(result=TickResult.ENQUEUED, last_tick=TICK)


async def test_a_tick_takes_its_unique_lock(store: RedisPeriodicStore, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, {RECORD: OLD_RECORD})
    assert await carry_out(store, with_lock()) == [TickReply(result=TickResult.ENQUEUED, last_tick=TICK)]
    assert read_keyspace(redis_client) == {
        **QUEUES,
        RECORD: NEW_RECORD,
        TASK: created(with_lock(), unique_key=LOCK.encode()),
        PENDING: [TASK_ID.encode()],
        LOCK: TASK_ID.encode(),
    }
    assert redis_client.ttl(LOCK) == 3600


async def test_a_tick_whose_lock_is_held_is_recorded_and_creates_none(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, {RECORD: OLD_RECORD, LOCK: b"another"})
    assert await carry_out(store, with_lock()) == [TickReply(result=TickResult.DUPLICATE, last_tick=TICK)]
    assert read_keyspace(redis_client) == {
        **QUEUES,
        RECORD: {**OLD_RECORD, b"last_tick": TICK_S.encode(), b"skipped": b"1"},
        LOCK: b"another",
    }


async def test_ticks_to_catch_up_follow_one_another_in_one_round_trip(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    ticks, after = [], None
    for number in range(3):
        at = BEFORE + timedelta(seconds=10 * number)
        message = TaskMessage(type="t", id=f"task-{number}", queue="default")
        ticks.append(new_tick(after=after, tick=at, missed=5 if number == 0 else 0, message=message))
        after = at
    assert await carry_out(store, *ticks) == [
        TickReply(result=TickResult.ENQUEUED, last_tick=tick.tick) for tick in ticks
    ]
    assert redis_client.lrange(PENDING, 0, -1) == [b"task-2", b"task-1", b"task-0"]
    assert redis_client.hgetall(RECORD) == fields(
        last_tick=str(int(BEFORE_S) + 20), last_task_id="task-2", enqueued="3", missed="5"
    )


WRONG_TYPES = {
    "the pending list": (PENDING, {RECORD: OLD_RECORD, PENDING: b"text"}),
    "the record": (RECORD, {RECORD: [b"list"]}),
}


@pytest.mark.parametrize(("key", "content"), WRONG_TYPES.values(), ids=WRONG_TYPES)
async def test_a_key_of_another_type_refuses_its_tick_alone_and_nothing_is_half_written(
    store: RedisPeriodicStore, redis_client: redis.Redis, key: str, content: dict[str, Any]
) -> None:
    seed_keyspace(redis_client, content)
    before = read_keyspace(redis_client)
    elsewhere = new_tick(
        record=RecordName(queue="other", entry_id="shop:main:hourly"),
        after=None,
        message=TaskMessage(type="t", id="x", queue="other"),
    )
    refused, carried_out = await carry_out(store, new_tick(), elsewhere)
    assert isinstance(refused, WrongType)
    assert key in str(refused)
    assert carried_out == TickReply(result=TickResult.ENQUEUED, last_tick=TICK)
    after = read_keyspace(redis_client)
    assert {key: after[key] for key in before} == before
    assert TASK not in after


async def test_records_are_read_in_order_and_a_bad_one_alone_fails(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    def name_of(name: str) -> RecordName:
        return RecordName(queue="default", entry_id=f"shop:main:{name}")

    seed_keyspace(
        redis_client,
        {
            RECORD: {**OLD_RECORD, b"skipped": b"1"},
            "longshore:{default}:periodic:shop:main:list": [b"x"],
            "longshore:{default}:periodic:shop:main:text": {"last_tick": b"soon"},
        },
    )
    names = [name_of(name) for name in ("none", "daily", "list", "text")]
    none, daily, wrong, garbled = await store.read_records(names)
    assert none == TickRecord()
    assert daily == TickRecord(last_tick=BEFORE, last_task_id="old", missed=2, enqueued=4, skipped=1)
    assert isinstance(wrong, WrongType)
    assert isinstance(garbled, InvalidData)


async def test_a_report_of_errors_replaces_the_one_before(store: RedisPeriodicStore, redis_client: redis.Redis) -> None:
    await store.write_errors("shop/main", {"daily": "schedule: is empty", "hourly": "x"})
    await store.write_errors("shop/main", {"daily": "schedule: is still empty"})
    assert read_keyspace(redis_client) == {
        "longshore:periodic-errors:shop/main": {b"daily": b"schedule: is still empty"}
    }
    await store.write_errors("shop/main", {})
    assert read_keyspace(redis_client) == {}


# -- the lease ---------------------------------------------------------------------------------------------------------

LEASE = "longshore:scheduler:shop/main"


async def hold(store: RedisPeriodicStore, holder: str) -> bool:
    return await store.hold_lease("shop/main", holder, now=NOW, lifetime=timedelta(seconds=6))


async def test_a_free_lease_is_taken(store: RedisPeriodicStore, redis_client: redis.Redis) -> None:
    assert await hold(store, "a:1:x")
    assert decode_lease(redis_client.get(LEASE)) == ("a:1:x", NOW.replace(microsecond=0))
    assert 5000 < redis_client.pttl(LEASE) <= 6000


async def test_a_held_lease_is_refused_to_another_and_stays(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    await hold(store, "a:1:x")
    redis_client.pexpire(LEASE, 3000)
    before = redis_client.get(LEASE)
    assert not await hold(store, "b:2:y")
    assert redis_client.get(LEASE) == before
    assert redis_client.pttl(LEASE) <= 3000


async def test_the_holder_renews_its_lease_and_keeps_its_beginning(
    store: RedisPeriodicStore, redis_client: redis.Redis
) -> None:
    await hold(store, "a:1:x")
    redis_client.pexpire(LEASE, 3000)
    later = NOW + timedelta(seconds=4)
    assert await store.hold_lease("shop/main", "a:1:x", now=later, lifetime=timedelta(seconds=6))
    assert decode_lease(redis_client.get(LEASE)) == ("a:1:x", NOW.replace(microsecond=0))
    assert redis_client.pttl(LEASE) > 5000


async def test_a_lease_without_a_lifetime_is_taken_over(store: RedisPeriodicStore, redis_client: redis.Redis) -> None:
    redis_client.set(LEASE, '{"holder": "by hand", "since": 1}')
    assert await hold(store, "a:1:x")
    assert 5000 < redis_client.pttl(LEASE) <= 6000


@pytest.mark.parametrize("value", ["no JSON", "[]", '"a:1:x"', "{}"])
async def test_a_lease_that_cannot_be_read_is_anothers(
    store: RedisPeriodicStore, redis_client: redis.Redis, value: str
) -> None:
    redis_client.set(LEASE, value, px=3000)
    assert not await hold(store, "a:1:x")
    await store.release_lease("shop/main", "a:1:x")
    assert redis_client.get(LEASE) == value.encode()


async def test_only_its_holder_releases_a_lease(store: RedisPeriodicStore, redis_client: redis.Redis) -> None:
    await hold(store, "a:1:x")
    await store.release_lease("shop/main", "b:2:y")
    assert redis_client.exists(LEASE)
    await store.release_lease("shop/main", "a:1:x")
    assert not redis_client.exists(LEASE)
    await store.release_lease("shop/main", "a:1:x")
