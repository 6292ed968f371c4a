"""Handlers in processes of their own: what they may know and do, how they end, and that nothing of them stays.

Left out: how the command passes the size of the pool on (tests/cli).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from longshore import App, CallNext, Client, Context, InvalidOption, Server
from longshore.protocol import keys
from runtime import cpu_work
from runtime.harness import QUICK, containers, message, serving, state, until


@asynccontextmanager
async def working(redis_url: str, **options: Any) -> AsyncIterator[tuple[Client, Server]]:
    async with (
        Client(redis_url) as producer,
        serving(options.pop("app", cpu_work.app), redis_url, **{"process_pool_size": 2} | options) as server,
    ):
        yield producer, server


def alive(pid: int) -> bool:
    try:
        # a zombie that nobody has waited for is as good as gone
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def pid_in(path: Path) -> int:
    return int(await until(lambda: path.exists() and path.read_text()))


async def result(client: redis.Redis, task_id: str) -> bytes:
    await until(lambda: state(client, task_id) == "completed", f"task {task_id}")
    return client.hget(keys.task("default", task_id), "result")


async def test_what_it_returns_is_the_result_and_processes_are_used_again(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    async with working(redis_url, process_pool_size=1) as (producer, _):
        ids = [(await producer.enqueue("square", number, retention=60)).message.id for number in range(5)]
        assert [await result(redis_client, one) for one in ids] == [b"0", b"1", b"4", b"9", b"16"]
        pids = set()
        for _ in range(3):
            task_id = (await producer.enqueue("pid", str(tmp_path / "pid"), retention=60)).message.id
            pids.add(int(await result(redis_client, task_id)))
        [pid] = pids
        assert pid != os.getpid()
        assert alive(pid)
    await until(lambda: not alive(pid))


async def test_no_process_is_started_when_none_is_needed(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("quick")(lambda: None)
    app.task("square", process=True)(cpu_work.square)
    async with working(redis_url, app=app) as (producer, server):
        task_id = (await producer.enqueue("quick")).message.id
        await until(lambda: state(redis_client, task_id) is None)
        assert server._parts.processes.processes == []


async def test_the_context_tells_what_it_is_about_and_its_logger_is_heard(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(redis_url) as (producer, _):
        info = await producer.enqueue("facts", max_retry=4, headers={"a": "b"}, retention=60, timeout=50)
        told = json.loads(await result(redis_client, info.message.id))
        assert datetime.fromisoformat(told.pop("deadline")) > datetime.now(UTC)
        assert told == {
            "id": info.message.id,
            "type": "facts",
            "queue": "default",
            "retried": 0,
            "max_retry": 4,
            "headers": {"a": "b"},
            "cancelled": False,
            "main_thread": True,
        }
        [record] = [one for one in caplog.records if one.name == "longshore.task"]
    assert (record.getMessage(), record.levelno) == ("said aloud", logging.WARNING)
    assert (vars(record)["task_id"], vars(record)["shade"]) == (info.message.id, "blue")
    assert record.process != os.getpid()


async def test_it_can_store_a_result_while_it_runs_through_its_server(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async with working(redis_url) as (producer, _):
        task_id = (await producer.enqueue("write", retention=60)).message.id
        assert await result(redis_client, task_id) == b"from afar"


async def test_middleware_goes_around_it_in_the_server(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("square", process=True)(cpu_work.square)
    seen: list[Any] = []

    @app.middleware
    async def look(ctx: Context[Any], call_next: CallNext) -> Any:
        seen.append(os.getpid())
        seen.append(await call_next(ctx))
        return seen[-1] + 1

    async with working(redis_url, app=app) as (producer, _):
        task_id = (await producer.enqueue("square", 6, retention=60)).message.id
        assert await result(redis_client, task_id) == b"37"
    assert seen == [os.getpid(), 36]


@pytest.mark.parametrize(
    ("payload", "where", "text"),
    [
        ("known", "retry", "Known: this and that"),
        ("unwilling", "retry", "Unwilling: halfway"),
        ("skip", "archived", "ValueError: wrapped"),
        ("exit", "retry", "RuntimeError: the handler raised SystemExit: 3"),
        (7, "archived", "payload: expected a string, found a whole number"),
    ],
)
async def test_an_error_is_that_of_the_task_with_its_traceback_in_the_log(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, payload: Any, where: str, text: str
) -> None:
    async with working(redis_url) as (producer, _):
        task_id = (await producer.enqueue("raise", payload)).message.id
        await until(lambda: state(redis_client, task_id) == where)
    assert message(redis_client, task_id).error.startswith(text)
    if payload in ("known", "unwilling"):
        [record] = [one for one in caplog.records if getattr(one, "action", "") == "task_failed"]
        assert "in raise_it" in logging.Formatter().formatException(record.exc_info)


async def test_its_signals_and_its_own_kinds_of_error_reach_is_failure_and_the_verdict(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    seen: list[BaseException] = []

    def is_failure(error: BaseException) -> bool:
        seen.append(error)
        return False

    app.task("raise", process=True, is_failure=is_failure)(cpu_work.raise_it)
    async with working(redis_url, app=app) as (producer, _):
        revoked = (await producer.enqueue("raise", "revoke")).message.id
        known = (await producer.enqueue("raise", "known")).message.id
        await until(lambda: state(redis_client, revoked) is None and state(redis_client, known) == "retry")
    assert message(redis_client, known).retried == 0
    assert [type(one) for one in seen] == [cpu_work.Known]


async def test_a_result_that_cannot_leave_its_process_is_told_of_and_the_task_is_done(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(redis_url) as (producer, _):
        task_id = (await producer.enqueue("lambda", retention=60)).message.id
        await until(lambda: state(redis_client, task_id) == "completed")
    assert "result_unusable" in [getattr(one, "action", "") for one in caplog.records]


async def test_what_the_lifespan_yields_is_out_of_reach_with_a_clear_error(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async with working(redis_url) as (producer, _):
        task_id = (await producer.enqueue("state")).message.id
        await until(lambda: state(redis_client, task_id) == "retry")
    assert "what the lifespan yields is in the server's process" in message(redis_client, task_id).error


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("kill", "the handler's process was killed by SIGKILL (out of memory?)"),
        ("exit", "the handler's process ended with code 7"),
    ],
)
async def test_a_process_that_dies_fails_its_task_and_no_other(
    redis_url: str, redis_client: redis.Redis, payload: str, text: str
) -> None:
    async with working(redis_url, process_pool_size=1) as (producer, _):
        dies = (await producer.enqueue("die", payload)).message.id
        after = (await producer.enqueue("square", 3, retention=60)).message.id
        assert await result(redis_client, after) == b"9"
        await until(lambda: state(redis_client, dies) == "retry")
    assert (message(redis_client, dies).retried, message(redis_client, dies).error) == (1, text)


# -- ending one that goes on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["spin", "deaf"])
async def test_a_deadline_ends_it_and_frees_its_slot_and_its_process(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path, kind: str
) -> None:
    """One in Python code is raised an error and may clean up; one that is deaf is killed, with what it has started."""
    path = tmp_path / "pid"
    async with working(redis_url, process_pool_size=1, concurrency=1) as (producer, server):
        # The process is there before: starting it may take longer than the second, and the task would never begin.
        before = (await producer.enqueue("square", 2, retention=60)).message.id
        assert await result(redis_client, before) == b"4"
        task_id = (await producer.enqueue(kind, str(path), timeout=1)).message.id
        first = await pid_in(path)
        await until(lambda: state(redis_client, task_id) == "retry")
        assert message(redis_client, task_id).error == "context deadline exceeded"
        after = (await producer.enqueue("square", 3, retention=60)).message.id
        assert await result(redis_client, after) == b"9"
        assert server.running == 0
        if kind == "spin":
            assert (tmp_path / "pid.cleaned").exists()
            assert server._parts.processes.processes == [first]
        else:
            await until(lambda: not alive(first))
            program = int((tmp_path / "pid.program").read_text())
            await until(lambda: not alive(program))


async def test_a_cancellation_ends_it(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    async with working(redis_url) as (producer, _):
        task_id = (await producer.enqueue("spin", str(tmp_path / "pid"))).message.id
        await pid_in(tmp_path / "pid")
        redis_client.publish("asynq:cancel", task_id)
        await until(lambda: state(redis_client, task_id) == "retry")
    assert message(redis_client, task_id).error == "context canceled"


@pytest.mark.parametrize("kind", ["spin", "deaf"])
async def test_middleware_that_waits_no_longer_ends_it(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path, kind: str
) -> None:
    app = App()
    app.task(kind, process=True)(getattr(cpu_work, kind))
    path = tmp_path / "pid"

    @app.middleware
    async def impatient(ctx: Context[Any], call_next: CallNext) -> Any:
        async with asyncio.timeout(None) as limit:
            begun = asyncio.ensure_future(pid_in(path))
            begun.add_done_callback(lambda _: limit.reschedule(0))
            return await call_next(ctx)

    async with working(redis_url, app=app, concurrency=1) as (producer, server):
        task_id = (await producer.enqueue(kind, str(path))).message.id
        first = await pid_in(path)
        await until(lambda: state(redis_client, task_id) == "retry")
        assert (message(redis_client, task_id).error, server.running) == ("TimeoutError", 0)
        if kind == "deaf":
            await until(lambda: not alive(first))
        else:
            assert (tmp_path / "pid.cleaned").exists()


@pytest.mark.parametrize("kind", ["spin", "deaf"])
async def test_a_shutdown_puts_its_task_back_and_leaves_no_process(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path, kind: str
) -> None:
    async with working(redis_url, shutdown_timeout=0.1) as (producer, _):
        task_id = (await producer.enqueue(kind, str(tmp_path / "pid"))).message.id
        pid = await pid_in(tmp_path / "pid")
    assert containers(redis_client, task_id) == {"pending"}
    assert (message(redis_client, task_id).retried, message(redis_client, task_id).error) == (0, None)
    await until(lambda: not alive(pid))


async def test_one_that_waits_for_a_process_ends_at_its_deadline_without_having_run(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    async with working(redis_url, process_pool_size=1, shutdown_timeout=0.1) as (producer, server):
        await producer.enqueue("spin", str(tmp_path / "pid"))
        await pid_in(tmp_path / "pid")
        waits = (await producer.enqueue("pid", str(tmp_path / "never"), timeout=1)).message.id
        await until(lambda: state(redis_client, waits) == "retry")
        assert server.running == 1
    assert message(redis_client, waits).error == "context deadline exceeded"
    assert not (tmp_path / "never").exists()


async def test_signals_meant_for_its_server_do_not_end_it(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    async with working(redis_url, process_pool_size=1, shutdown_timeout=0.1) as (producer, _):
        await producer.enqueue("pid", str(tmp_path / "pid"))
        pid = await pid_in(tmp_path / "pid")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTSTP):
            os.kill(pid, number)
        task_id = (await producer.enqueue("pid", str(tmp_path / "again"), retention=60)).message.id
        assert int(await result(redis_client, task_id)) == pid


async def test_a_lost_lease_ends_it_and_writes_nothing(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    async with working(redis_url) as (producer, server):
        task_id = (await producer.enqueue("spin", str(tmp_path / "pid"))).message.id
        await pid_in(tmp_path / "pid")
        [attempt] = server._parts.in_flight
        server._parts.runner.lose(attempt)
        await until(lambda: (tmp_path / "pid.cleaned").exists())
        await until(lambda: server.running == 0)
        assert state(redis_client, task_id) == "active"
        assert message(redis_client, task_id).error is None


# -- registration ------------------------------------------------------------------------------------------------------


def test_an_async_or_local_function_is_refused_at_once() -> None:
    app = App()

    def local() -> None: ...

    async def asynchronous() -> None: ...

    for function, says in ((local, "cannot be found by another process"), (asynchronous, "is async")):
        with pytest.raises(InvalidOption, match=says):
            app.task("x", process=True)(function)


async def test_a_function_that_something_else_has_replaced_is_refused_at_the_start(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App()
    app.task("square", process=True)(cpu_work.square)
    monkeypatch.setattr(cpu_work, "square", lambda: None)
    server = Server(app, redis=redis_url, timing=QUICK)
    with pytest.raises(InvalidOption, match="above any other decorator"):
        await server.start()
    await asyncio.sleep(0)
