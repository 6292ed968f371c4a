"""Parking on an empty queue, and hearing cancellations."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest
import redis

from longshore.broker.base import Channel, NewTask, RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import BrokerUnavailable
from longshore.protocol import keys
from longshore.testing import RedisServer, new_message, queue_content, read_keyspace, seed_keyspace

_NOW = datetime.now(UTC)
_LONG = timedelta(seconds=30)


async def _parked(client: redis.Redis, count: int) -> None:
    async with asyncio.timeout(10):
        while client.info("clients")["blocked_clients"] < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_every_parked_waiter_is_woken_by_one_task_and_nothing_is_taken(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    waiters = [asyncio.create_task(broker.wait_for_task("default", timeout=_LONG)) for _ in range(5)]
    await _parked(redis_client, 5)
    message = new_message()
    await broker.enqueue([NewTask(message=message)], now=_NOW)
    assert await asyncio.wait_for(asyncio.gather(*waiters), 10) == [True] * 5
    assert redis_client.lrange(keys.pending("default"), 0, -1) == [message.id.encode()]


async def test_a_queue_with_tasks_does_not_park_and_keeps_its_order(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    before = queue_content(pending=[new_message() for _ in range(3)])
    seed_keyspace(redis_client, before)
    assert await broker.wait_for_task("default", timeout=_LONG)
    assert read_keyspace(redis_client) == before


async def test_a_wait_ends_without_a_task_when_the_time_is_over(broker: RedisBroker) -> None:
    assert not await broker.wait_for_task("default", timeout=timedelta(milliseconds=20))
    assert not await broker.wait_for_task("default", timeout=timedelta(0))


async def test_a_wait_may_last_longer_than_any_other_command_may_take(
    redis_url: str, redis_client: redis.Redis
) -> None:
    broker = RedisBroker.connect(RedisSettings(url=redis_url, timeout=timedelta(seconds=2)))
    # redis-py would give up after 5 s of its own accord
    waiter = asyncio.create_task(broker.wait_for_task("default", timeout=_LONG))
    await _parked(redis_client, 1)
    await asyncio.sleep(5.5)
    await broker.enqueue([NewTask(message=new_message())], now=_NOW)
    assert await asyncio.wait_for(waiter, 10)
    await broker.aclose()


async def test_a_cancelled_wait_leaves_no_client_behind(broker: RedisBroker, redis_client: redis.Redis) -> None:
    waiter = asyncio.create_task(broker.wait_for_task("default", timeout=_LONG))
    await _parked(redis_client, 1)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    async with asyncio.timeout(10):
        while redis_client.info("clients")["blocked_clients"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_wait_ends_with_the_connection() -> None:
    with RedisServer() as server:
        broker = RedisBroker.connect(RedisSettings(url=server.url))
        with redis.Redis.from_url(server.url) as client:
            waiter = asyncio.create_task(broker.wait_for_task("default", timeout=_LONG))
            await _parked(client, 1)
        server.stop()
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(waiter, 10)
        await broker.aclose()


async def _subscribed(client: redis.Redis) -> None:
    async with asyncio.timeout(10):
        while client.pubsub_numsub(keys.CANCEL_CHANNEL) != [(keys.CANCEL_CHANNEL.encode(), 1)]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_cancellations_are_heard_in_order(broker: RedisBroker, redis_client: redis.Redis) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        async for channel, data in broker.messages():
            if channel is Channel.CANCEL and data is not None:
                heard.put_nowait(data.decode())

    listener = asyncio.create_task(listen())
    await _subscribed(redis_client)
    for task_id in ("a", "b☃"):
        redis_client.publish(keys.CANCEL_CHANNEL, task_id)
    assert [await asyncio.wait_for(heard.get(), 10) for _ in range(2)] == ["a", "b☃"]
    listener.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listener


async def test_cancellations_are_heard_again_after_redis_was_away() -> None:
    with RedisServer() as server:
        broker = RedisBroker.connect(RedisSettings(url=server.url))
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def listen() -> None:
            async for channel, data in broker.messages():
                if channel is Channel.CANCEL and data is not None:
                    heard.put_nowait(data.decode())

        listener = asyncio.create_task(listen())
        for _ in range(2):
            with redis.Redis.from_url(server.url) as client:
                await _subscribed(client)
                client.publish(keys.CANCEL_CHANNEL, "a")
                assert await asyncio.wait_for(heard.get(), 10) == "a"
            server.stop()
            server.start()
        await broker.aclose()
        await asyncio.wait_for(listener, 10)  # a closed broker ends the iteration
