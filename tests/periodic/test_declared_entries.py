"""Entries that an application declares, in code or by a provider: written to Redis, and kept through every restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from longshore import App, CatchUp, InvalidOption, PeriodicTask, Scheduler, Task
from longshore.protocol import keys
from longshore.protocol.periodic import decode_entry, entry_id
from longshore.runtime.entry_provider import EntryPoll
from longshore.scheduler import application_scope
from periodic.harness import QUICK, SchedulerProcess, until, wait_until

SCOPE = application_scope("shop")


def stored(client: redis.Redis) -> dict[str, Any]:
    found = client.hgetall(keys.periodic_entries(SCOPE))
    return {name.decode(): decode_entry(data) for name, data in found.items()}


def ticks(client: redis.Redis, name: str, scope: str = SCOPE, queue: str = "default") -> list[int]:
    """The ticks that became tasks, oldest first."""
    prefix = f"periodic:{entry_id(scope, name)}:".encode()
    ids = reversed(client.lrange(keys.pending(queue), 0, -1))
    return [int(one.removeprefix(prefix)) for one in ids if one.startswith(prefix)]


def every_second(name: str, **options: Any) -> PeriodicTask:
    return PeriodicTask(name=name, schedule="@every 1s", task=Task("tick", **options), catch_up=CatchUp.ALL)


def application() -> App:
    app = App()

    @app.periodic("@every 1s", catch_up=CatchUp.ALL)
    @app.task("tick")
    async def tick() -> None: ...

    return app


async def test_a_restart_neither_repeats_a_tick_nor_loses_one(redis_url: str, redis_client: redis.Redis) -> None:
    for _ in range(3):
        at = len(ticks(redis_client, "tick"))
        async with Scheduler("shop", app=application(), redis=redis_url, timing=QUICK):
            await until(lambda: len(ticks(redis_client, "tick")) >= at + 2)  # noqa: B023  # called in the loop
        await asyncio.sleep(1.1)  # nothing runs: a tick passes, for the next one to make up
    found = ticks(redis_client, "tick")
    assert found == list(range(found[0], found[0] + len(found)))


async def test_an_entry_that_is_no_longer_declared_is_removed_and_a_changed_one_is_written(
    redis_url: str, redis_client: redis.Redis
) -> None:
    before, after = App(), App()
    before.add_periodic("gone", "@hourly", Task("a"))
    before.add_periodic("stays", "@hourly", Task("b"))
    after.add_periodic("stays", "@hourly", Task("b", max_retry=1))
    async with Scheduler("shop", app=before, redis=redis_url, timing=QUICK):
        await until(lambda: set(stored(redis_client)) == {"gone", "stays"})
    since = stored(redis_client)["stays"].since
    async with Scheduler("shop", app=after, redis=redis_url, timing=QUICK):
        await until(lambda: set(stored(redis_client)) == {"stays"})
        await until(lambda: stored(redis_client)["stays"].task.max_retry == 1)
    assert stored(redis_client)["stays"].since == since


async def test_a_scope_of_an_application_is_never_that_of_an_operator(redis_url: str) -> None:
    with pytest.raises(InvalidOption, match="cannot name an application's entries"):
        Scheduler("default/main", app=application(), redis=redis_url)


# -- a provider --------------------------------------------------------------------------------------------------------


class Provider:
    """Says what the test tells it to."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)
        self.fails = False
        self.asked = 0

    async def __call__(self) -> list[Any]:
        self.asked += 1
        if self.fails:
            raise ConnectionError("no database")
        return list(self.items)


def provided(provider: Any, url: str, **options: Any) -> Scheduler:
    return Scheduler("shop", provider=provider, sync_interval=timedelta(seconds=1), redis=url, timing=QUICK, **options)


