"""Stopping: nothing more is taken, running tasks end in time or go back, the server's keys go last."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis

from longshore import App, Client, Context, Server, Task
from longshore.broker.base import Exchange, Outcome, RedisSettings, Requeue
from longshore.broker.connection import RedisConnection
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import BrokerUnavailable, InvalidOption
from longshore.protocol import codec, keys
from runtime.harness import QUICK, containers, counters, holding, message, serving, state, until


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


class SlowToAnswer(RedisBroker):
    """Has taken tasks for a while before it says so."""

    def __init__(self, connection: RedisConnection) -> None:
        super().__init__(connection)
        self.has_taken = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def settle_and_dequeue(self, queue: str, *args: Any, **options: Any) -> Exchange:
        exchange = await super().settle_and_dequeue(queue, *args, **options)
        self.has_taken.set()
        await self.may_answer.wait()
        return exchange


async def test_tasks_that_were_being_taken_when_the_server_stopped_go_back_in_their_order(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    ran: list[str] = []

    @app.task("n")
    async def n(ctx: Context) -> None:
        ran.append(ctx.task_id)

    broker = SlowToAnswer.connect(RedisSettings(url=redis_url))
    async with Client(redis_url) as producer:
        ids = [(await producer.enqueue("n")).message.id for _ in range(4)]
    server = Server(app, broker=broker, concurrency=4, timing=QUICK)
    await server.start()
    await broker.has_taken.wait()
    server.shutdown()
    await asyncio.sleep(0.1)
    broker.may_answer.set()
    await server.wait()
    await broker.aclose()
    assert ran == []
    # the tail is taken first
    assert redis_client.lrange(keys.pending("default"), 0, -1) == [one.encode() for one in reversed(ids)]
    assert not redis_client.exists(keys.active("default"), keys.lease("default"))


class LosesTheReply(RedisBroker):
    """Carries out what shall go back, hands it to another worker, and then does not know that it did."""

    def __init__(self, connection: RedisConnection) -> None:
        super().__init__(connection)
        self.tries = 0

    async def settle(self, queue: str, outcomes: Sequence[Outcome], *, now: datetime) -> list[bool]:
        if not any(isinstance(outcome, Requeue) for outcome in outcomes):
            return await super().settle(queue, outcomes, now=now)
        self.tries += 1
        await super().settle(queue, outcomes, now=now)
        await super().dequeue(queue, limit=1, now=now, lease=timedelta(minutes=1))
        raise BrokerUnavailable("the reply was lost")


async def test_a_task_is_put_back_once_and_never_taken_from_the_next_worker(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, _ = holding()
    broker = LosesTheReply.connect(RedisSettings(url=redis_url))
    async with Client(redis_url) as producer:
        task_id = (await producer.enqueue("hold")).message.id
    async with Server(app, broker=broker, concurrency=1, shutdown_timeout=0, timing=QUICK) as server:
        await until(lambda: server.running == 1)
    await broker.aclose()
    assert broker.tries == 1
    assert containers(redis_client, task_id) == {"active", "lease"}


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


async def test_a_block_that_is_cancelled_twice_ends_at_once_and_leaves_nothing_running(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, _ = holding()
    server = Server(app, redis=redis_url, shutdown_timeout=3600, timing=QUICK)

    async def block() -> None:
        async with server:
            await asyncio.Event().wait()

    async with Client(redis_url) as producer:
        running = asyncio.create_task(block())
        task_id = (await producer.enqueue("hold")).message.id
        await until(lambda: server.running == 1)
        running.cancel()
        await until(lambda: server.probes()[1].text == "draining")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 30)
        assert server.probes()[0].text == "the server has ended"
    assert containers(redis_client, task_id) == {"pending"}


async def test_a_block_that_is_cancelled_at_any_turn_of_the_loop_leaves_nothing_running(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async def block() -> None:
        async with Server(App(), redis=redis_url, shutdown_timeout=0, timing=QUICK, health_address=("127.0.0.1", 0)):
            await asyncio.Event().wait()

    for turns in range(30):
        running = asyncio.create_task(block())
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 30)
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert "longshore-server" not in names, f"after {turns} turns"
    assert redis_client.keys("asynq:servers*") == []


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
        ({"shutdown_timeout": math.inf}, "shutdown timeout: is not a duration"),
        ({"shutdown_timeout": None}, "shutdown timeout: must be a timedelta or a number of seconds, not NoneType"),
        ({"process_pool_size": 0}, "process pool size: is 0; give a whole number from 1"),
        ({"queues": {}}, "queues: give at least one queue"),
        ({"queues": ["default"]}, "queues: is ['default']; give names with their priorities"),
        ({"queues": {7: 1}}, "queues: the name 7 is not text"),
        ({"health_address": "0.0.0.0:8080"}, "health address: is '0.0.0.0:8080'; give host and port"),
        ({"health_address": ("", 65536)}, "health address: is ('', 65536); give host and port"),
        ({"shutdown_timeout": -1}, "shutdown timeout: must not be negative"),
        ({"redis": "http://x"}, "redis URL: "),
        ({"redis": "redis://x", "broker": object()}, "broker: give either a Redis or a broker, not both"),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_name(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        Server(App(), **options)
    assert str(refused.value).startswith(problem)


def test_what_is_no_application_is_refused() -> None:
    with pytest.raises(InvalidOption, match="application: is 'shop:app', not an App"):
        Server("shop:app")  # type: ignore[arg-type]
