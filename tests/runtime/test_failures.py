"""What an application makes of failed attempts: policies, error callbacks, and that neither can end the server."""

from __future__ import annotations

import asyncio
import logging
import pickle
import sys
import threading
from datetime import timedelta
from typing import Any, NoReturn

import pytest
import redis

from longshore import (
    App,
    Client,
    DeadlineExceeded,
    FailedAttempt,
    HandlerNotFound,
    InvalidOption,
    LeaseExpired,
    RetryAction,
    RetryDecision,
    RetryLater,
    RetryPolicy,
    RevokeTask,
    SkipRetry,
    TaskCancelled,
)
from longshore.protocol import keys
from runtime.harness import containers, counters, message, quick, serving, state, until


async def run_one(app: App, url: str, client: redis.Redis, kind: str, payload: Any = None, **options: Any) -> str:
    async with Client(url) as producer, serving(app, url):
        task_id = (await producer.enqueue(kind, payload, **options)).message.id
        await until(lambda: state(client, task_id) not in ("pending", "active"))
    return task_id


async def fail() -> None:
    raise ValueError("no good")


# -- policies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "container", "retried", "counted"),
    [
        (RetryDecision.retry(after=3600), {"retry"}, 1, (1, 1)),
        (RetryDecision.retry(after=3600, counts=False), {"retry"}, 0, (0, 0)),
        (RetryDecision.archive(), {"archived"}, 0, (1, 1)),
        (RetryDecision.drop(), set(), None, (1, 0)),
        (None, {"retry"}, 1, (1, 1)),
    ],
    ids=["retry", "retry without counting", "archive", "drop", "undecided"],
)
async def test_a_decision_is_carried_out(
    redis_url: str,
    redis_client: redis.Redis,
    decision: RetryDecision | None,
    container: set[str],
    retried: int | None,
    counted: tuple[int, int],
) -> None:
    app = App(retry=lambda failed: decision)
    app.task("fail")(fail)
    task_id = await run_one(app, redis_url, redis_client, "fail", headers={"a": "b"})
    assert containers(redis_client, task_id) == container
    assert counters(redis_client) == counted
    if retried is not None:
        assert message(redis_client, task_id).retried == retried
        assert message(redis_client, task_id).error == "ValueError: no good"
    if decision is not None and decision.action is RetryAction.RETRY:
        now_s = redis_client.time()[0]
        assert 3600 - 60 <= redis_client.zscore(keys.retry("default"), task_id) - now_s <= 3600


async def test_a_policy_sees_the_attempt_and_the_tasks_own_wins(redis_url: str, redis_client: redis.Redis) -> None:
    seen: list[FailedAttempt] = []

    def look(failed: FailedAttempt) -> RetryDecision:
        seen.append(failed)
        return RetryDecision.archive()

    app = App(retry=RetryPolicy())
    app.task("fail", retry=look)(fail)
    task_id = await run_one(app, redis_url, redis_client, "fail", b"bytes", max_retry=3, headers={"a": "b"})
    [failed] = seen
    assert (failed.type, failed.task_id, failed.queue, failed.payload) == ("fail", task_id, "default", b"bytes")
    assert (failed.retried, failed.max_retry, dict(failed.headers)) == (0, 3, {"a": "b"})
    assert isinstance(failed.error, ValueError)
    assert 0 <= failed.chance < 1


@pytest.mark.parametrize(("signal", "container"), [(SkipRetry, {"archived"}), (RevokeTask, set())])
async def test_what_the_handler_says_itself_outranks_the_policy(
    redis_url: str, redis_client: redis.Redis, signal: type[Exception], container: set[str]
) -> None:
    app = App(retry=lambda failed: RetryDecision.retry())

    @app.task("signal")
    async def handler() -> None:
        raise signal

    task_id = await run_one(app, redis_url, redis_client, "signal")
    assert containers(redis_client, task_id) == container


@pytest.mark.parametrize(
    ("options", "retried", "counted"),
    [({"after": 3600}, 1, (1, 1)), ({"after": timedelta(hours=1), "counts": False}, 0, (0, 0))],
    ids=["counting", "without counting"],
)
async def test_a_handler_can_put_its_task_off(
    redis_url: str, redis_client: redis.Redis, options: dict[str, Any], retried: int, counted: tuple[int, int]
) -> None:
    app = App(retry=lambda failed: RetryDecision.archive())

    @app.task("busy")
    async def busy() -> None:
        try:
            raise ConnectionError("busy")
        except ConnectionError as error:
            raise RetryLater("the shop is closed", **options) from error

    task_id = await run_one(app, redis_url, redis_client, "busy", max_retry=1)
    assert containers(redis_client, task_id) == {"retry"}
    assert (message(redis_client, task_id).retried, message(redis_client, task_id).error) == (
        retried,
        "the shop is closed",
    )
    assert counters(redis_client) == counted
    wait_s = redis_client.zscore(keys.retry("default"), task_id) - redis_client.time()[0]
    assert 3600 - 60 <= wait_s <= 3600