async def test_what_a_provider_says_is_followed_and_unchanged_entries_keep_their_schedule(
    redis_url: str, redis_client: redis.Redis
) -> None:
    provider = Provider(every_second("a"), every_second("b"))
    async with provided(provider, redis_url):
        await until(lambda: len(ticks(redis_client, "a")) >= 2)
        since = stored(redis_client)["a"].since
        provider.items = [every_second("a"), every_second("c")]
        await until(lambda: set(stored(redis_client)) == {"a", "c"})
        await until(lambda: len(ticks(redis_client, "c")) >= 1)
        assert stored(redis_client)["a"].since == since
        provider.items = []
        await until(lambda: not stored(redis_client))
    found = ticks(redis_client, "a")
    assert found == list(range(found[0], found[0] + len(found)))


async def test_an_error_of_the_provider_leaves_all_as_it_is_also_after_a_restart(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Provider(every_second("a"))
    async with provided(provider, redis_url):
        await until(lambda: ticks(redis_client, "a"))
        provider.fails = True
        asked = provider.asked
        await until(lambda: provider.asked > asked)
        at = len(ticks(redis_client, "a"))
        await until(lambda: len(ticks(redis_client, "a")) >= at + 2)
        report = keys.periodic_errors(SCOPE)
        await until(lambda: redis_client.hget(report, "(provider)") == b"ConnectionError: no database")
    async with provided(provider, redis_url):
        at = len(ticks(redis_client, "a"))
        await until(lambda: len(ticks(redis_client, "a")) >= at + 2)
        provider.fails = False
        await until(lambda: not redis_client.exists(report))
    assert "provider_failed" in [getattr(one, "action", "") for one in caplog.records]


async def test_an_invalid_item_is_left_out_alone_and_what_had_its_name_goes_on(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """Asynq's manager skips the whole round."""
    provider = Provider(every_second("a"))
    async with provided(provider, redis_url):
        await until(lambda: ticks(redis_client, "a"))
        provider.items = [
            PeriodicTask(name="a", schedule="never", task=Task("tick")),
            PeriodicTask(name="bad", schedule="@daily", task=Task("tick", task_id="x")),
            "not even one",
            PeriodicTask(name="worse", schedule="@daily", task="tick"),  # type: ignore[arg-type]
            every_second("b"),
            every_second("b", queue="other"),
        ]
        await until(lambda: ticks(redis_client, "b"))
        at = len(ticks(redis_client, "a"))
        await until(lambda: len(ticks(redis_client, "a")) >= at + 1)
        errors = redis_client.hgetall(keys.periodic_errors(SCOPE))
    assert set(errors) == {b"a", b"bad", b"item 3", b"worse", b"b (item 6)"}
    assert set(stored_names(redis_client)) == {b"a", b"b"}


def stored_names(client: redis.Redis) -> list[bytes]:
    return list(client.hkeys(keys.periodic_entries(SCOPE)))


async def test_two_equal_items_without_a_name_are_one_entry(redis_url: str, redis_client: redis.Redis) -> None:
    item = PeriodicTask(schedule="@hourly", task=Task("a"))
    other = PeriodicTask(schedule="@hourly", task=Task("a", headers={"k": "v"}))
    provider = Provider(item, item, other)
    async with provided(provider, redis_url):
        await until(lambda: len(stored(redis_client)) == 2)
        provider.items = [other]
        await until(lambda: len(stored(redis_client)) == 1)
    assert not redis_client.exists(keys.periodic_errors(SCOPE))


async def test_a_plain_provider_runs_in_a_thread_and_a_slow_one_delays_no_tick(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = application()
    release = threading.Event()
    threads: list[threading.Thread] = []

    @app.periodic_provider
    def provider() -> list[PeriodicTask]:
        threads.append(threading.current_thread())
        release.wait(60)
        return [every_second("late")]

    async with Scheduler("shop", app=app, redis=redis_url, timing=QUICK):
        try:
            await until(lambda: len(ticks(redis_client, "tick")) >= 3)
            assert set(stored(redis_client)) == {"tick"}
        finally:
            release.set()
        await until(lambda: ticks(redis_client, "late"))
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt()])
async def test_whatever_a_provider_raises_is_told_and_it_is_asked_again(error: BaseException) -> None:
    asked = 0

    async def provider() -> list[PeriodicTask]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise error
        return [every_second("a")]

    poll = EntryPoll(provider, interval=timedelta(milliseconds=10), options_for=lambda _: {}, taken={})
    try:
        assert await poll.current() is None
        assert poll.failure is not None
        assert poll.failure.startswith(type(error).__name__)
        while (known := await poll.current()) is None:  # noqa: ASYNC110  # as a scheduler does, each second
            await asyncio.sleep(0.01)
        assert set(known.entries) == {"a"}
    finally:
        await poll.aclose()


async def test_a_provider_that_never_answers_is_waited_for_once_and_told() -> None:
    stopped = asyncio.Event()

    async def provider() -> list[PeriodicTask]:
        while not stopped.is_set():
            with contextlib.suppress(asyncio.CancelledError):  # nor does it heed the end
                await stopped.wait()
        return []

    poll = EntryPoll(
        provider, interval=timedelta(seconds=1), options_for=lambda _: {}, taken={}, silence=timedelta(milliseconds=1)
    )
    async with asyncio.timeout(60):
        for _ in range(1000):  # as many seconds of a scheduler's: none may wait, or ticks would be late
            assert await poll.current() is None
        await poll.aclose()
    assert poll.failure == "no answer for more than 0.001 s"
    stopped.set()


# -- the commands ------------------------------------------------------------------------------------------------------

SHOP = """
import longshore
from longshore import CatchUp
app = longshore.App()

@app.periodic("@every 1s", catch_up=CatchUp.ALL, queue="ticks")
@app.task("tick")
async def tick() -> None: ...

@app.task("seen")
async def seen() -> None: ...
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LONGSHORE_PERIODIC_SCOPE", raising=False)
    return tmp_path


def test_three_processes_of_which_two_are_killed_run_each_tick_once(
    project: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    """Two as `longshore scheduler`, one beside a worker; they find each other by the application's name."""
    scope = application_scope("shop.app")
    plain = {"LONGSHORE_PERIODIC_SCOPE": ""}
    processes = [
        SchedulerProcess(redis_url, project / "a.log", "shop:app", environment=plain),
        SchedulerProcess(redis_url, project / "b.log", "shop:app", environment=plain),
        SchedulerProcess(redis_url, project / "c.log", "shop:app", "--scheduler", environment=plain, command="worker"),
    ]
    try:
        wait_until(lambda: len(ticks(redis_client, "tick", scope, "ticks")) >= 2)
        for _ in range(2):
            holder = json.loads(redis_client.get(keys.scheduler_lease(scope)))["holder"]
            active = next(one for one in processes if f":{one.pid}:" in holder)
            active.kill()
            at = len(ticks(redis_client, "tick", scope, "ticks"))
            wait_until(lambda at=at: len(ticks(redis_client, "tick", scope, "ticks")) >= at + 3)
    finally:
        for process in processes:
            process.kill()
    found = ticks(redis_client, "tick", scope, "ticks")
    assert found == list(range(found[0], found[0] + len(found)))
    record = redis_client.hgetall(keys.tick_record("ticks", entry_id(scope, "tick")))
    assert record[b"enqueued"] == str(len(found)).encode()


def test_the_log_of_a_worker_with_a_scheduler_ends_with_both(project: Path, redis_url: str) -> None:
    process = SchedulerProcess(
        redis_url,
        project / "log",
        "shop:app",
        "--scheduler",
        environment={"LONGSHORE_PERIODIC_SCOPE": ""},
        command="worker",
    )
    try:
        wait_until(lambda: process.says("action=active"))
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
    assert process.says("action=scheduler_stopped")
    assert process.says("action=server_stopped")
