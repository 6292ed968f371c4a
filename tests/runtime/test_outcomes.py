"""Every outcome of an attempt (asynq-protocol §4.3), as Redis shows it. Deadlines and shutdown: own files."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
import redis

from longshore import App, Client, Context, RevokeTask, SkipRetry
from longshore.protocol import keys
from runtime.harness import containers, counters, message, serving, state, until


async def run_one(app: App, url: str, client: redis.Redis, kind: str, payload: Any = None, **options: Any) -> str:
    """Enqueue one task, let a server run it until it leaves active; its id."""
    async with Client(url) as producer:
        task_id = (await producer.enqueue(kind, payload, **options)).message.id
    async with serving(app, url):
        await until(lambda: state(client, task_id) not in ("pending", "active"), "the end of the attempt")
    assert not containers(client, task_id) & {"pending", "active", "lease"}
    return task_id


async def test_success_deletes_the_task_and_counts_it(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    seen: list[Any] = []

    @app.task("greet")
    async def greet(ctx: Context, payload: dict[str, int]) -> None:
        seen.append((ctx.type, ctx.queue, ctx.retried, ctx.max_retry, dict(ctx.headers), ctx.cancelled, payload))

    task_id = await run_one(app, redis_url, redis_client, "greet", {"n": 1}, max_retry=7, headers={"trace": "x"})
    assert seen == [("greet", "default", 0, 7, {"trace": "x"}, False, {"n": 1})]
    assert state(redis_client, task_id) is None
    assert counters(redis_client) == (1, 0)


async def test_success_frees_the_unique_lock(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("once")(lambda: None)
    await run_one(app, redis_url, redis_client, "once", {"n": 1}, unique_for=60)
    assert not redis_client.exists(keys.unique("default", "once", b'{"n":1}'))


async def test_a_plain_function_runs_in_a_thread_and_its_context_variables_are_its_own(
    redis_url: str, redis_client: redis.Redis
) -> None:
    import threading

    app = App()
    names: list[str] = []

    @app.task("sync")
    def sync(ctx: Context) -> None:
        ctx.write_result_from_thread(b"partial")
        names.append(threading.current_thread().name)

    task_id = await run_one(app, redis_url, redis_client, "sync", retention=60)
    assert names[0].startswith("longshore-handler-")
    assert redis_client.hget(keys.task("default", task_id), "result") == b"partial"


async def test_what_an_async_handler_does_behind_a_plain_decorator_is_done(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    done: list[str] = []

    def plain_decorator(function: Callable[[str], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
        def call(payload: str) -> Awaitable[None]:
            return function(payload)

        return call

    @app.task("hidden")
    @plain_decorator
    async def hidden(payload: str) -> None:
        await asyncio.sleep(3600 if payload == "long" else 0.01)
        done.append(payload)

    async with Client(redis_url) as producer, serving(app, redis_url):
        short = (await producer.enqueue("hidden", "short")).message.id
        long = (await producer.enqueue("hidden", "long", timeout=1)).message.id
        await until(lambda: state(redis_client, short) is None)
        await until(lambda: state(redis_client, long) == "retry")
    assert done == ["short"]


@dataclass
class Report:
    rows: int


class Unreadable(Mapping[str, int]):
    """Such as a row of a database session that is closed by now."""

    def __getitem__(self, key: str) -> int:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("the session is closed")

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("returned", "stored"),
    [
        (None, None),
        (b"\x00raw", b"\x00raw"),
        ({"a": [1]}, b'{"a":[1]}'),
        (Report(3), b'{"rows":3}'),
        (object(), None),
        (Unreadable(), None),
    ],
    ids=["nothing", "bytes", "JSON", "a dataclass", "what JSON cannot say", "what raises when it is read"],
)
async def test_success_with_retention_keeps_the_task_and_what_the_handler_returned(
    redis_url: str, redis_client: redis.Redis, returned: Any, stored: bytes | None
) -> None:
    app = App()

    @app.task("report")
    async def report() -> Any:
        return returned

    task_id = await run_one(app, redis_url, redis_client, "report", retention=timedelta(hours=1))
    assert state(redis_client, task_id) == "completed"
    assert containers(redis_client, task_id) == {"completed"}
    assert redis_client.hget(keys.task("default", task_id), "result") == stored
    kept = message(redis_client, task_id)
    assert kept.completed_at is not None
    assert kept.error is None
    assert counters(redis_client) == (1, 0)


async def test_an_error_goes_to_retry_with_its_text_and_asynqs_delay(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()

    @app.task("fail")
    async def fail() -> None:
        raise ValueError("no good")

    before = datetime.now(UTC)
    task_id = await run_one(app, redis_url, redis_client, "fail")
    stored = message(redis_client, task_id)
    assert containers(redis_client, task_id) == {"retry"}
    assert (stored.error, stored.retried) == ("ValueError: no good", 1)
    due_s = redis_client.zscore(keys.retry("default"), task_id)
    assert 14 <= due_s - before.timestamp() <= 44 + 30  # 15 to 44 s, and the time the test took
    assert counters(redis_client) == (1, 1)


def _exit() -> NoReturn:
    sys.exit(3)


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _stop_iteration() -> NoReturn:
    raise StopIteration("x")


def _cancelled() -> NoReturn:
    raise asyncio.CancelledError


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def _mute() -> NoReturn:
    raise _Mute


def _not_unicode() -> NoReturn:
    raise ValueError("caf\udce9")


def _generator_exit() -> NoReturn:
    raise GeneratorExit


def _group() -> NoReturn:
    raise ExceptionGroup("two at once", [ValueError("one"), OSError("another")])


def _base_group() -> NoReturn:
    raise BaseExceptionGroup("worse", [KeyboardInterrupt(), SystemExit(1)])


def _recursion() -> NoReturn:
    _recursion()


@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "thread"])
@pytest.mark.parametrize(
    ("misbehave", "text"),
    [
        (_generator_exit, "GeneratorExit"),
        (_group, "ExceptionGroup: two at once (2 sub-exceptions)"),
        (_base_group, "BaseExceptionGroup: worse (2 sub-exceptions)"),
        (_recursion, "RecursionError: maximum recursion depth exceeded"),
        (_exit, "3"),
        (_interrupt, "KeyboardInterrupt"),
        (_stop_iteration, "StopIteration"),
        (_cancelled, "CancelledError"),
        (_mute, "_Mute: (its text cannot be read)"),
        (_not_unicode, "caf\\udce9"),
    ],
)
async def test_whatever_a_handler_raises_is_a_failure_and_ends_nothing_else(
    redis_url: str,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    misbehave: Any,
    text: str,
    in_thread: bool,
) -> None:
    # A test report sent between pytest's own processes cannot hold the text that is not Unicode.
    monkeypatch.setattr(logging.getLogger("longshore.server"), "disabled", True)
    app = App()
    if in_thread:
        app.task("bad")(lambda: misbehave())
    else:

        @app.task("bad")
        async def bad() -> None:
            misbehave()

    app.task("good")(lambda: None)
    async with Client(redis_url) as producer:
        bad_id = (await producer.enqueue("bad")).message.id
        async with serving(app, redis_url, concurrency=1):
            await until(lambda: state(redis_client, bad_id) == "retry")
            good_id = (await producer.enqueue("good")).message.id
            await until(lambda: state(redis_client, good_id) is None)
    assert text in (message(redis_client, bad_id).error or "")


async def test_with_no_retry_left_an_error_archives(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()

    @app.task("fail")
    async def fail() -> None:
        raise ValueError("no good")

    task_id = await run_one(app, redis_url, redis_client, "fail", max_retry=0)
    assert containers(redis_client, task_id) == {"archived"}
    assert (message(redis_client, task_id).retried, message(redis_client, task_id).error) == (0, "ValueError: no good")
    assert counters(redis_client) == (1, 1)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "as a cause"])
async def test_skip_retry_archives_at_once(redis_url: str, redis_client: redis.Redis, wrapped: bool) -> None:
    app = App()

    @app.task("fail")
    async def fail() -> None:
        if wrapped:
            raise ValueError("outer") from SkipRetry("inner")
        raise SkipRetry

    task_id = await run_one(app, redis_url, redis_client, "fail")
    assert containers(redis_client, task_id) == {"archived"}
    assert message(redis_client, task_id).error == ("ValueError: outer" if wrapped else "skip retry for the task")


async def test_revoke_drops_the_task_as_if_it_had_succeeded(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()

    @app.task("stale")
    def stale() -> None:
        raise RevokeTask

    task_id = await run_one(app, redis_url, redis_client, "stale", retention=60)
    assert state(redis_client, task_id) is None
    assert counters(redis_client) == (1, 0)


async def test_an_error_that_is_no_failure_postpones_without_losing_a_retry(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()

    @app.task(
        "busy", is_failure=lambda error: not isinstance(error, BlockingIOError), retry_delay=lambda n, error: 3600
    )
    async def busy() -> None:
        raise BlockingIOError("busy")

    task_id = await run_one(app, redis_url, redis_client, "busy")
    assert containers(redis_client, task_id) == {"retry"}
    assert message(redis_client, task_id).retried == 0
    assert redis_client.zscore(keys.retry("default"), task_id) > datetime.now(UTC).timestamp() + 3000
    assert counters(redis_client) == (0, 0)


async def test_a_broken_predicate_or_delay_falls_back_to_asynqs_ways(redis_url: str, redis_client: redis.Redis) -> None:
    app = App(is_failure=lambda error: error.missing, retry_delay=lambda n, error: "soon")  # type: ignore[attr-defined,arg-type,return-value]

    @app.task("fail")
    async def fail() -> None:
        raise ValueError

    task_id = await run_one(app, redis_url, redis_client, "fail")
    assert containers(redis_client, task_id) == {"retry"}
    assert message(redis_client, task_id).retried == 1


async def test_an_unknown_type_is_retried_and_says_so(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("known")(lambda: None)
    task_id = await run_one(app, redis_url, redis_client, "unknown", {"n": 1})
    assert containers(redis_client, task_id) == {"retry"}
    assert message(redis_client, task_id).error == "handler not found for task 'unknown'"
    assert message(redis_client, task_id).retried == 1


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"not json", "the payload is not JSON: Expecting value at character 0"),
        (b'{"rows": "many"}', "rows: expected a whole number, found a string"),
        (None, "the payload is empty; expected JSON for Report"),
    ],
)
async def test_a_payload_that_does_not_fit_is_archived_at_once_naming_the_field(
    redis_url: str, redis_client: redis.Redis, payload: bytes | None, problem: str
) -> None:
    app = App()

    @app.task("report")
    async def report(payload: Report) -> None:
        raise AssertionError("not to be called")

    task_id = await run_one(app, redis_url, redis_client, "report", payload)
    assert containers(redis_client, task_id) == {"archived"}
    assert message(redis_client, task_id).error == problem
    assert message(redis_client, task_id).retried == 0


async def test_an_unreadable_message_is_set_aside_and_the_queue_goes_on(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.hset(keys.task("default", "broken"), mapping={"msg": b"\xff\xff\xff", "state": "pending"})
    redis_client.lpush(keys.pending("default"), "broken")
    app = App()
    app.task("good")(lambda: None)
    task_id = await run_one(app, redis_url, redis_client, "good")
    assert state(redis_client, task_id) is None
    assert containers(redis_client, "broken") == {"archived"}


async def test_a_written_result_is_kept_only_while_the_task_is_ours(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    contexts: list[Context] = []

    @app.task("report")
    async def report(ctx: Context) -> None:
        contexts.append(ctx)
        assert await ctx.write_result("half")

    task_id = await run_one(app, redis_url, redis_client, "report", retention=60)
    assert redis_client.hget(keys.task("default", task_id), "result") == b"half"
    assert await contexts[0].write_result("late") is False
    assert redis_client.hget(keys.task("default", task_id), "result") == b"half"


async def test_the_threads_way_to_write_a_result_is_refused_where_it_would_wait_for_itself(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()

    @app.task("report")
    async def report(ctx: Context) -> None:
        ctx.write_result_from_thread(b"half")

    task_id = await run_one(app, redis_url, redis_client, "report")
    expected = "write_result_from_thread: is for plain functions; here, await write_result"
    assert message(redis_client, task_id).error == expected


async def test_an_attempt_that_cannot_be_judged_keeps_no_slot_and_loses_its_lease(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """Nothing known leads there; a log filter that raises stands for it."""

    def broken(record: logging.LogRecord) -> bool:
        if getattr(record, "action", "") == "task_failed":
            raise RuntimeError("a filter of the application's")
        return True

    app = App()

    @app.task("fail")
    async def fail() -> None:
        raise ValueError

    app.task("good")(lambda: None)
    logger = logging.getLogger("longshore.server")
    logger.addFilter(broken)
    try:
        async with Client(redis_url) as producer, serving(app, redis_url, concurrency=1) as server:
            bad_ids = [(await producer.enqueue(kind)).message.id for kind in ("fail", "unknown")]
            await until(lambda: all(state(redis_client, one) == "retry" for one in bad_ids))
            good_id = (await producer.enqueue("good")).message.id
            await until(lambda: state(redis_client, good_id) is None)
            assert server.running == 0
    finally:
        logger.removeFilter(broken)
