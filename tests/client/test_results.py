"""Waiting for a task: how each end is seen, by whom it is told, what is left behind; and how far a task is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import pytest_asyncio
import redis

from go_peer import GoPeer
from longshore import (
    App,
    BrokerUnavailable,
    Client,
    Context,
    Inspector,
    InvalidData,
    InvalidOption,
    RedisSettings,
    SkipRetry,
    TaskFailed,
    TaskNotFound,
    TaskState,
)
from longshore.broker.redis_broker import RedisBroker
from longshore.producer.results import Results
from longshore.protocol import keys
from longshore.testing import RedisServer
from runtime.harness import PATIENCE_S, quick, serving, state, until

_NEVER = timedelta(days=1)


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url) as client:
        yield client


@asynccontextmanager
async def _waiting(url: str, *, pause: timedelta) -> AsyncIterator[Results]:
    """Waits that look by themselves after ``pause`` only."""
    broker = RedisBroker.connect(RedisSettings(url=url))
    results = Results(
        broker.watches,
        clock=lambda: datetime.now(UTC),
        retry_for=timedelta(seconds=5),
        random=Random(1),
        first_pause=pause,
        longest_pause=pause,
    )
    yield results
    await results.aclose()
    await broker.aclose()


async def _hears(client: redis.Redis) -> None:
    await until(lambda: client.pubsub_channels("longshore:hearer:*"), "the subscription")


def _app() -> App:
    app = App()

    @app.task("double")
    async def double(number: int) -> int:
        return 2 * number

    @app.task("bytes")
    async def write(ctx: Context) -> None:
        await ctx.write_result(b"\x00raw")

    @app.task("nothing")
    async def nothing() -> None: ...

    @app.task("fail")
    async def fail() -> None:
        raise SkipRetry("no such customer")

    return app


# -- what is left behind -----------------------------------------------------------------------------------------------


async def test_a_returned_value_comes_back(redis_url: str, client: Client) -> None:
    async with serving(_app(), redis_url):
        info = await client.enqueue("double", 21, retention=60)
        result = await client.result(info.id, timeout=PATIENCE_S)
    assert (result.value, result.bytes, result.task_id, result.queue) == (42, b"42", info.id, "default")
    assert result.completed_at is not None
    assert abs(result.completed_at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_written_bytes_come_back_and_need_not_be_json(redis_url: str, client: Client) -> None:
    async with serving(_app(), redis_url, queues={"low": 1}):
        info = await client.enqueue("bytes", retention=60, queue="low")
        result = await client.result(info.id, queue="low", timeout=timedelta(seconds=PATIENCE_S))
    assert result.bytes == b"\x00raw"
    with pytest.raises(InvalidData, match="is not JSON"):
        _ = result.value


async def test_a_task_that_left_nothing_has_no_value(redis_url: str, client: Client) -> None:
    async with serving(_app(), redis_url):
        result = await client.result((await client.enqueue("nothing", retention=60)).id, timeout=PATIENCE_S)
    assert (result.value, result.bytes) == (None, None)


async def test_a_result_that_is_there_is_given_at_once(redis_url: str, redis_client: redis.Redis) -> None:
    async with serving(_app(), redis_url), Client(redis_url) as client:
        info = await client.enqueue("double", 1, retention=60)
        await until(lambda: state(redis_client, info.id) == "completed")
    async with _waiting(redis_url, pause=_NEVER) as results:
        assert (await results.wait("default", info.id)).value == 2


# -- ends without a result ---------------------------------------------------------------------------------------------


async def test_a_task_that_failed_for_good_raises_what_it_failed_with(redis_url: str, client: Client) -> None:
    async with serving(_app(), redis_url):
        info = await client.enqueue("fail")
        with pytest.raises(TaskFailed, match="no such customer") as failed:
            await client.result(info.id, timeout=PATIENCE_S)
    assert (failed.value.error, failed.value.retried, failed.value.task_id) == ("no such customer", 0, info.id)


async def test_a_task_that_is_not_there_is_not_found(client: Client) -> None:
    with pytest.raises(TaskNotFound):
        await client.result("nobody", timeout=PATIENCE_S)


async def test_a_task_that_is_deleted_on_success_is_not_found(redis_url: str, client: Client) -> None:
    info = await client.enqueue("nothing")
    wait = asyncio.create_task(client.result(info.id, timeout=PATIENCE_S))
    await asyncio.sleep(0)
    async with serving(_app(), redis_url):
        with pytest.raises(TaskNotFound):
            await wait


async def test_a_task_that_does_not_end_in_time_raises_and_stays(client: Client, redis_client: redis.Redis) -> None:
    info = await client.enqueue("double", 1)
    with pytest.raises(TimeoutError, match=f"task '{info.id}' of queue 'default' has not ended within 0.05 s"):
        await client.result(info.id, timeout=0.05)
    assert state(redis_client, info.id) == "pending"


# -- who tells ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "retention"), [("double", 60), ("fail", None)], ids=["completed", "archived"])
async def test_an_end_brought_about_by_our_server_is_told(
    redis_url: str, redis_client: redis.Redis, client: Client, kind: str, retention: int | None
) -> None:
    info = await client.enqueue(kind, 1, retention=retention)
    async with _waiting(redis_url, pause=_NEVER) as results:
        waits = [asyncio.create_task(results.wait("default", info.id)) for _ in range(3)]
        await _hears(redis_client)
        assert len(redis_client.pubsub_channels("longshore:hearer:*")) == 1  # one for all
        async with asyncio.timeout(PATIENCE_S), serving(_app(), redis_url):
            ends = await asyncio.gather(*waits, return_exceptions=True)
    assert [end.value if kind == "double" else type(end) for end in ends] == [2 if kind == "double" else TaskFailed] * 3


async def test_what_happened_while_nothing_was_heard_is_seen_when_hearing_begins_again() -> None:
    with RedisServer() as server, redis.Redis(port=server.port) as raw:
        async with Client(server.url) as client, _waiting(server.url, pause=_NEVER) as results:
            info = await client.enqueue("double", 1, retention=60)
            wait = asyncio.create_task(results.wait("default", info.id))
            await _hears(raw)
            raw.execute_command("ACL", "SETUSER", "default", "resetchannels")  # nobody can be told
            await until(lambda: not raw.pubsub_channels("longshore:hearer:*"))  # Redis has cut the subscriber off
            async with serving(_app(), server.url):
                await until(lambda: state(raw, info.id) == "completed")
            raw.execute_command("ACL", "SETUSER", "default", "allchannels")
            async with asyncio.timeout(PATIENCE_S):
                assert (await wait).value == 2


async def test_a_server_that_may_not_publish_completes_its_tasks_all_the_same() -> None:
    with RedisServer() as server, redis.Redis(port=server.port) as raw:
        raw.execute_command("ACL", "SETUSER", "default", "resetchannels")
        async with Client(server.url) as client, _waiting(server.url, pause=timedelta(milliseconds=50)) as results:
            info = await client.enqueue("double", 1, retention=60)
            wait = asyncio.create_task(results.wait("default", info.id))
            await until(lambda: raw.exists(keys.waiting("default", info.id)))
            async with asyncio.timeout(PATIENCE_S), serving(_app(), server.url):
                assert (await wait).value == 2


@pytest.mark.go
async def test_an_end_brought_about_by_a_go_server_is_seen_at_a_look(
    redis_url: str, redis_server: RedisServer, client: Client, go_peer: GoPeer
) -> None:
    info = await client.enqueue("t", b"x", retention=60)
    with go_peer.server(redis_server.port):
        result = await client.result(info.id, timeout=PATIENCE_S)
    assert result.task_id == info.id


async def test_nothing_is_published_for_a_task_that_nobody_waits_for(
    redis_url: str, redis_client: redis.Redis, client: Client
) -> None:
    redis_client.config_resetstat()
    async with serving(_app(), redis_url):
        info = await client.enqueue("double", 1, retention=60)
        await until(lambda: state(redis_client, info.id) == "completed")
    statistics = redis_client.info("commandstats")
    assert "cmdstat_hgetall" in statistics
    heard = redis_client.pubsub_channels("longshore:hearer:*")
    assert heard == []
    assert redis_client.keys("longshore:*waiting*") == []


async def test_the_wish_to_be_told_is_forgotten_in_time(redis_client: redis.Redis, client: Client) -> None:
    info = await client.enqueue("double", 1)
    with pytest.raises(TimeoutError):
        await client.result(info.id, timeout=0.05)
    assert 0 < redis_client.ttl(keys.waiting("default", info.id)) <= 60


# -- the client's side -------------------------------------------------------------------------------------------------


async def test_closing_the_client_ends_its_waits(redis_url: str, redis_client: redis.Redis) -> None:
    async with Client(redis_url) as client:
        info = await client.enqueue("double", 1)
        wait = asyncio.create_task(client.result(info.id))
        await _hears(redis_client)
    with pytest.raises(BrokerUnavailable, match="closed"):
        await wait


async def test_a_wait_goes_on_through_an_outage() -> None:
    with RedisServer("--appendonly", "yes") as server, redis.Redis(port=server.port) as raw:
        async with Client(server.url) as client:
            info = await client.enqueue("double", 1, retention=60)
            wait = asyncio.create_task(client.result(info.id, timeout=PATIENCE_S))
            await _hears(raw)
            server.stop()
            server.start()
            async with serving(_app(), server.url):
                assert (await wait).value == 2


# -- progress ----------------------------------------------------------------------------------------------------------


async def test_progress_is_seen_while_the_task_runs_and_goes_with_the_attempt(
    redis_url: str, redis_client: redis.Redis, client: Client
) -> None:
    app, go_on, said = App(), asyncio.Event(), asyncio.Event()

    @app.task("walk", retry_delay=lambda retried, error: 3600)
    async def walk(ctx: Context) -> None:
        await ctx.write_result(b"half")
        assert await ctx.progress({"done": 3, "of": 10})
        said.set()
        await go_on.wait()
        raise RuntimeError("lost")

    async with serving(app, redis_url), Inspector(redis_url) as inspector:
        info = await client.enqueue("walk")
        async with asyncio.timeout(PATIENCE_S):
            await said.wait()
        running = await inspector.task("default", info.id)
        assert (running.progress, running.result) == ({"done": 3, "of": 10}, b"half")
        [listed] = await inspector.list_tasks("default", "active")
        assert listed.progress == running.progress
        go_on.set()
        await until(lambda: state(redis_client, info.id) == "retry")
        failed = await inspector.task("default", info.id)
        assert (failed.state, failed.progress, failed.result) == (TaskState.RETRY, None, None)
    assert set(redis_client.hgetall(keys.task("default", info.id))) == {b"msg", b"state"}


async def test_progress_is_told_to_those_who_watch_until_the_task_ends(
    redis_url: str, redis_client: redis.Redis, client: Client
) -> None:
    app = App()
    steps, seen_all = [asyncio.Event() for _ in range(3)], asyncio.Event()

    @app.task("walk")
    async def walk(ctx: Context) -> None:
        for number, step in enumerate(steps):
            await step.wait()
            await ctx.progress(number / 4)
        await seen_all.wait()

    info = await client.enqueue("walk", retention=60)
    seen = []
    async with asyncio.timeout(PATIENCE_S), serving(app, redis_url), aclosing(client.watch(info.id)) as progress:
        steps[0].set()
        async for value in progress:
            seen.append(value)
            if len(seen) < 3:
                steps[len(seen)].set()
            else:
                seen_all.set()
    assert seen == [0.0, 0.25, 0.5]
    with pytest.raises(TaskNotFound):
        async for _ in client.watch("nobody"):
            pass


async def test_plain_functions_say_how_far_they_are_too(redis_url: str, client: Client) -> None:
    app = App()
    told: list[Any] = []

    @app.task("walk")
    def walk(ctx: Context) -> None:
        told.append(ctx.progress_from_thread([1, 2]))

    @app.task("wrong")
    async def wrong(ctx: Context) -> None:
        ctx.progress_from_thread(1)

    async with serving(app, redis_url):
        await client.result((await client.enqueue("walk", retention=60)).id, timeout=PATIENCE_S)
        task = await client.enqueue("wrong", max_retry=0)
        with pytest.raises(TaskFailed, match="is for plain functions; here, await progress"):
            await client.result(task.id, timeout=PATIENCE_S)
    assert told == [True]


@pytest.mark.parametrize("value", [None, b"x", object(), float("nan")], ids=["None", "bytes", "an object", "NaN"])
async def test_progress_that_json_cannot_say_is_refused(redis_url: str, client: Client, value: Any) -> None:
    app = App()
    refusals = []

    @app.task("walk")
    async def walk(ctx: Context) -> None:
        with pytest.raises(InvalidOption, match="progress: ") as refused:
            await ctx.progress(value)
        refusals.append(refused)

    async with serving(app, redis_url):
        await client.result((await client.enqueue("walk", retention=60)).id, timeout=PATIENCE_S)
    assert refusals


async def test_a_handler_that_was_told_to_end_writes_no_progress(redis_url: str, redis_client: redis.Redis) -> None:
    app, written = App(), []

    @app.task("late", retry_delay=lambda retried, error: 3600)
    async def late(ctx: Context) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            written.append((await ctx.progress(1), await ctx.write_result(b"late")))

    async with Client(redis_url) as client, serving(app, redis_url, timing=quick()):
        info = await client.enqueue("late", timeout=1)
        await until(lambda: state(redis_client, info.id) == "retry")
    assert written == [(False, False)]
    assert not redis_client.hexists(keys.task("default", info.id), "progress")
