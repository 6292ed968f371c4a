"""Deadlines and cancellations: the handler really ends, its slot is free only then, its task goes to retry."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import redis

from longshore import App, Client, Context, SkipRetry
from longshore.protocol.messages import TaskMessage
from longshore.runtime.attempt import deadline_of
from longshore.testing import new_message
from runtime.harness import containers, message, quick, serving, state, until

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NEITHER = new_message(timeout=None)


@pytest.mark.parametrize(
    ("given", "deadline"),
    [
        (NEITHER, NOW + timedelta(minutes=30)),
        (replace(NEITHER, timeout=timedelta(seconds=10)), NOW + timedelta(seconds=10)),
        (replace(NEITHER, deadline=NOW + timedelta(hours=2)), NOW + timedelta(hours=2)),
        (
            replace(NEITHER, timeout=timedelta(seconds=10), deadline=NOW + timedelta(seconds=5)),
            NOW + timedelta(seconds=5),
        ),
        (
            replace(NEITHER, timeout=timedelta(seconds=10), deadline=NOW + timedelta(hours=5)),
            NOW + timedelta(seconds=10),
        ),
        (replace(NEITHER, timeout=timedelta.max), datetime.max.replace(tzinfo=UTC)),
    ],
    ids=[
        "neither: 30 minutes",
        "timeout",
        "deadline",
        "the earlier deadline",
        "the earlier timeout",
        "beyond all dates",
    ],
)
def test_the_deadline_is_the_earlier_of_timeout_and_deadline(given: TaskMessage, deadline: datetime) -> None:
    assert deadline_of(given, now=NOW) == deadline


async def test_a_handler_beyond_its_timeout_is_cancelled_and_retried(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    ended = asyncio.Event()

    @app.task("slow")
    async def slow(ctx: Context) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            assert ctx.cancelled
            ended.set()

    async with Client(redis_url) as producer, serving(app, redis_url):
        task_id = (await producer.enqueue("slow", timeout=1)).message.id
        await until(lambda: state(redis_client, task_id) == "retry")
        assert ended.is_set()
    assert message(redis_client, task_id).error == "context deadline exceeded"
    assert message(redis_client, task_id).retried == 1


async def test_a_task_past_its_deadline_fails_without_being_run(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()

    @app.task("late")
    async def late() -> None:
        raise AssertionError("not to be called")

    async with Client(redis_url) as producer, serving(app, redis_url):
        task_id = (await producer.enqueue("late", deadline=datetime.now(UTC) - timedelta(hours=1))).message.id
        await until(lambda: state(redis_client, task_id) == "retry")
    assert message(redis_client, task_id).error == "context deadline exceeded"


async def test_what_a_handler_makes_of_its_deadline_does_not_matter(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()

    @app.task("stubborn")
    async def stubborn(payload: bool) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if payload:
                raise SkipRetry from None

    async with Client(redis_url) as producer, serving(app, redis_url):
        ids = [(await producer.enqueue("stubborn", skip, timeout=1)).message.id for skip in (True, False)]
        await until(lambda: all(state(redis_client, one) == "retry" for one in ids))
    assert {message(redis_client, one).error for one in ids} == {"context deadline exceeded"}


async def test_a_slot_is_used_again_only_when_the_handler_has_ended(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    release = threading.Event()
    started: list[str] = []

    @app.task("deaf")
    def deaf() -> None:
        release.wait(60)

    @app.task("next")
    async def following(ctx: Context) -> None:
        started.append(ctx.task_id)

    address = ("127.0.0.1", 0)
    async with Client(redis_url) as producer, serving(app, redis_url, concurrency=1, health_address=address) as server:
        deaf_id = (await producer.enqueue("deaf", timeout=1)).message.id
        await until(lambda: state(redis_client, deaf_id) == "active")
        next_id = (await producer.enqueue("next")).message.id
        # answered for, though it runs on
        await until(lambda: state(redis_client, deaf_id) == "retry")
        await asyncio.sleep(0.3)
        assert state(redis_client, next_id) == "pending"
        assert (server.running, server.stuck) == (1, 1)
        assert await _ready(server.health_port) == "ok; handlers that do not end: 1"
        release.set()
        await until(lambda: started == [next_id])
        await until(lambda: (server.running, server.stuck) == (0, 0))
        assert await _ready(server.health_port) == "ok"
    assert [r.action for r in caplog.records if getattr(r, "action", "").startswith("handler_")] == [
        "handler_stuck",
        "handler_ended_late",
    ]


async def _ready(port: int | None) -> str:
    """What the readiness probe says."""
    assert port is not None
    async with httpx.AsyncClient() as http:
        return (await http.get(f"http://127.0.0.1:{port}/readyz")).text.strip()


async def test_an_async_handler_that_will_not_end_keeps_its_slot_until_it_does(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    release = asyncio.Event()
    started: list[str] = []

    @app.task("deaf")
    async def deaf() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    @app.task("next")
    async def following(ctx: Context) -> None:
        started.append(ctx.task_id)

    async with Client(redis_url) as producer, serving(app, redis_url, concurrency=1) as server:
        deaf_id = (await producer.enqueue("deaf", timeout=1)).message.id
        await until(lambda: state(redis_client, deaf_id) == "retry")
        next_id = (await producer.enqueue("next")).message.id
        await asyncio.sleep(0.3)
        assert (started, server.stuck) == ([], 1)
        release.set()
        await until(lambda: started == [next_id])
        assert server.stuck == 0


async def test_a_thread_can_see_that_it_shall_end(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    saw = threading.Event()

    @app.task("polite")
    def polite(ctx: Context) -> None:
        while not ctx.cancelled:
            threading.Event().wait(0.01)
        saw.set()

    async with Client(redis_url) as producer, serving(app, redis_url, timing=quick(cancel_grace=timedelta(seconds=20))):
        task_id = (await producer.enqueue("polite", timeout=1)).message.id
        await until(lambda: state(redis_client, task_id) == "retry")
    assert saw.is_set()


async def test_a_cancellation_ends_the_running_task_of_that_id(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    running = asyncio.Event()
    other_running = asyncio.Event()
    release = asyncio.Event()

    @app.task("long")
    async def long() -> None:
        running.set()
        await asyncio.sleep(3600)

    @app.task("other")
    async def other() -> None:
        other_running.set()
        await release.wait()

    async with Client(redis_url) as producer, serving(app, redis_url):
        await until(lambda: redis_client.pubsub_numsub("asynq:cancel")[0][1])
        task_id = (await producer.enqueue("long")).message.id
        other_id = (await producer.enqueue("other")).message.id
        await running.wait()
        await other_running.wait()
        redis_client.publish("asynq:cancel", "nobody")
        redis_client.publish("asynq:cancel", task_id)
        await until(lambda: state(redis_client, task_id) == "retry")
        assert state(redis_client, other_id) == "active"
        release.set()
        await until(lambda: state(redis_client, other_id) is None)
    assert message(redis_client, task_id).error == "context canceled"
    assert containers(redis_client, task_id) == {"retry"}
