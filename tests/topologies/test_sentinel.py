"""Sentinel: the master is found, and followed when it dies, freezes or is replaced, under load and while idle.

What a master acknowledged and had not yet passed on when it died is lost with it: replication is asynchronous. Nothing
else is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis

from longshore import BrokerUnavailable, Client, RedisSettings
from longshore.broker.base import NewTask
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol import keys
from longshore.testing import RedisSentinel, new_message
from topologies.load import TIMEOUT, load_on

_NOW = datetime.now(UTC)


@pytest.fixture
def sentinel() -> Iterator[RedisSentinel]:
    with RedisSentinel() as sentinel:
        yield sentinel


async def test_a_killed_master_is_followed_under_load_and_only_what_was_not_replicated_is_lost(
    sentinel: RedisSentinel, capsys: pytest.CaptureFixture[str]
) -> None:
    async with load_on(sentinel.url) as load:
        await load.progress()
        killed_at = time.monotonic()
        sentinel.master.stop()
        await load.progress(100)
        await load.finish()
    with capsys.disabled():
        print(
            f"\nsentinel failover: {len(load.acknowledged)} tasks acknowledged, {load.refused} calls failed and were "
            f"repeated, {len(load.lost)} lost by replication, {load.repeated} run again"
        )
    assert len(load.runs) > 150
    # in the last moments before its death, or in those after which the process noticed it
    assert all(killed_at - 1 < when < killed_at + 1 for when in load.lost.values())


async def test_a_switch_by_hand_loses_nothing_under_load(sentinel: RedisSentinel) -> None:
    async with load_on(sentinel.url) as load:
        await load.progress()
        await asyncio.to_thread(sentinel.fail_over)
        await load.progress(100)
        await load.finish()
    assert len(load.lost) <= 2  # the switch itself may cut off a write that was under way


async def test_a_frozen_master_is_left_and_a_thawed_one_is_not_written_to(sentinel: RedisSentinel) -> None:
    old = sentinel.master
    async with load_on(sentinel.url) as load:
        await load.progress()
        frozen_at = time.monotonic()
        old.freeze()
        await load.progress(100)
        await asyncio.to_thread(sentinel.wait_for_master, other_than=old)
        old.thaw()
        await load.progress(100)
        await load.finish()
    assert all(when < frozen_at + 1 for when in load.lost.values())


async def test_what_waits_on_the_old_master_moves_to_the_new_one(sentinel: RedisSentinel) -> None:
    broker = RedisBroker.connect(RedisSettings(url=sentinel.url, timeout=TIMEOUT))
    waiting = asyncio.create_task(broker.wait_for_task("default", timeout=timedelta(seconds=60)))
    hearing = asyncio.create_task(_first_message(broker))
    old = sentinel.master
    await _until_blocked(old.port)
    old.freeze()  # the connections stay open, without a word
    await asyncio.to_thread(sentinel.wait_for_master, other_than=old)
    with pytest.raises(BrokerUnavailable):
        await broker.ping()  # which gets no answer, and brings the master into doubt
    await broker.ping()
    with pytest.raises(BrokerUnavailable):
        await asyncio.wait_for(waiting, 20)
    new = sentinel.master
    with redis.Redis(port=new.port) as client:
        async with asyncio.timeout(20):
            while not client.publish(keys.CANCEL_CHANNEL, "t1"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert await asyncio.wait_for(hearing, 20) == "t1"
    await broker.aclose()


async def test_without_a_majority_that_promotes_nobody_spins(sentinel: RedisSentinel) -> None:
    left, *gone = sentinel.sentinels
    async with load_on(sentinel.url) as load:
        await load.progress()
        for each in gone:
            each.stop()
        sentinel.master.stop()
        with redis.Redis(port=left.port) as client:
            before = client.info("stats")["total_commands_processed"]
            await asyncio.sleep(3)
            asked = client.info("stats")["total_commands_processed"] - before
        for server in (*gone, sentinel.servers[0]):
            server.start()
        await load.progress(20)
    assert asked < 300  # some dozen loops, each with its pauses


async def test_sentinels_that_know_no_such_master_are_told_of(sentinel: RedisSentinel) -> None:
    url = sentinel.url.replace(sentinel.master_name, "other")
    async with Client(RedisSettings(url=url, timeout=TIMEOUT)) as client:
        with pytest.raises(BrokerUnavailable, match="no sentinel names the master 'other': the sentinel at"):
            await client.ping()


async def test_sentinels_have_a_password_of_their_own() -> None:
    with RedisSentinel("--requirepass", "data", "--masterauth", "data", sentinel_password="watch") as sentinel:
        url = sentinel.url.replace("://", "://:data@")
        for settings, problem in (
            (RedisSettings(url=url), "no sentinel names"),
            (RedisSettings(url=f"{url}&sentinel_password=wrong"), "no sentinel names"),
            (RedisSettings(url=sentinel.url, sentinel_password="watch"), "(?i)auth"),
        ):
            async with Client(settings) as client:
                with pytest.raises(BrokerUnavailable, match=problem):
                    await client.ping()
        async with Client(RedisSettings(url=f"{url}&sentinel_password=watch")) as client:
            await client.ping()
        async with Client(
            RedisSettings(url=f"{sentinel.url}&sentinel_password=x", password="data", sentinel_password="watch")
        ) as client:
            await client.ping()


async def test_the_database_of_the_url_is_used(sentinel: RedisSentinel) -> None:
    broker = RedisBroker.connect(RedisSettings(url=sentinel.url.replace("/0?", "/3?")))
    await broker.enqueue([NewTask(message=new_message(id="a"))], now=_NOW)
    await broker.aclose()
    with redis.Redis(port=sentinel.master.port, db=3) as client:
        assert client.exists(keys.task("default", "a"))


async def _first_message(broker: RedisBroker) -> str:
    async for heard in broker.messages():
        if heard.data is not None:
            return heard.data if isinstance(heard.data, str) else heard.data.decode()
    raise AssertionError("nothing was heard")


async def _until_blocked(port: int) -> None:
    with redis.Redis(port=port) as client:
        async with asyncio.timeout(20):
            while client.info("clients")["blocked_clients"] < 1 or not client.pubsub_numsub(keys.CANCEL_CHANNEL)[0][1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
