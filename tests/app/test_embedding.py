"""A worker server inside a web service: the lifespan, and the example as it is run."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

import longshore
from longshore import App, Client, InvalidOption, RedisSettings, Server
from longshore.broker.redis_broker import RedisBroker
from runtime.harness import PATIENCE_S, QUICK, serving, state, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi"


async def test_the_server_runs_and_the_state_has_a_client_as_long_as_the_lifespan(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    events: list[str] = []

    @app.task("a", queue="default")
    async def handler(payload: str) -> None:
        events.append(payload)

    @asynccontextmanager
    async def inner(web: str) -> AsyncIterator[dict[str, Any]]:
        events.append(f"inner of {web} entered")
        yield {"database": "db"}
        events.append("inner left")
        assert redis_client.keys("asynq:servers*") == []

    lifespan = longshore.lifespan(app, redis=redis_url, inner=inner, timing=QUICK, concurrency=3)
    for _ in range(2):  # a web service may be started again, as tests do
        async with lifespan("the service") as yielded:
            assert set(yielded) == {"database", "longshore", "longshore_server"}
            assert isinstance(yielded["longshore_server"], Server)
            task_id = (await yielded["longshore"].enqueue("a", "ran")).id
            await until(lambda task_id=task_id: state(redis_client, task_id) is None)
    assert events == ["inner of the service entered", "ran", "inner left"] * 2


async def test_it_leaves_signals_alone(redis_url: str) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTSTP)}
    async with serving(App(), redis_url):
        assert {number: signal.getsignal(number) for number in before} == before


def test_a_name_that_is_no_attribute_is_refused() -> None:
    with pytest.raises(InvalidOption, match="name: is 'my tasks'"):
        longshore.lifespan(App(), name="my tasks")


async def test_without_a_running_redis_the_service_starts_all_the_same() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{closed.getsockname()[1]}/0"
        async with longshore.lifespan(App(), redis=url, timing=QUICK)("web") as yielded:
            assert isinstance(yielded["longshore"], Client)


async def test_the_client_goes_to_the_broker_that_the_server_is_given(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    ran = asyncio.Event()
    app.task("a")(lambda: app_loop.call_soon_threadsafe(ran.set))
    app_loop = asyncio.get_running_loop()
    broker = RedisBroker.connect(RedisSettings.of(redis_url))
    async with longshore.lifespan(app, broker=broker, timing=QUICK)("web") as yielded:
        await yielded["longshore"].enqueue("a")
        await asyncio.wait_for(ran.wait(), PATIENCE_S)
    assert await broker.ping() is None  # the caller's to close
    await broker.aclose()


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        free: int = one.getsockname()[1]
    return free


async def test_the_example_enqueues_and_runs_tasks_in_one_process_and_drains_when_it_is_stopped(
    redis_url: str, redis_client: redis.Redis, port: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "uvicorn",
        "service:api",
        f"--port={port}",
        cwd=EXAMPLE,
        env={**os.environ, "REDIS_URL": redis_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as http:
            report = {"customer": "ada", "rows": 14}
            ordered = (await _when_it_listens(http, report)).json()["id"]
            done = await _look(http, ordered)
            assert done == {"state": "completed", "result": {"customer": "ada", "total": 42}}

            unknown = (await http.post("/reports", json={"customer": "bob", "rows": 1})).json()["id"]
            assert await _look(http, unknown) == {"state": "archived", "error": "KeyError: 'bob'"}
            assert (await http.get("/reports/nothing")).status_code == 404

            long = (await http.post("/reports", json={"customer": "grace", "rows": 100})).json()["id"]
            again = await http.post("/reports", json={"customer": "grace", "rows": 100})
            assert again.status_code == 409
            await until(lambda: state(redis_client, long, "reports") == "active")
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode()
    assert state(redis_client, long, "reports") == "completed", text  # let to its end
    assert f"report:make {unknown}: KeyError('bob'); archive" in text
    assert "Traceback" not in text.replace("Traceback (most recent call last)", "", 1)  # that of the KeyError


async def _when_it_listens(http: httpx.AsyncClient, report: dict[str, Any]) -> httpx.Response:
    for _ in range(int(PATIENCE_S / 0.1)):
        try:
            return await http.post("/reports", json=report)
        except httpx.ConnectError:
            await asyncio.sleep(0.1)
    raise AssertionError("it does not listen")


async def _look(http: httpx.AsyncClient, task_id: str) -> Any:
    for _ in range(int(PATIENCE_S / 0.05)):
        answer = (await http.get(f"/reports/{task_id}")).json()
        if answer["state"] not in ("pending", "active"):
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError("it does not end")
