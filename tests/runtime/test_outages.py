"""Redis away: at start, while idle, under load, frozen. The server waits without spinning and goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
import redis

from longshore import App, Client, RedisSettings, Task
from longshore.protocol import keys
from longshore.runtime.timing import Timing
from longshore.testing import RedisServer
from runtime.harness import counters, holding, quick, serving, state, until


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that may be stopped."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[redis.Redis]:
    with redis.Redis(port=own_redis.port) as client:
        yield client


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records if hasattr(record, "action")]


async def test_a_server_starts_while_redis_is_down_and_begins_when_it_comes(
    own_redis: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    app.task("n")(lambda: None)
    own_redis.stop()
    caplog.set_level("INFO")
    async with serving(app, own_redis.url):
        await asyncio.sleep(1)
        assert actions(caplog).count("redis_unavailable") == 1  # once, not by every loop at every try
        own_redis.start()
        async with Client(own_redis.url) as producer:
            task_id = (await producer.enqueue("n")).message.id
        await until(lambda: state(client, task_id) is None)
        await until(lambda: "redis_back" in actions(caplog), "the word that Redis is back")
    assert actions(caplog).count("redis_back") == 1


async def test_a_server_resumes_after_redis_went_away_and_came_back(
    own_redis: RedisServer, client: redis.Redis
) -> None:
    app = App()
    app.task("n")(lambda: None)
    async with serving(app, own_redis.url):
        for _ in range(2):
            await until(lambda: client.info("clients")["blocked_clients"] == 1, "parking")
            own_redis.stop()
            await asyncio.sleep(0.5)
            own_redis.start()
            async with Client(own_redis.url) as producer:
                task_id = (await producer.enqueue("n")).message.id
            await until(lambda gone=task_id: state(client, gone) is None)


async def test_redis_being_away_makes_no_hot_loop() -> None:
    attempts = 0

    def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    impostor = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = impostor.sockets[0].getsockname()[1]
    try:
        async with serving(App(), f"redis://127.0.0.1:{port}", timing=Timing()):
            await asyncio.sleep(3)
    finally:
        impostor.close()
        await impostor.wait_closed()
    # Six loops that try again within 0.1 to 2 s; a spin makes thousands of attempts.
    assert 5 < attempts < 100


async def test_no_task_is_lost_or_done_twice_when_redis_freezes_under_load(
    own_redis: RedisServer, client: redis.Redis
) -> None:
    """Frozen for longer than a command may take, shorter than a lease: outcomes wait for it."""
    app = App()
    ran: list[int] = []

    @app.task("n")
    async def n(payload: int) -> None:
        ran.append(payload)
        await asyncio.sleep(0.01)

    settings = RedisSettings(url=own_redis.url, timeout=timedelta(seconds=0.5))
    async with Client(own_redis.url) as producer:
        await producer.enqueue_many([Task("n", number) for number in range(600)])
    async with serving(app, settings, concurrency=10) as server:
        await until(lambda: len(ran) > 50)
        own_redis.freeze()
        await asyncio.sleep(2)
        own_redis.thaw()
        # Tasks of a dequeue whose answer was lost are leased to nobody: they come back when their lease is over.
        await until(lambda: not client.exists(keys.pending("default")))
        # A stop would put back what is being taken just now.
        await until(lambda: len(ran) == 600 - client.llen(keys.active("default")) and server.running == 0)
    lost_in_dequeue = client.llen(keys.active("default"))
    assert lost_in_dequeue <= 10
    assert len(ran) == len(set(ran)) == 600 - lost_in_dequeue
    assert counters(client) == (600 - lost_in_dequeue, 0)


async def test_an_outcome_that_could_not_be_written_is_written_when_redis_is_back(
    own_redis: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app, release = holding()
    settings = RedisSettings(url=own_redis.url, timeout=timedelta(seconds=0.3))
    async with Client(own_redis.url) as producer, serving(app, settings) as server:
        task_id = (await producer.enqueue("hold")).message.id
        await until(lambda: server.running == 1)
        own_redis.freeze()
        release.set()
        await until(lambda: len(server._parts.syncer) == 1, "the outcome waiting to be written")
        own_redis.thaw()
        await until(lambda: state(client, task_id) is None)
    assert counters(client) == (1, 0)


async def test_outcomes_that_a_frozen_redis_does_not_take_before_the_end_are_told(
    own_redis: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app, release = holding()
    timing = quick(settle_at_stop=timedelta(seconds=0.3), clear_at_stop=timedelta(seconds=0.1))
    async with Client(own_redis.url) as producer, serving(app, own_redis.url, timing=timing) as server:
        await producer.enqueue("hold")
        await until(lambda: server.running == 1)
        own_redis.freeze()
        release.set()
        server.shutdown()
        await asyncio.wait_for(server.wait(), 60)
        own_redis.thaw()
    assert [record.tasks for record in caplog.records if getattr(record, "action", "") == "outcomes_lost"] == [1]


async def test_a_server_stops_in_bounded_time_while_redis_is_away(own_redis: RedisServer, client: redis.Redis) -> None:
    app, _ = holding()
    async with Client(own_redis.url) as producer, serving(app, own_redis.url, shutdown_timeout=0.2) as server:
        await producer.enqueue("hold")
        await until(lambda: server.running == 1)
        own_redis.stop()
        server.shutdown()
        await asyncio.wait_for(server.wait(), 60)


async def test_wrong_credentials_are_told_with_redis_own_reason(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer("--requirepass", "secret") as locked:
        async with serving(App(), locked.url):
            await until(lambda: "redis_unavailable" in actions(caplog))
    [told] = [record for record in caplog.records if getattr(record, "action", "") == "redis_unavailable"]
    assert "Authentication required" in told.error
