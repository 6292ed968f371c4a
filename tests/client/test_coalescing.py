"""Tasks that are enqueued at the same time share round trips, and nothing else: not an error, not a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis

from longshore import BrokerUnavailable, Client, DuplicateTask, InvalidOption, TaskIDConflict, TaskInfo, WrongType
from longshore.protocol import keys
from longshore.testing import RedisServer


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url) as client:
        await client.enqueue("warm", queue="warm")
        yield client


def _round_trips(raw: redis.Redis) -> int:
    """Each registers its queues once."""
    calls: int = raw.info("commandstats")["cmdstat_sadd"]["calls"]
    return calls


async def test_a_hundred_concurrent_calls_share_a_few_round_trips(client: Client, redis_client: redis.Redis) -> None:
    redis_client.config_resetstat()
    infos = await asyncio.gather(*(client.enqueue("t", number) for number in range(100)))
    assert _round_trips(redis_client) <= 2
    waiting = [task_id.decode() for task_id in redis_client.lrange(keys.pending("default"), 0, -1)]
    assert waiting[::-1] == [info.id for info in infos]


async def test_calls_one_after_the_other_are_sent_at_once_each(client: Client, redis_client: redis.Redis) -> None:
    redis_client.config_resetstat()
    for _ in range(3):
        await client.enqueue("t")
    assert _round_trips(redis_client) == 3


@pytest.mark.parametrize(("count", "size", "at_least"), [(2500, 1, 3), (4, 3_000_000, 4)], ids=["many", "large"])
async def test_no_round_trip_carries_more_than_its_share(
    client: Client, redis_client: redis.Redis, count: int, size: int, at_least: int
) -> None:
    redis_client.config_resetstat()
    await asyncio.gather(*(client.enqueue("t", b"x" * size) for _ in range(count)))
    assert at_least <= _round_trips(redis_client) <= at_least + 1
    assert redis_client.llen(keys.pending("default")) == count


async def test_a_refused_task_and_a_broken_queue_hit_their_own_callers_only(
    client: Client, redis_client: redis.Redis
) -> None:
    redis_client.set(keys.pending("broken"), "text")
    redis_client.set(keys.group("default", "odd"), "text")
    results = await asyncio.gather(
        client.enqueue("t", 1, unique_for=60),
        client.enqueue("t", 1, unique_for=60),
        client.enqueue("t", queue="broken"),
        client.enqueue("t", group="odd"),
        client.enqueue("t", group="even"),
        client.enqueue("t", task_id="a"),
        client.enqueue("t", task_id="a"),
        client.enqueue("t", max_retry=-1),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [
        TaskInfo,
        DuplicateTask,
        WrongType,
        WrongType,
        TaskInfo,
        TaskInfo,
        TaskIDConflict,
        InvalidOption,
    ]
    assert redis_client.smembers(keys.groups("default")) == {b"even"}


async def test_a_cancelled_caller_takes_nobody_along() -> None:
    with RedisServer() as server, redis.Redis(port=server.port) as raw:
        async with Client(server.url) as client:
            await client.enqueue("warm", queue="warm")
            server.freeze()
            first = [asyncio.create_task(client.enqueue("t", task_id=f"first {n}")) for n in range(3)]
            await asyncio.sleep(0.05)  # they are under way
            second = [asyncio.create_task(client.enqueue("t", task_id=f"second {n}")) for n in range(3)]
            await asyncio.sleep(0)
            for call in (first[1], second[1]):
                call.cancel()
            await asyncio.wait([first[1], second[1]])
            server.thaw()
            await asyncio.gather(first[0], first[2], second[0], second[2])
            # the one that had been sent exists, the one that had not does not
            expected = ["first 0", "first 1", "first 2", "second 0", "second 2"]
            assert [raw.exists(keys.task("default", name)) for name in expected] == [1] * 5
            assert not raw.exists(keys.task("default", "second 1"))


async def test_calls_go_on_after_all_that_waited_were_cancelled(client: Client) -> None:
    calls = [asyncio.create_task(client.enqueue("t")) for _ in range(5)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert isinstance(await client.enqueue("t"), TaskInfo)


async def test_an_error_of_the_round_trip_reaches_each_caller() -> None:
    with RedisServer() as server:
        async with Client(server.url, retry_for=0) as client:
            await client.ping()
            server.stop()
            results = await asyncio.gather(*(client.enqueue("t") for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, BrokerUnavailable) for result in results)
