"""Creating tasks while Redis cannot be reached: no task is lost without a word, and none is created twice.

The replies are lost by a proxy, after Redis has carried out the call; the outages are those of a real Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
import redis

from client.proxy import Proxy, proxy_of
from longshore import (
    App,
    BrokerUnavailable,
    Client,
    DuplicateTask,
    InvalidOption,
    RedisSettings,
    TaskIDConflict,
    TaskInfo,
)
from longshore.protocol import keys
from longshore.testing import RedisServer, read_keyspace
from runtime.harness import PATIENCE_S, serving, until


@pytest_asyncio.fixture
async def proxy(redis_server: RedisServer, redis_url: str) -> AsyncIterator[Proxy]:
    async with proxy_of(redis_server.port) as proxy:
        yield proxy


@pytest.mark.parametrize(
    "options",
    [{}, {"task_id": "mine"}, {"unique_for": 60}, {"process_in": 60}, {"group": "g"}],
    ids=["plain", "with an id", "unique", "scheduled", "in a group"],
)
async def test_a_call_whose_reply_is_lost_creates_one_task_and_succeeds(
    proxy: Proxy, redis_client: redis.Redis, options: Any
) -> None:
    async with Client(proxy.url) as client:
        await client.enqueue("warm")
        proxy.to_lose = 2
        info = await client.enqueue("t", 1, **options)
    assert proxy.lost == 2
    assert len(redis_client.keys(keys.task("default", "*"))) == 2
    assert redis_client.exists(keys.task("default", info.id))


@pytest.mark.parametrize("options", [{}, {"task_id": "mine"}, {"unique_for": 60}])
async def test_a_task_that_has_run_and_is_gone_before_the_call_is_repeated_does_not_run_again(
    proxy: Proxy, redis_url: str, redis_client: redis.Redis, options: Any
) -> None:
    app, ran = App(), []

    @app.task("t")
    async def t() -> None:
        ran.append(1)

    async def done() -> None:
        await until(lambda: ran and not redis_client.keys(keys.task("default", "*")))

    async with serving(app, redis_url), Client(proxy.url) as client:
        await client.enqueue("t", "warm")
        await done()
        ran.clear()
        proxy.before_losing = done
        proxy.to_lose = 1
        info = await client.enqueue("t", **options)
        proxy.before_losing = _nothing
        await client.enqueue("t", "another")
        await until(lambda: len(ran) == 2)
    assert proxy.lost == 1
    assert isinstance(info, TaskInfo)
    assert ran == [1, 1]


async def test_of_many_tasks_each_is_created_once_and_answered_as_the_first_time(
    proxy: Proxy, redis_client: redis.Redis
) -> None:
    async with Client(proxy.url) as client:
        await client.enqueue("warm", task_id="taken")
        proxy.to_lose = 1
        tasks = [("t", number, {"task_id": f"{number}", "queue": "ab"[number % 2]}) for number in range(1500)]
        results = await client.enqueue_many([*tasks, ("t", None, {"task_id": "taken"}), ("u", 1, {"unique_for": 5})])
    assert proxy.lost == 1
    assert all(isinstance(result, TaskInfo) for result in results[:1500])
    assert [type(result) for result in results[1500:]] == [TaskIDConflict, TaskInfo]
    assert redis_client.llen(keys.pending("a")) == redis_client.llen(keys.pending("b")) == 750


async def test_a_refusal_stays_a_refusal_when_its_reply_is_lost(proxy: Proxy) -> None:
    async with Client(proxy.url) as client:
        await client.enqueue("t", task_id="a", unique_for=60)
        proxy.to_lose = 1
        with pytest.raises(DuplicateTask):
            await client.enqueue("t", unique_for=60)
        proxy.to_lose = 1
        with pytest.raises(TaskIDConflict):
            await client.enqueue("t", task_id="a")


async def test_a_redis_that_comes_back_gets_what_was_enqueued_meanwhile() -> None:
    with RedisServer() as server, redis.Redis(port=server.port) as raw:
        async with Client(server.url, retry_for=PATIENCE_S) as client:
            await client.enqueue("warm")
            server.stop()
            calls = [asyncio.create_task(client.enqueue("t", number)) for number in range(20)]
            many = asyncio.create_task(client.enqueue_many(["m"] * 20))
            await asyncio.sleep(0.1)
            server.start()
            await asyncio.gather(*calls, many)
            assert raw.llen(keys.pending("default")) == 40


async def test_a_frozen_redis_that_reads_every_try_later_creates_one_task() -> None:
    with RedisServer() as server, redis.Redis(port=server.port) as raw:
        settings = RedisSettings(url=server.url, timeout=timedelta(milliseconds=100))
        async with Client(settings, retry_for=PATIENCE_S) as client:
            await client.enqueue("warm")
            server.freeze()
            call = asyncio.create_task(client.enqueue("t"))
            await asyncio.sleep(0.5)
            assert not call.done()
            server.thaw()
            info = await call
            assert raw.lrange(keys.pending("default"), 0, 0) == [info.id.encode()]
            assert raw.llen(keys.pending("default")) == 2


async def test_a_redis_that_stays_away_is_an_error_that_says_for_how_long_it_was_tried() -> None:
    with RedisServer() as server:
        async with Client(server.url, retry_for=0.3) as client:
            await client.ping()
            server.stop()
            with pytest.raises(BrokerUnavailable, match=r"tried \d+ times in 0\.\d s; the tasks may or may not"):
                await client.enqueue("t")
            with pytest.raises(BrokerUnavailable, match="tried"):
                await client.enqueue_many(["t"])
        async with Client(server.url, retry_for=0) as client:
            with pytest.raises(BrokerUnavailable, match=r"refused$"):
                await client.enqueue("t")


async def test_a_refused_user_is_an_error_at_once() -> None:
    with RedisServer("--requirepass", "secret") as server, redis.Redis(port=server.port, password="secret") as admin:
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+ping", "+get")
        for user in ({}, {"password": "wrong"}, {"username": "reader", "password": "pw"}):
            async with Client(RedisSettings(url=server.url, **user), retry_for=3600) as client:  # type: ignore[arg-type]
                with pytest.raises(BrokerUnavailable) as error:
                    await client.enqueue("t")
                assert error.value.refused
                with pytest.raises(BrokerUnavailable):
                    await client.result("t")


async def test_closing_the_client_ends_the_tries() -> None:
    with RedisServer() as server:
        client = Client(server.url, retry_for=3600)
        await client.ping()
        server.stop()
        call = asyncio.create_task(client.enqueue("t"))
        await asyncio.sleep(0.1)
        await client.aclose()
        with pytest.raises(BrokerUnavailable, match="closed"):
            await call
        with pytest.raises(BrokerUnavailable, match="closed"):
            await client.enqueue("t")


async def test_what_a_repeated_call_is_known_by_lives_for_about_a_minute_and_is_one_key_a_caller(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async with Client(redis_url, retry_for=5) as client:
        for _ in range(10):
            await client.enqueue("t")
    [key] = redis_client.keys("longshore:{default}:sent:*")
    assert 60 < redis_client.ttl(key) <= 65


async def test_a_client_that_tries_once_leaves_no_trace_beside_the_task(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async with Client(redis_url, retry_for=0) as client:
        info = await client.enqueue("t")
    assert set(read_keyspace(redis_client)) == {keys.QUEUES, keys.pending("default"), keys.task("default", info.id)}


def test_a_negative_time_to_try_is_refused() -> None:
    with pytest.raises(InvalidOption, match="retry_for: must not be negative"):
        Client(retry_for=-1)


async def _nothing() -> None: ...
