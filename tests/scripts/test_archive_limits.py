"""A queue's own limits of its archive: workers archive by them, and an archive beyond them is trimmed in small steps.

Left out: Asynq's limits, which hold without them (test_settle.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import redis

from longshore import Inspector, InvalidOption
from longshore.broker.base import Archive
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.protocol.snapshots import ArchiveLimits, ArchiveTrim
from longshore.testing import new_message, queue_content, read_keyspace, seed_keyspace

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
NOW_S = codec.unix_seconds(NOW)
HOUR = timedelta(hours=1)
LIMITS_KEY = keys.archive_limits("default")


@pytest.fixture
async def inspector(broker: RedisBroker) -> AsyncIterator[Inspector]:
    async with Inspector(broker=broker, clock=lambda: NOW) as inspector:
        yield inspector


def archived(*ages_s: int) -> list[tuple[TaskMessage, int]]:
    return [(new_message(id=f"a{age_s}"), NOW_S - age_s) for age_s in ages_s]


def kept(client: redis.Redis) -> set[str]:
    """The archive; every member has its hash, and no other task has one."""
    ids = {task_id.decode() for task_id in client.zrange(keys.archived("default"), 0, -1)}
    hashes = {key.decode().removeprefix(keys.task_prefix("default")) for key in client.keys("asynq:{default}:t:*")}
    assert hashes == ids
    return ids


async def archive_one(broker: RedisBroker, client: redis.Redis) -> None:
    message = new_message(id="new")
    seed_keyspace(client, queue_content(active=[(message, NOW_S + 5)]))
    assert await broker.settle("default", [Archive(message=message)], now=NOW) == [True]


@pytest.mark.parametrize("way", ["worker", "by hand", "all by hand"])
async def test_whoever_archives_does_it_by_the_queues_own_limits(
    way: str, broker: RedisBroker, inspector: Inspector, redis_client: redis.Redis
) -> None:
    await inspector.limit_archive("default", ArchiveLimits(max_tasks=3, max_age=HOUR))
    seed_keyspace(redis_client, queue_content(archived=archived(3600, 3599, 50, 40, 30)))
    redis_client.sadd(keys.QUEUES, "default")
    if way == "worker":
        await archive_one(broker, redis_client)
    else:
        seed_keyspace(redis_client, queue_content(pending=[new_message(id="new")]))
        if way == "by hand":
            await inspector.archive_task("default", "new")
        else:
            await inspector.archive_all("default", "pending")
    assert kept(redis_client) == {"new", "a30", "a40"}
    assert redis_client.hget(LIMITS_KEY, "trimmed") == b"3"


async def test_limits_may_be_larger_than_asynqs(
    broker: RedisBroker, inspector: Inspector, redis_client: redis.Redis
) -> None:
    await inspector.limit_archive("default", ArchiveLimits(max_tasks=20_000, max_age=timedelta(days=200)))
    pipeline = redis_client.pipeline(transaction=False)
    for number in range(10_100):
        pipeline.zadd(keys.archived("default"), {f"t{number}": NOW_S - 100 * 86_400})
    pipeline.execute()
    await archive_one(broker, redis_client)
    assert redis_client.zcard(keys.archived("default")) == 10_101


async def test_limits_that_cannot_be_read_are_as_none(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, {LIMITS_KEY: b"text"} | queue_content(archived=archived(90 * 86_400, 5)))
    await archive_one(broker, redis_client)
    assert kept(redis_client) == {"new", "a5"}


async def test_an_archive_is_trimmed_step_by_step_until_nothing_is_beyond_the_limits(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    pipeline = redis_client.pipeline(transaction=False)
    for number in range(1800):
        pipeline.hset(keys.task("default", f"t{number:04}"), mapping={"msg": "m", "state": "archived"})
        pipeline.zadd(keys.archived("default"), {f"t{number:04}": NOW_S - 2000 + number})
    pipeline.execute()
    limits = ArchiveLimits(max_tasks=300, max_age=timedelta(seconds=1300))  # 701 are older
    steps = [await inspector.limit_archive("default", limits) for _ in range(6)]
    # half of each step for what is too old, half for what is too much, as long as there are both
    assert [step.deleted for step in steps] == [500, 451, 250, 250, 49, 0]
    assert [step.deleted_ever for step in steps] == [500, 951, 1201, 1451, 1500, 1500]
    assert [step.left for step in steps] == [1000, 549, 299, 49, 0, 0]
    assert steps[0].oldest_at == NOW - timedelta(seconds=1299)
    assert steps[5].oldest_at == NOW - timedelta(seconds=500)
    assert kept(redis_client) == {f"t{number:04}" for number in range(1500, 1800)}


async def test_a_trimmed_task_frees_the_lock_that_it_holds_and_no_other(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    own, others = (keys.unique("default", name, b"{}") for name in ("own", "others"))
    mine, theirs = new_message(id="mine", unique_key=own), new_message(id="theirs", unique_key=others)
    seed_keyspace(redis_client, queue_content(archived=[(mine, NOW_S - 9), (theirs, NOW_S - 8)]))
    seed_keyspace(redis_client, {own: b"mine", others: b"another"})
    await inspector.limit_archive("default", ArchiveLimits(max_tasks=1, max_age=timedelta(seconds=5)))
    content = read_keyspace(redis_client)
    assert content.keys() == {others, LIMITS_KEY}


async def test_limits_end_by_themselves_or_are_undone(inspector: Inspector, redis_client: redis.Redis) -> None:
    trim = await inspector.limit_archive("default", ArchiveLimits(max_tasks=5, max_age=HOUR))
    assert trim == ArchiveTrim(deleted=0, deleted_ever=0, left=0, oldest_at=None)
    assert 6 * 86_400 < redis_client.ttl(LIMITS_KEY) <= 7 * 86_400
    assert await inspector.unlimit_archive("default")
    assert not await inspector.unlimit_archive("default")
    assert read_keyspace(redis_client) == {}


async def test_an_archive_of_another_type_is_left_alone(inspector: Inspector, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, {keys.archived("default"): b"text"})
    with pytest.raises(WrongType, match=r"asynq:\{default\}:archived"):
        await inspector.limit_archive("default", ArchiveLimits(max_tasks=5, max_age=HOUR))
    assert read_keyspace(redis_client) == {keys.archived("default"): b"text"}


@pytest.mark.parametrize(("max_tasks", "max_age", "field"), [(0, HOUR, "max_tasks"), (1, timedelta(0), "max_age")])
async def test_limits_that_keep_nothing_are_refused(
    inspector: Inspector, max_tasks: int, max_age: timedelta, field: str
) -> None:
    with pytest.raises(InvalidOption, match=field):
        await inspector.limit_archive("default", ArchiveLimits(max_tasks=max_tasks, max_age=max_age))
