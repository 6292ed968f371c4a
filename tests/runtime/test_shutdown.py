"""Stopping: nothing more is taken, running tasks end in time or go back, the server's keys go last."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

import pytest
import redis

from longshore import App, Client, Context, Server, Task
from longshore.errors import InvalidOption
from longshore.protocol import codec, keys
from runtime.harness import QUICK, containers, counters, holding, message, quick, serving, state, until


async def started(app: App, url: str, **options: Any) -> Server:
    server = Server(app, redis=url, **{"concurrency": 10, "shutdown_timeout": 5.0, "timing": QUICK} | options)
    await server.start()
    return server


async def test_a_draining_server_takes_nothing_more_and_lets_running_tasks_end(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, release = holding()
    async with Client(redis_url) as producer:
        server = await started(app, redis_url, health_address=("127.0.0.1", 0))
        running = (await producer.enqueue("hold")).message.id
        await until(lambda: server.running == 1)
        server.shutdown()
        waiting = (await producer.enqueue("hold")).message.id

        def status() -> str | None:
            names = redis_client.keys("asynq:servers:*")
            return codec.decode_server(redis_client.get(names[0])).status if names else None

        await until(lambda: status() == "closed")
        await asyncio.sleep(0.3)
        assert (state(redis_client, running), state(redis_client, waiting)) == ("active", "pending")
        release.set()
        await server.wait()
    assert (state(redis_client, running), state(redis_client, waiting)) == (None, "pending")
    assert not redis_client.keys("asynq:servers*")
    assert not redis_client.keys("asynq:workers*")


async def test_what_does_not_end_in_time_is_cancelled_and_is_the_next_to_be_taken(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    ended: list[str] = []

    @app.task("hold")
    async def hold(ctx: Context) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            # cancelled before its task goes back, so that it never runs twice at a time
            assert state(redis_client, ctx.task_id) == "active"
            ended.append(ctx.task_id)

    async with Client(redis_url) as producer:
        server = await started(app, redis_url, shutdown_timeout=0.2, concurrency=2)
        running = [(await producer.enqueue("hold")).message.id for _ in range(2)]
        await until(lambda: server.running == 2)
        waiting = (await producer.enqueue("hold")).message.id
        server.shutdown()
        await server.wait()
    assert sorted(ended) == sorted(running)
    pending = [one.decode() for one in redis_client.lrange(keys.pending("default"), 0, -1)]
    assert pending[0] == waiting
    assert sorted(pending[1:]) == sorted(running)
    for task_id in running:
        assert containers(redis_client, task_id) == {"pending"}
        assert (message(redis_client, task_id).retried, message(redis_client, task_id).error) == (0, None)
    assert counters(redis_client) == (0, 0)


async def test_a_second_signal_does_not_wait_for_the_shutdown_timeout(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, _ = holding()
    async with Client(redis_url) as producer:
        server = await started(app, redis_url, shutdown_timeout=3600)
        task_id = (await producer.enqueue("hold")).message.id
        await until(lambda: server.running == 1)
        server.shutdown()
        await asyncio.sleep(0.1)
        assert state(redis_client, task_id) == "active"
        server.shutdown()
        await asyncio.wait_for(server.wait(), 30)
    assert containers(redis_client, task_id) == {"pending"}


async def test_a_thread_that_does_not_end_gives_its_task_back_anyway(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    release = threading.Event()

    @app.task("deaf")
    def deaf() -> None:
        release.wait(60)

    try:
        async with Client(redis_url) as producer:
            server = await started(app, redis_url, shutdown_timeout=0)
            task_id = (await producer.enqueue("deaf")).message.id
            await until(lambda: server.running == 1)
            server.shutdown()
            await server.wait()
        assert containers(redis_client, task_id) == {"pending"}
        assert "handler_stuck" in [getattr(record, "action", None) for record in caplog.records]
    finally:
        release.set()


@pytest.mark.parametrize("returns", [True, False], ids=["returns", "raises"])
async def test_a_handler_that_finishes_when_told_to_end_has_done_its_task(
    redis_url: str, redis_client: redis.Redis, returns: bool
) -> None:
    app = App()

    @app.task("hold")
    async def hold() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if not returns:
                raise RuntimeError("half done") from None

    async with Client(redis_url) as producer:
        server = await started(app, redis_url, shutdown_timeout=0)
        task_id = (await producer.enqueue("hold")).message.id
        await until(lambda: server.running == 1)
        server.shutdown()
        await server.wait()
    # what failed because it was told to end did not fail by itself: it goes back untouched
    assert containers(redis_client, task_id) == (set() if returns else {"pending"})


async def test_outcomes_under_way_are_written_before_the_server_ends(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("quick")(lambda: None)

    @app.task("noop")
    async def noop() -> None: ...

    async with Client(redis_url) as producer:
        await producer.enqueue_many([Task("noop") for _ in range(3000)])
        server = await started(app, redis_url, concurrency=100)
        await until(lambda: counters(redis_client)[0] > 100)
        server.shutdown()
        await server.wait()
    done = counters(redis_client)[0]
    assert redis_client.llen(keys.pending("default")) == 3000 - done
    assert not redis_client.exists(keys.active("default"), keys.lease("default"))


async def test_the_block_of_an_embedded_server_ends_with_the_drain(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    finished = asyncio.Event()

    @app.task("short")
    async def short() -> None:
        await asyncio.sleep(0.2)
        finished.set()

    task_ids: list[str] = []

    async def block() -> None:
        async with Client(redis_url) as producer, serving(app, redis_url) as server:
            task_ids.append((await producer.enqueue("short")).message.id)
            await until(lambda: server.running == 1)
            raise RuntimeError("the body's own")

    with pytest.raises(RuntimeError, match="the body's own"):
        await block()
    assert finished.is_set()
    assert state(redis_client, task_ids[0]) is None


async def test_a_server_runs_once(redis_url: str) -> None:
    async with serving(App(), redis_url) as server:
        pass
    with pytest.raises(InvalidOption, match="runs once"):
        await server.start()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"concurrency": 0}, "concurrency: is 0; give a whole number from 1"),
        ({"concurrency": 2**31}, "concurrency: is 2147483648; give a whole number from 1"),
        ({"shutdown_timeout": math.inf}, "shutdown timeout: is inf; give seconds"),
        ({"queues": {}}, "queues: give at least one queue"),
        ({"shutdown_timeout": -1}, "shutdown timeout: must not be negative"),
        ({"redis": "http://x"}, "redis URL: "),
        ({"redis": "redis://x", "broker": object()}, "broker: give either a Redis or a broker, not both"),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_name(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        Server(App(), **options)
    assert str(refused.value).startswith(problem)


async def test_no_slot_is_lost_to_a_handler_that_is_cancelled_before_its_first_step(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()

    @app.task("noop")
    async def noop() -> None: ...

    async with Client(redis_url) as producer:
        await producer.enqueue_many([Task("noop") for _ in range(500)])
        server = await started(app, redis_url, shutdown_timeout=0, timing=quick())
        await until(lambda: counters(redis_client)[0] > 0)
        server.shutdown()
        server.shutdown()
        await asyncio.wait_for(server.wait(), 30)
    assert not redis_client.exists(keys.active("default"), keys.lease("default"))
    assert counters(redis_client)[0] + redis_client.llen(keys.pending("default")) == 500
