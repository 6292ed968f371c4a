"""The probes: what they answer, and that draining or a Redis that is away do not make a worker unready or dead."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import timedelta

import pytest
import redis

from longshore import App, Client, RedisSettings, Server
from longshore.errors import InvalidOption
from longshore.runtime.health import HealthServer, Probe
from longshore.testing import RedisServer
from runtime.harness import PATIENCE_S, QUICK, ask, holding, quick, serving, until

LOCAL = ("127.0.0.1", 0)


async def until_status(server: Server, request: str, status: int) -> str:
    """Wait for an answer of that status; its body."""
    give_up_at = time.monotonic() + PATIENCE_S
    while (answer := await ask(server.health_port, request))[0] != status:
        assert time.monotonic() < give_up_at, answer
        await asyncio.sleep(0.05)
    return answer[1]


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        ("GET /livez", (200, "ok")),
        ("GET /livez?verbose", (200, "ok")),
        ("HEAD /livez", (200, "")),
        ("GET /readyz", (503, "not yet")),
        ("POST /livez", (405, "only GET")),
        ("GET /", (404, "not found; there are /livez, /readyz")),
        ("nonsense", (400, "bad request")),
    ],
)
async def test_a_probe_is_answered_by_path_and_method(request_line: str, answer: tuple[int, str]) -> None:
    health = HealthServer(
        {"/livez": lambda: Probe(ok=True, text="ok"), "/readyz": lambda: Probe(ok=False, text="not yet")}
    )
    await health.start(*LOCAL)
    try:
        assert await ask(health.port, request_line) == answer
    finally:
        await health.close()


async def test_a_peer_that_says_nothing_or_too_much_does_no_harm() -> None:
    health = HealthServer({"/livez": lambda: Probe(ok=True, text="ok")})
    await health.start(*LOCAL)
    try:
        _, silent = await asyncio.open_connection("127.0.0.1", health.port)
        reader, loud = await asyncio.open_connection("127.0.0.1", health.port)
        loud.write(b"x" * 20_000)
        assert await reader.read() == b""
        assert (await ask(health.port, "GET /livez"))[0] == 200
        for writer in (silent, loud):
            writer.close()
    finally:
        await health.close()


async def test_closing_drops_what_is_still_connected() -> None:
    health = HealthServer({"/livez": lambda: Probe(ok=True, text="ok")})
    await health.start(*LOCAL)
    reader, writer = await asyncio.open_connection("127.0.0.1", health.port)
    await asyncio.sleep(0.05)
    await health.close()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_worker_is_ready_once_redis_was_reached_and_stays_so_while_it_is_away() -> None:
    with RedisServer() as own:
        own.stop()
        async with serving(App(), own.url, health_address=LOCAL) as server:
            assert await ask(server.health_port, "GET /readyz") == (503, "Redis was not reached yet")
            assert (await ask(server.health_port, "GET /livez"))[0] == 200
            own.start()
            await until_status(server, "GET /readyz", 200)
            own.stop()
            await asyncio.sleep(0.5)
            assert await ask(server.health_port, "GET /readyz") == (200, "ok")
            assert (await ask(server.health_port, "GET /livez"))[0] == 200


async def test_a_draining_worker_stays_ready_and_alive(redis_url: str, redis_client: redis.Redis) -> None:
    app, release = holding()
    async with Client(redis_url) as producer, serving(app, redis_url, health_address=LOCAL) as server:
        await producer.enqueue("hold")
        await until(lambda: server.running == 1)
        server.shutdown()
        await asyncio.sleep(0.2)
        assert await ask(server.health_port, "GET /readyz") == (200, "draining")
        assert (await ask(server.health_port, "GET /livez"))[0] == 200
        release.set()
        await server.wait()


async def test_a_duty_stuck_at_one_step_makes_the_worker_not_alive() -> None:
    with RedisServer() as own:
        # Commands may take as long as they like here, so a frozen Redis is a step that does not end.
        settings = RedisSettings(url=own.url, timeout=timedelta(seconds=30))
        timing = quick(
            stuck=timedelta(seconds=1), settle_at_stop=timedelta(seconds=1), clear_at_stop=timedelta(seconds=1)
        )
        server = Server(App(), redis=settings, timing=timing, health_address=LOCAL)
        async with server:
            await until_status(server, "GET /readyz", 200)
            own.freeze()
            assert (await until_status(server, "GET /livez", 503)).startswith("stuck: ")
            own.thaw()
            await until_status(server, "GET /livez", 200)


async def test_an_address_in_use_is_refused_by_name(redis_url: str) -> None:
    async with serving(App(), redis_url, health_address=LOCAL) as server:
        other = Server(App(), redis=redis_url, health_address=("127.0.0.1", server.health_port or 0), timing=QUICK)
        with pytest.raises(InvalidOption, match=r"health address: cannot listen on 127\.0\.0\.1:"):
            await other.start()
