"""Middleware: its order, what it sees and may change, and how it ends with the attempt it is around."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
import redis

from longshore import App, CallNext, Client, Context, InvalidOption, Middleware, SkipRetry, log_attempts
from longshore.middleware import compose
from longshore.protocol import keys
from runtime.harness import containers, message, quick, serving, state, until


def naming(name: str, seen: list[str]) -> Middleware:
    async def middleware(ctx: Context, call_next: CallNext) -> Any:
        seen.append(f"{name} before")
        result = await call_next(ctx)
        seen.append(f"{name} after")
        return result

    return middleware


async def test_the_first_is_outermost() -> None:
    seen: list[str] = []

    async def handler(ctx: Any) -> str:
        seen.append("handler")
        return "result"

    around = compose([naming(name, seen) for name in "abc"])
    assert around is not None
    assert await around("a context", handler) == "result"  # type: ignore[arg-type]
    assert seen == ["a before", "b before", "c before", "handler", "c after", "b after", "a after"]


def test_none_is_nothing_and_one_is_itself() -> None:
    one = naming("a", [])
    assert compose([]) is None
    assert compose([one]) is one
    app = App()
    app.task("a")(lambda: None)
    assert app.handler("a").around is None


@pytest.mark.parametrize("wrong", [lambda ctx, call_next: None, "text", None])
def test_what_is_no_async_function_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidOption, match=r"middleware: .* is not an async function"):
        App().middleware(wrong)
    with pytest.raises(InvalidOption, match="middleware: "):
        App().task("a", middleware=[wrong])
    with pytest.raises(InvalidOption, match="middleware: "):
        App(middleware=wrong)


async def run(app: App, url: str, client: redis.Redis, kind: str, payload: Any = None, **options: Any) -> str:
    async with Client(url) as producer, serving(app, url):
        task_id = (await producer.enqueue(kind, payload, **options)).message.id
        await until(lambda: state(client, task_id) not in ("pending", "active"))
    return task_id


@pytest.mark.parametrize("plain", [False, True], ids=["async", "thread"])
async def test_it_sees_the_task_and_may_change_the_result(
    redis_url: str, redis_client: redis.Redis, plain: bool
) -> None:
    app = App()
    seen: list[Any] = []

    @app.middleware
    async def look(ctx: Context, call_next: CallNext) -> Any:
        seen.append((ctx.type, ctx.payload, dict(ctx.headers), ctx.retried, ctx.max_retry, ctx.queue))
        seen.append(threading.current_thread() is threading.main_thread())
        return {"outer": await call_next(ctx)}

    if plain:
        app.task("add")(lambda payload: payload + 1)
    else:

        @app.task("add")
        async def add(payload: int) -> int:
            return payload + 1

    task_id = await run(app, redis_url, redis_client, "add", 1, retention=60, headers={"a": "b"}, max_retry=3)
    assert redis_client.hget(keys.task("default", task_id), "result") == b'{"outer":2}'
    assert seen == [("add", b"1", {"a": "b"}, 0, 3, "default"), True]


async def test_it_may_raise_and_skip_and_turn_an_error_into_a_result(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    ran: list[str] = []

    async def refuse(ctx: Context, call_next: CallNext) -> None:
        raise SkipRetry("not on a Sunday")

    async def skip(ctx: Context, call_next: CallNext) -> str:
        return "skipped"

    async def forgive(ctx: Context, call_next: CallNext) -> str:
        try:
            await call_next(ctx)
        except ValueError as error:
            return str(error)
        return "no error"

    for name, middleware in (("refuse", refuse), ("skip", skip), ("forgive", forgive)):

        @app.task(name, middleware=[middleware])
        async def handler(ctx: Context) -> None:
            ran.append(ctx.type)
            raise ValueError("oh")

    ids = {name: await run(app, redis_url, redis_client, name, retention=60) for name in ("refuse", "skip", "forgive")}
    assert ran == ["forgive"]
    assert message(redis_client, ids["refuse"]).error == "not on a Sunday"
    assert containers(redis_client, ids["refuse"]) == {"archived"}
    results = [redis_client.hget(keys.task("default", ids[name]), "result") for name in ("skip", "forgive")]
    assert results == [b'"skipped"', b'"oh"']


async def test_a_payload_that_does_not_fit_is_an_error_middleware_sees(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    seen: list[str] = []

    @app.middleware
    async def watch(ctx: Context, call_next: CallNext) -> Any:
        try:
            return await call_next(ctx)
        except Exception as error:
            seen.append(type(error).__name__)
            raise

    app.task("typed")(takes_a_number)
    task_id = await run(app, redis_url, redis_client, "typed", "text")
    assert seen == ["PayloadError"]
    assert containers(redis_client, task_id) == {"archived"}


async def takes_a_number(payload: int) -> None: ...


@pytest.mark.parametrize("where", ["before", "handler", "after"])
async def test_a_deadline_cancels_it_wherever_it_is(redis_url: str, redis_client: redis.Redis, where: str) -> None:
    app = App()
    cancelled_in: list[str] = []

    async def here(place: str) -> None:
        try:
            await asyncio.sleep(3600 if where == place else 0)
        except asyncio.CancelledError:
            cancelled_in.append(place)
            raise

    @app.middleware
    async def around(ctx: Context, call_next: CallNext) -> None:
        await here("before")
        await call_next(ctx)
        await here("after")

    @app.task("slow")
    async def slow() -> None:
        await here("handler")

    task_id = await run(app, redis_url, redis_client, "slow", timeout=1)
    assert cancelled_in == [where]
    assert message(redis_client, task_id).error == "context deadline exceeded"


@pytest.mark.parametrize("where", ["before", "after"])
async def test_around_a_thread_a_deadline_cancels_the_middleware(
    redis_url: str, redis_client: redis.Redis, where: str
) -> None:
    app = App()
    cancelled = asyncio.Event()

    @app.middleware
    async def around(ctx: Context, call_next: CallNext) -> None:
        try:
            if where == "after":
                await call_next(ctx)
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    app.task("plain")(lambda: None)
    await run(app, redis_url, redis_client, "plain", timeout=1)
    assert cancelled.is_set()


async def test_what_a_thread_returns_after_its_deadline_is_a_cancellation_to_middleware(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    seen: list[str] = []

    @app.middleware
    async def around(ctx: Context, call_next: CallNext) -> None:
        try:
            await call_next(ctx)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        seen.append("committed")

    @app.task("polite")
    def polite(ctx: Context) -> None:
        while not ctx.cancelled:
            threading.Event().wait(0.01)

    async with Client(redis_url) as producer, serving(app, redis_url, timing=quick()):
        task_id = (await producer.enqueue("polite", timeout=1)).message.id
        await until(lambda: state(redis_client, task_id) == "retry")
    assert seen == ["CancelledError"]


async def test_when_it_waits_no_longer_for_a_thread_the_slot_is_free_only_when_the_thread_has_ended(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App(retry_delay=lambda retried, error: 3600)
    timed_out, release = asyncio.Event(), threading.Event()
    began: list[str] = []

    @app.middleware
    async def impatient(ctx: Context, call_next: CallNext) -> None:
        asyncio.get_running_loop().call_later(0.05, timed_out.set)
        async with asyncio.timeout(0.01):
            await call_next(ctx)

    @app.task("slow")
    def slow(ctx: Context) -> None:
        began.append(ctx.task_id)
        release.wait()

    async with Client(redis_url) as producer, serving(app, redis_url, concurrency=1) as server:
        try:
            first = (await producer.enqueue("slow")).id
            second = (await producer.enqueue("slow")).id
            await timed_out.wait()
            assert (server.running, began, state(redis_client, second)) == (1, [first], "pending")
        finally:
            release.set()
        await until(lambda: state(redis_client, second) is None)
    assert began == [first, second]
    assert message(redis_client, first).error == "TimeoutError"


async def test_a_server_that_ends_does_not_wait_for_a_thread_that_its_middleware_does_not_wait_for(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    release = threading.Event()

    @app.middleware
    async def impatient(ctx: Context, call_next: CallNext) -> None:
        async with asyncio.timeout(0.01):
            await call_next(ctx)

    app.task("slow")(lambda: release.wait())
    try:
        async with Client(redis_url) as producer, serving(app, redis_url, shutdown_timeout=0.1) as server:
            task_id = (await producer.enqueue("slow")).id
            await until(lambda: server.running == 1)
        assert containers(redis_client, task_id) == {"pending"}
    finally:
        release.set()


def test_that_of_an_including_application_is_around_that_of_the_included_and_that_of_the_task() -> None:
    seen: list[str] = []
    outer, inner = App(middleware=[naming("outer", seen)]), App()
    inner.task("send", middleware=[naming("task", seen)])(lambda: None)
    outer.include(inner, prefix="email:")
    inner.middleware(naming("inner", seen))  # after the inclusion, and after the first look
    assert len(outer.handler("email:send").middleware) == 3
    asyncio.run(_call(outer, "email:send"))
    assert seen[:3] == ["outer before", "inner before", "task before"]


async def _call(app: App, kind: str) -> None:
    around = app.handler(kind).around
    assert around is not None

    async def nothing(ctx: Any) -> None: ...

    await around("a context", nothing)  # type: ignore[arg-type]


async def test_attempts_can_be_logged(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="longshore.task")
    app = App(middleware=[log_attempts])
    app.task("fine")(lambda: None)
    app.task("bad")(lambda: 1 / 0)
    fine = await run(app, redis_url, redis_client, "fine")
    bad = await run(app, redis_url, redis_client, "bad")
    records = [record for record in caplog.records if record.name == "longshore.task"]
    assert [(record.action, record.task_id, record.task_type, record.retried) for record in records] == [
        ("task_started", fine, "fine", 0),
        ("task_succeeded", fine, "fine", 0),
        ("task_started", bad, "bad", 0),
    ]
    assert records[1].seconds >= 0
