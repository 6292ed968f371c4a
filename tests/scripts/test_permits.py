"""Permits on a real Redis: whole key spaces before and after, and the arithmetic compared with policy/limits.py.

Left out: servers that use them (tests/runtime/test_limits.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from longshore.broker.base import Done, Leased, Requeue
from longshore.broker.permits_base import Admission, Asker, Permitted, Taken
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import WrongType
from longshore.policy.limits import Limit, RateLimit
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.testing import new_message, queue_content, read_keyspace, seed_keyspace
from policy.rate_reference import next_start

QUEUE = "default"
ONE_AT_ONCE = Limit(max_concurrency=1)
ONE_A_MINUTE = Limit(rate=RateLimit.of("1/m"))


def asker(server: str = "one", *, horizon_s: float = 0.25) -> Asker:
    return Asker(
        server_id=server,
        lease=timedelta(seconds=30),
        grace=timedelta(seconds=15),
        horizon=timedelta(seconds=horizon_s),
    )


def tasks(*ids: str) -> list[TaskMessage]:
    return [new_message(id=task_id) for task_id in ids]


def seed(client: redis.Redis, *messages: TaskMessage) -> None:
    seed_keyspace(client, queue_content(pending=messages))


async def dequeued(broker: RedisBroker, count: int = 100) -> list[Permitted]:
    taken = await broker.dequeue(QUEUE, limit=count, now=datetime.now(UTC), lease=timedelta(seconds=30))
    return [Permitted(leased=leased, after_s=0.0) for leased in taken.leased]


async def admit(
    broker: RedisBroker, asked: Iterable[Permitted], limit: Limit, *, holds: int = 100, **options: Any
) -> Admission:
    return await broker.permits.admit(QUEUE, list(asked), name="mail", limit=limit, holds=holds, asker=asker(**options))


async def take(
    broker: RedisBroker,
    limit: Limit,
    *,
    most: int = 100,
    holds: int = 100,
    queue_limit: Limit | None = None,
    **options: Any,
) -> Taken:
    return await broker.permits.take_from_line(
        QUEUE,
        name="mail",
        limit=limit,
        queue_limit=queue_limit,
        most=most,
        holds=holds,
        now=datetime.now(UTC),
        asker=asker(**options),
    )


def ids(found: Admission | Taken) -> list[str]:
    leased = [one.leased for one in found.permitted] if isinstance(found, Admission) else found.tasks.leased
    return [one.message.id for one in leased]


def waiting(found: Admission) -> list[str]:
    return [one.message.id for one in found.waiting]


def line(client: redis.Redis) -> list[str]:
    return [member.decode() for member in client.zrange(keys.limit_line(QUEUE, "mail"), 0, -1)]


async def done(broker: RedisBroker, *leased: Leased) -> None:
    await broker.settle(QUEUE, [Done(message=one.message) for one in leased], now=datetime.now(UTC))


async def test_what_may_not_begin_is_scheduled_and_otherwise_unchanged(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    first, second = tasks("a", "b")
    seed(redis_client, first, second)
    asked = await dequeued(broker)
    result = await admit(broker, asked, ONE_AT_ONCE)
    assert (ids(result), waiting(result), result.line, result.lost) == (["a"], ["b"], 1, ())
    seen = read_keyspace(redis_client)
    due = seen[keys.scheduled(QUEUE)][b"b"]
    lease_s = codec.unix_seconds(asked[0].leased.lease_expires_at)
    place = seen.pop(keys.limit_line(QUEUE, "mail"))
    assert list(place) == [b"b"]
    assert seen == queue_content(active=[(first, lease_s)], scheduled=[(second, due)]) | {
        keys.limit(QUEUE, "mail"): {b"declared": b"1 at once"},
        keys.limit_running(QUEUE, "mail"): {b"a"},
        keys.limit_due(QUEUE, "mail"): {b"b": str(int(due)).encode()},
        keys.lines(QUEUE): {b"mail"},
    }


async def test_who_waits_longest_begins_when_a_place_is_free(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "b", "c"))
    [first] = (await admit(broker, await dequeued(broker), ONE_AT_ONCE)).permitted
    none = await take(broker, ONE_AT_ONCE)
    assert (ids(none), none.line, none.again) == ([], 2, "ended")
    await done(broker, first.leased)
    second = await take(broker, ONE_AT_ONCE)
    assert (ids(second), second.line) == (["b"], 1)
    await done(broker, *second.tasks.leased)
    third = await take(broker, ONE_AT_ONCE)
    assert (ids(third), third.line, redis_client.exists(keys.lines(QUEUE))) == (["c"], 0, 0)


async def test_nobody_passes_the_line(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "b"))
    [first] = (await admit(broker, await dequeued(broker), ONE_AT_ONCE)).permitted
    await done(broker, first.leased)
    seed(redis_client, *tasks("late"))
    assert waiting(await admit(broker, await dequeued(broker), ONE_AT_ONCE)) == ["late"]
    assert ids(await take(broker, ONE_AT_ONCE)) == ["b"]
    assert line(redis_client) == ["late"]


async def test_a_place_is_given_back_by_whatever_ends_the_task_and_only_once(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed(redis_client, *tasks("a", "b", "c"))
    limit = Limit(max_concurrency=2)
    first, second = (await admit(broker, await dequeued(broker), limit)).permitted
    for _ in range(3):
        await broker.settle(QUEUE, [Requeue(message=first.leased.message)], now=datetime.now(UTC))
    assert ids(await take(broker, limit)) == ["c"]
    assert ids(await take(broker, limit)) == []
    redis_client.zadd(keys.lease(QUEUE), {second.leased.message.id: datetime.now(UTC).timestamp() - 60})
    assert waiting(await admit(broker, await dequeued(broker), limit)) == []  # "b" is taken for dead, "a" is back


async def test_a_place_outlives_its_lease_by_the_grace(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "b"))
    await admit(broker, await dequeued(broker), ONE_AT_ONCE)
    now_s = int(datetime.now(UTC).timestamp())
    redis_client.zadd(keys.lease(QUEUE), {"a": now_s - 5})
    assert ids(await take(broker, ONE_AT_ONCE)) == []
    redis_client.zadd(keys.lease(QUEUE), {"a": now_s - 17})
    assert ids(await take(broker, ONE_AT_ONCE)) == ["b"]


async def test_repeating_a_call_whose_reply_was_lost_changes_nothing(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed(redis_client, *tasks("a", "b"))
    asked = await dequeued(broker)
    await admit(broker, asked, ONE_AT_ONCE)
    before = read_keyspace(redis_client)
    again = await admit(broker, asked[1:], ONE_AT_ONCE)
    assert ([one.message.id for one in again.lost], read_keyspace(redis_client)) == (["b"], before)


async def test_a_task_that_was_due_keeps_its_place(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "b", "c"))
    [first] = (await admit(broker, await dequeued(broker), ONE_AT_ONCE)).permitted
    await broker.forward(QUEUE, now=datetime.now(UTC) + timedelta(hours=1))
    assert redis_client.llen(keys.pending(QUEUE)) == 2
    assert waiting(await admit(broker, await dequeued(broker, 1), ONE_AT_ONCE)) == ["b"]
    assert line(redis_client) == ["b", "c"]
    await done(broker, first.leased)
    second = await take(broker, ONE_AT_ONCE)  # scheduled
    await done(broker, *second.tasks.leased)
    third = await take(broker, ONE_AT_ONCE)  # pending still
    assert (ids(second), ids(third), redis_client.llen(keys.pending(QUEUE))) == (["b"], ["c"], 0)


async def test_a_task_that_is_gone_from_the_line_is_passed_over(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "deleted", "another", "empty", "last"))
    [first] = (await admit(broker, await dequeued(broker), ONE_AT_ONCE)).permitted
    for name in ("deleted", "another"):
        redis_client.zrem(keys.scheduled(QUEUE), name)
        redis_client.delete(keys.task(QUEUE, name))
    redis_client.delete(keys.task(QUEUE, "empty"))
    tomorrow = int(datetime.now(UTC).timestamp()) + 86400
    seed_keyspace(redis_client, queue_content(scheduled=[(new_message(id="another"), tomorrow)]))
    await done(broker, first.leased)
    found = await take(broker, ONE_AT_ONCE)
    assert (ids(found), [one.task_id for one in found.tasks.unreadable], found.line) == (["last"], ["empty"], 0)
    assert redis_client.zscore(keys.scheduled(QUEUE), "another") == tomorrow


async def test_a_paused_queue_gives_nothing_out_of_its_line(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "b"))
    [first] = (await admit(broker, await dequeued(broker), ONE_AT_ONCE)).permitted
    await done(broker, first.leased)
    redis_client.set(keys.paused(QUEUE), 1)
    found = await take(broker, ONE_AT_ONCE)
    assert (ids(found), found.line, found.again) == ([], 1, timedelta(seconds=1))


@pytest.mark.parametrize("burst", [1, 7])
async def test_starts_are_those_of_the_reference(broker: RedisBroker, redis_client: redis.Redis, burst: int) -> None:
    rate = RateLimit(count=40, per=timedelta(seconds=10), burst=burst)
    limit = Limit(rate=rate)
    pace_us = 0
    for number in range(6):
        seed(redis_client, *tasks(*(f"{number}-{i}" for i in range(burst + number + 1))))
        asked = await dequeued(broker)
        result = await admit(broker, asked, limit, horizon_s=3600.0)
        assert len(result.permitted) == len(asked)
        # Redis' clock at that moment is the one thing the reference cannot know; the last start, which had to wait,
        # tells it.
        after_us = int(redis_client.hget(keys.limit(QUEUE, "mail"), "pace"))
        last_us = round(result.permitted[-1].after_s * 1_000_000)
        now_us = after_us - rate.step_us - rate.tolerance_us - last_us
        assert last_us > 0
        for one in result.permitted:
            start = next_start(rate, pace_us=pace_us, now_us=now_us)
            pace_us = start.pace_us
            assert round(one.after_s * 1_000_000) == start.at_us - now_us
        assert pace_us == after_us
        await asyncio.sleep(0.05)


async def test_starts_beyond_the_horizon_are_not_given(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks(*(str(number) for number in range(20))))
    limit = Limit(rate=RateLimit.of("10/s"))
    result = await admit(broker, await dequeued(broker), limit)
    assert ids(result) == ["0", "1", "2"]
    assert [round(one.after_s, 1) for one in result.permitted] == [0.0, 0.1, 0.2]
    found = await take(broker, limit)
    assert isinstance(found.again, timedelta)
    assert (ids(found), found.line) in (([], 17), (["3"], 16))
    # seen by everyone as scheduled, each a little after its turn
    scores = [score for _, score in redis_client.zrange(keys.scheduled(QUEUE), 0, -1, withscores=True)]
    assert scores == sorted(scores)
    assert 30 <= scores[0] - datetime.now(UTC).timestamp() <= scores[-1] - datetime.now(UTC).timestamp() <= 34


async def test_no_more_starts_are_given_ahead_than_tasks_may_be_held(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed(redis_client, *tasks(*(str(number) for number in range(20))))
    limit = Limit(rate=RateLimit.of("20/s"))
    result = await admit(broker, await dequeued(broker, 10), limit, holds=2)
    assert (ids(result), result.line) == (["0", "1", "2"], 7)
    found = await take(broker, limit, holds=0)
    assert (ids(found), found.again) == ([], "begun")
    found = await take(broker, limit, holds=1)
    assert (ids(found), found.again) == (["3"], "begun")
    within = await broker.permits.dequeue_within(
        QUEUE, limit=limit, most=10, holds=3, now=datetime.now(UTC), asker=asker()
    )
    assert (len(within.after_s), within.after_s[0], within.again) == (4, 0.0, "begun")


async def test_a_limit_of_a_queue_leaves_the_rest_pending(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "b", "c"))

    async def dequeue(limit: Limit, server: str = "one", holds: int = 100) -> Taken:
        return await broker.permits.dequeue_within(
            QUEUE, limit=limit, most=10, holds=holds, now=datetime.now(UTC), asker=asker(server)
        )

    limit = Limit(max_concurrency=2)
    found = await dequeue(limit)
    assert (ids(found), found.again, redis_client.llen(keys.pending(QUEUE))) == (["a", "b"], "ended", 1)
    assert ids(await dequeue(limit)) == []
    await done(broker, *found.tasks.leased)
    found = await dequeue(limit)
    assert (ids(found), found.again) == (["c"], None)
    seed(redis_client, *tasks("d", "e"))
    found = await dequeue(ONE_A_MINUTE)
    assert ids(found) == ["d"]
    assert isinstance(found.again, timedelta)
    assert 59 < found.again.total_seconds() < 60


async def test_a_limit_of_the_queue_holds_for_its_lines_too(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "b", "c"))
    limit, whole = Limit(max_concurrency=1), Limit(max_concurrency=2)
    [first] = (await admit(broker, await dequeued(broker), limit)).permitted
    seed(redis_client, *tasks("other", "more"))
    await dequeued(broker)
    await done(broker, first.leased)
    assert ids(await take(broker, limit, queue_limit=whole)) == []
    assert ids(await take(broker, limit, queue_limit=Limit(max_concurrency=3))) == ["b"]


async def test_servers_that_declare_other_limits_hear_of_it(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "b"))
    asked = await dequeued(broker)
    assert (await admit(broker, asked[:1], ONE_AT_ONCE)).declared_otherwise == ""
    assert (await admit(broker, asked[1:], Limit(max_concurrency=2))).declared_otherwise == "1 at once"
    assert (await take(broker, Limit(max_concurrency=2))).declared_otherwise == ""


async def test_who_has_asked_in_vain_for_seconds_goes_first(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed(redis_client, *tasks("a", "b", "c"))
    [first] = (await admit(broker, await dequeued(broker), ONE_AT_ONCE)).permitted
    await take(broker, ONE_AT_ONCE, server="starved")
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    redis_client.hset(keys.limit(QUEUE, "mail"), "asked:starved", f"{now_us}:{now_us - 10_000_000}")
    await done(broker, first.leased)
    refused = await take(broker, ONE_AT_ONCE, server="greedy")
    assert (ids(refused), refused.goes_first) == ([], "starved")
    found = await take(broker, ONE_AT_ONCE, server="starved")
    assert ids(found) == ["b"]
    await done(broker, *found.tasks.leased)
    assert ids(await take(broker, ONE_AT_ONCE, server="greedy")) == ["c"]


async def test_nobody_yields_to_a_server_that_has_stopped_asking(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed(redis_client, *tasks("a", "b"))
    [first] = (await admit(broker, await dequeued(broker), ONE_AT_ONCE)).permitted
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    redis_client.hset(keys.limit(QUEUE, "mail"), "asked:dead", f"{now_us - 3_000_000}:{now_us - 60_000_000}")
    await done(broker, first.leased)
    assert ids(await take(broker, ONE_AT_ONCE)) == ["b"]
    assert redis_client.hget(keys.limit(QUEUE, "mail"), "asked:dead") is None


async def test_a_key_of_another_type_is_named_and_no_task_is_touched(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed(redis_client, *tasks("a"))
    asked = await dequeued(broker)
    redis_client.set(keys.limit_line(QUEUE, "mail"), "oops")
    with pytest.raises(WrongType, match="limit-line"):
        await admit(broker, asked, ONE_AT_ONCE)
    assert redis_client.lrange(keys.active(QUEUE), 0, -1) == [b"a"]