def test_what_puts_a_task_off_comes_whole_from_another_process() -> None:
    signal = pickle.loads(pickle.dumps(RetryLater("closed", after=60, counts=False)))
    assert (str(signal), signal.after, signal.counts) == ("closed", timedelta(minutes=1), False)


async def test_deadlines_and_cancellations_are_errors_a_policy_can_tell(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App(retry=RetryPolicy(give_up_for=(TaskCancelled,), uncounted_for=(DeadlineExceeded,)))
    running = asyncio.Event()

    @app.task("long")
    async def long() -> None:
        running.set()
        await asyncio.sleep(3600)

    async with Client(redis_url) as producer, serving(app, redis_url):
        await until(lambda: redis_client.pubsub_numsub("asynq:cancel")[0][1])
        late = (await producer.enqueue("long", timeout=1)).message.id
        await until(lambda: state(redis_client, late) == "retry")
        running.clear()
        cancelled = (await producer.enqueue("long")).message.id
        await running.wait()
        redis_client.publish("asynq:cancel", cancelled)
        await until(lambda: state(redis_client, cancelled) == "archived")
    assert message(redis_client, late).retried == 0
    assert message(redis_client, late).error == "context deadline exceeded"
    assert message(redis_client, cancelled).error == "context canceled"


async def _abandoned(url: str, client: redis.Redis, **options: Any) -> str:
    """A task whose worker died long ago."""
    async with Client(url) as producer:
        task_id = (await producer.enqueue("long", **options)).message.id
    client.rpoplpush(keys.pending("default"), keys.active("default"))
    client.zadd(keys.lease("default"), {task_id: 1})
    client.hset(keys.task("default", task_id), "state", "active")
    client.hdel(keys.task("default", task_id), "pending_since")
    return task_id


@pytest.mark.parametrize(
    ("app", "retried"),
    [
        (App(retry_delay=lambda n, error: 3600), 1),  # at once, it would run, and fail for want of a handler
        (App(is_failure=lambda error: not isinstance(error, LeaseExpired), retry_delay=lambda n, error: 3600), 0),
        (App(retry=RetryPolicy(delay=3600, uncounted_for=(LeaseExpired,))), 0),
    ],
    ids=["by default", "is_failure says no", "a policy"],
)
async def test_a_lost_lease_need_not_use_up_a_retry(
    redis_url: str, redis_client: redis.Redis, app: App, retried: int
) -> None:
    task_id = await _abandoned(redis_url, redis_client)
    async with serving(app, redis_url):
        await until(lambda: message(redis_client, task_id).error == "asynq: task lease expired")
    assert message(redis_client, task_id).retried == retried


async def test_with_no_retry_left_a_lost_lease_can_be_forgiven(redis_url: str, redis_client: redis.Redis) -> None:
    app = App(retry=RetryPolicy(delay=3600, uncounted_for=(LeaseExpired,)))
    task_id = await _abandoned(redis_url, redis_client, max_retry=0)
    async with serving(app, redis_url):
        await until(lambda: state(redis_client, task_id) == "retry")
    assert counters(redis_client) == (0, 0)


# -- error callbacks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True], ids=["async", "thread"])
async def test_a_callback_is_told_of_the_error_and_of_what_became_of_the_task(
    redis_url: str, redis_client: redis.Redis, plain: bool
) -> None:
    app = App()
    told: list[Any] = []

    if plain:

        @app.on_error
        def report(failed: FailedAttempt, decision: RetryDecision) -> None:
            told.append((failed.task_id, repr(failed.error), failed.error.__traceback__ is not None, decision))
            assert threading.current_thread() is not threading.main_thread()

    else:

        @app.on_error
        async def report_async(failed: FailedAttempt, decision: RetryDecision) -> None:
            await asyncio.sleep(0)
            told.append((failed.task_id, repr(failed.error), failed.error.__traceback__ is not None, decision))

    app.task("fail", retry=RetryPolicy(delay=7, jitter=0))(fail)
    task_id = await run_one(app, redis_url, redis_client, "fail")
    assert told == [(task_id, "ValueError('no good')", True, RetryDecision.retry(after=7, reason="failed"))]


async def test_callbacks_are_told_of_every_way_to_fail_and_of_no_success(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    told: dict[str, tuple[type[BaseException], RetryAction]] = {}
    running = asyncio.Event()

    @app.on_error
    async def report(failed: FailedAttempt, decision: RetryDecision) -> None:
        told[failed.task_id] = (type(failed.error), decision.action)

    app.task("fail")(fail)
    app.task("fine")(lambda: None)

    @app.task("long")
    async def long() -> None:
        running.set()
        await asyncio.sleep(3600)

    @app.task("revoke")
    async def revoke() -> None:
        raise RevokeTask

    lost = await _abandoned(redis_url, redis_client)
    async with Client(redis_url) as producer, serving(app, redis_url):
        await until(lambda: lost in told)
        redis_client.delete(keys.pending("default"), keys.retry("default"), keys.task("default", lost))
        await until(lambda: redis_client.pubsub_numsub("asynq:cancel")[0][1])
        ids = {
            name: (await producer.enqueue(kind, **options)).message.id
            for name, kind, options in [
                ("fails", "fail", {}),
                ("fails for good", "fail", {"max_retry": 0}),
                ("revokes", "revoke", {}),
                ("takes too long", "long", {"timeout": 1}),
                ("unknown", "unknown", {}),
                ("fine", "fine", {}),
            ]
        }
        await until(lambda: len(told) == 6)
        running.clear()
        cancelled = (await producer.enqueue("long")).message.id
        await running.wait()
        redis_client.publish("asynq:cancel", cancelled)
        await until(lambda: len(told) == 7)
    assert told == {
        lost: (LeaseExpired, RetryAction.RETRY),
        ids["fails"]: (ValueError, RetryAction.RETRY),
        ids["fails for good"]: (ValueError, RetryAction.ARCHIVE),
        ids["revokes"]: (RevokeTask, RetryAction.DROP),
        ids["takes too long"]: (DeadlineExceeded, RetryAction.RETRY),
        ids["unknown"]: (HandlerNotFound, RetryAction.RETRY),
        cancelled: (TaskCancelled, RetryAction.RETRY),
    }


async def test_a_callback_that_never_returns_holds_up_neither_the_outcome_nor_the_end(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    release = threading.Event()

    @app.on_error
    def deaf(failed: FailedAttempt, decision: RetryDecision) -> None:
        release.wait(60)

    @app.on_error
    async def slow(failed: FailedAttempt, decision: RetryDecision) -> None:
        await asyncio.sleep(3600)

    app.task("fail")(fail)
    app.task("fine")(lambda: None)
    timing = quick(error_callback=timedelta(milliseconds=100), settle_at_stop=timedelta(milliseconds=500))
    try:
        async with Client(redis_url) as producer, serving(app, redis_url, timing=timing, concurrency=1):
            failing = [(await producer.enqueue("fail")).message.id for _ in range(20)]
            fine = (await producer.enqueue("fine")).message.id
            await until(lambda: state(redis_client, fine) is None)
            await until(lambda: all(state(redis_client, one) == "retry" for one in failing))
            await until(lambda: "error_callback_slow" in actions(caplog))
    finally:
        release.set()


class Endless:
    """A callback that is an object."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    async def __call__(self, *about: Any) -> None:
        self.begun += 1
        try:
            await asyncio.sleep(3600)
        finally:
            self.ended += 1


@pytest.mark.parametrize("hidden", [False, True], ids=["an object", "a plain function that returns a coroutine"])
async def test_whatever_an_async_callback_looks_like_it_is_cancelled_when_its_time_is_over(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    monkeypatch.setattr("longshore.runtime.error_callbacks._AT_ONCE", 1)
    endless = Endless()
    app = App()
    app.on_error((lambda *about: endless(*about)) if hidden else endless)
    app.task("fail")(fail)
    timing = quick(error_callback=timedelta(milliseconds=50))
    async with Client(redis_url) as producer, serving(app, redis_url, timing=timing):
        for _ in range(3):
            await producer.enqueue("fail")
        await until(lambda: endless.ended == 3)
    assert endless.begun == 3


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "action", "") for record in caplog.records]


def _exit(*args: Any) -> NoReturn:
    sys.exit(3)


def _raise(*args: Any) -> NoReturn:
    raise RuntimeError("the policy is broken")


def _recurse(*args: Any) -> Any:
    return _recurse(*args)


async def _exit_async(*args: Any) -> None:
    sys.exit(3)


async def _cancel_itself(*args: Any) -> None:
    raise asyncio.CancelledError


BROKEN_POLICIES = [
    ({"retry": _exit}, "retry_broken"),
    ({"retry": _raise}, "retry_broken"),
    ({"retry": _recurse}, "retry_broken"),
    ({"retry": lambda failed: "later"}, "retry_broken"),
    ({"retry_delay": _exit}, "retry_delay_broken"),
    ({"retry_delay": lambda n, error: float("nan")}, "retry_delay_broken"),
    ({"is_failure": _exit}, "is_failure_broken"),
    ({"is_failure": lambda error: error.missing}, "is_failure_broken"),
    ({"on_error": _exit}, "error_callback_broken"),
    ({"on_error": _raise}, "error_callback_broken"),
    ({"on_error": _exit_async}, "error_callback_broken"),
    ({"on_error": lambda failed: None}, "error_callback_broken"),
    ({"on_error": lambda failed, decision: _exit_async()}, "error_callback_broken"),
]


@pytest.mark.parametrize(("broken", "action"), BROKEN_POLICIES)
async def test_whatever_a_function_of_the_application_does_the_usual_is_done_and_the_server_goes_on(
    redis_url: str,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    broken: dict[str, Any],
    action: str,
) -> None:
    on_error = broken.get("on_error")
    app = App(**{name: function for name, function in broken.items() if name != "on_error"})
    if on_error is not None:
        app.on_error(on_error)
    app.task("fail")(fail)
    app.task("fine")(lambda: None)
    lost = await _abandoned(redis_url, redis_client)
    async with Client(redis_url) as producer, serving(app, redis_url, concurrency=1):
        task_id = (await producer.enqueue("fail")).message.id
        await until(lambda: state(redis_client, task_id) == "retry")
        await until(lambda: message(redis_client, lost).retried >= 1)
        fine = (await producer.enqueue("fine")).message.id
        await until(lambda: state(redis_client, fine) is None)
        await until(lambda: action in actions(caplog))
    assert message(redis_client, task_id).retried == 1


async def test_a_callback_that_cancels_itself_is_over(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.on_error(_cancel_itself)
    app.task("fail")(fail)
    task_id = await run_one(app, redis_url, redis_client, "fail")
    assert state(redis_client, task_id) == "retry"


async def test_when_more_fails_than_can_be_told_the_rest_is_counted(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.runtime.error_callbacks._MOST", 3)
    app = App()
    told: list[str] = []
    release = asyncio.Event()

    @app.on_error
    async def report(failed: FailedAttempt, decision: RetryDecision) -> None:
        await release.wait()
        told.append(failed.task_id)

    app.task("fail")(fail)
    async with Client(redis_url) as producer, serving(app, redis_url):
        ids = [(await producer.enqueue("fail")).message.id for _ in range(8)]
        await until(lambda: all(state(redis_client, one) == "retry" for one in ids))
        release.set()
        await until(lambda: len(told) == 3)
        await producer.enqueue("fail")
        await until(lambda: len(told) == 4)
    [record] = [record for record in caplog.records if getattr(record, "action", "") == "errors_untold"]
    assert record.attempts == 5


@pytest.mark.parametrize("name", ["retry", "retry_delay", "is_failure"])
@pytest.mark.parametrize("wrong", [_exit_async, "text"], ids=["async", "no function"])
def test_a_policy_that_could_not_be_asked_is_refused(name: str, wrong: Any) -> None:
    options: dict[str, Any] = {name: wrong}
    with pytest.raises(InvalidOption, match=f"{name}: "):
        App(**options)
    with pytest.raises(InvalidOption, match=f"{name}: "):
        App().task("a", **options)


def test_included_applications_keep_their_policy_and_their_callbacks_are_called_with_the_outer_ones() -> None:
    outer, inner = App(retry=_raise), App(retry=_exit)
    inner.task("a")(fail)
    outer.include(inner)
    inner.on_error(_cancel_itself)
    outer.on_error(_exit_async)
    assert outer.failure_policy("a").retry is _exit
    assert outer.failure_policy("a").on_error == (_exit_async, _cancel_itself)
    assert outer.failure_policy("unknown").on_error == (_exit_async,)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="longshore")
