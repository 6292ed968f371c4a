"""What handlers share: entered before the first task, left after the last, and what a failing one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from longshore import App, Client, Context, InvalidOption, Server
from runtime.harness import QUICK, serving, state, until


@dataclass
class Services:
    greeting: str
    events: list[str] = field(default_factory=list)


async def test_handlers_async_and_plain_are_given_what_it_yields(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    services = Services("hello")
    tasks: list[Any] = []

    @app.lifespan
    async def share() -> AsyncIterator[Services]:
        services.events.append("entered")
        tasks.append(asyncio.current_task())
        yield services
        tasks.append(asyncio.current_task())
        services.events.append("left")

    @app.task("greet")
    async def greet(ctx: Context[Services], name: str) -> None:
        ctx.state.events.append(f"{ctx.state.greeting} {name}")

    @app.task("plain")
    def plain(ctx: Context[Services]) -> None:
        ctx.state.events.append("from a thread")

    async with Client(redis_url) as producer:
        first = (await producer.enqueue("greet", "you")).message.id
        async with serving(app, redis_url):
            await until(lambda: state(redis_client, first) is None)
            second = (await producer.enqueue("plain")).message.id
            await until(lambda: state(redis_client, second) is None)
            assert "left" not in services.events
    assert services.events == ["entered", "hello you", "from a thread", "left"]
    assert tasks[0] is tasks[1]


async def test_it_is_left_only_after_the_last_handler_has_ended(redis_url: str, redis_client: redis.Redis) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def share() -> AsyncIterator[None]:
        yield
        events.append("left")

    app = App(lifespan=share)
    running = asyncio.Event()

    @app.task("slow")
    async def slow() -> None:
        running.set()
        await asyncio.sleep(0.3)
        events.append("handler ended")

    async with Client(redis_url) as producer, serving(app, redis_url):
        await producer.enqueue("slow")
        await running.wait()
    assert events == ["handler ended", "left"]


async def test_without_one_the_state_is_none(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    seen: list[object] = []

    @app.task("a")
    async def look(ctx: Context) -> None:
        seen.append(ctx.state)

    async with Client(redis_url) as producer, serving(app, redis_url):
        await producer.enqueue("a")
        await until(lambda: seen == [None])


async def test_one_that_fails_keeps_the_server_from_starting(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()

    @app.lifespan
    async def share() -> AsyncIterator[None]:
        raise ConnectionError("no database")
        yield

    server = Server(app, redis=redis_url, timing=QUICK)
    with pytest.raises(ConnectionError, match="no database"):
        await server.start()
    assert redis_client.keys("asynq:servers*") == []


async def test_a_server_that_is_told_to_stop_while_it_enters_stops_at_once(redis_url: str) -> None:
    app = App()
    entering, left = asyncio.Event(), asyncio.Event()

    @app.lifespan
    async def share() -> AsyncIterator[None]:
        entering.set()
        try:
            await asyncio.sleep(3600)
            yield
        finally:
            left.set()

    server = Server(app, redis=redis_url, timing=QUICK)
    starting = asyncio.ensure_future(server.start())
    await entering.wait()
    server.shutdown()
    await starting
    await server.wait()
    assert left.is_set()


async def test_a_further_signal_does_not_wait_for_one_that_is_not_left(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    leaving = asyncio.Event()

    @app.lifespan
    async def share() -> AsyncIterator[None]:
        yield
        leaving.set()
        await asyncio.sleep(3600)

    server = Server(app, redis=redis_url, timing=QUICK)
    await server.start()
    server.shutdown()
    await leaving.wait()
    server.shutdown()
    await asyncio.wait_for(server.wait(), 30)
    assert "lifespan_cut_off" in [getattr(record, "action", "") for record in caplog.records]
    assert redis_client.keys("asynq:servers*") == []


async def test_a_start_that_is_cancelled_leaves_nothing_behind(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    entering, left = asyncio.Event(), asyncio.Event()

    @app.lifespan
    async def share() -> AsyncIterator[None]:
        try:
            entering.set()
            await asyncio.sleep(3600)
            yield
        finally:
            left.set()

    server = Server(app, redis=redis_url, timing=QUICK, health_address=("127.0.0.1", 0))
    starting = asyncio.ensure_future(server.start())
    await entering.wait()
    port = server.health_port
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert left.is_set()
    assert port is not None
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_an_error_while_leaving_is_raised_after_everything_is_in_order(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()

    @app.lifespan
    async def share() -> AsyncIterator[None]:
        yield
        raise RuntimeError("cannot close")

    server = Server(app, redis=redis_url, timing=QUICK)
    await server.start()
    await until(lambda: redis_client.keys("asynq:servers*"))
    server.shutdown()
    with pytest.raises(RuntimeError, match="cannot close"):
        await server.wait()
    assert redis_client.keys("asynq:servers*") == []


def test_what_cannot_be_entered_is_refused() -> None:
    async def no_yield() -> None: ...

    wrong: Any
    for wrong in ("text", no_yield):
        with pytest.raises(InvalidOption, match="lifespan: "):
            App(lifespan=wrong)


def test_only_the_application_that_is_served_has_one() -> None:
    @asynccontextmanager
    async def share() -> AsyncIterator[None]:
        yield

    outer, inner = App(lifespan=share), App(lifespan=share)
    with pytest.raises(InvalidOption, match="lifespan: there is one already"):
        outer.lifespan(share)
    with pytest.raises(InvalidOption, match="lifespan: give it to the application that is served"):
        outer.include(inner)
    other = App()
    outer.include(other)
    with pytest.raises(InvalidOption, match="lifespan: give it to the application that is served"):
        other.lifespan(share)
