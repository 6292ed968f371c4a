"""Pausing a server: nothing more is taken, what runs goes on, readers are told; and it can be undone."""

from __future__ import annotations

import redis

from longshore import App, Client, Server
from longshore.protocol import codec
from runtime.harness import QUICK, holding, serving, state, until


def status(client: redis.Redis) -> str | None:
    names = client.keys("asynq:servers:*")
    return codec.decode_server(client.get(names[0])).status if names else None


async def test_a_paused_server_takes_nothing_finishes_what_runs_and_says_stopped(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, release = holding()
    async with Client(redis_url) as producer, serving(app, redis_url) as server:
        running = (await producer.enqueue("hold")).message.id
        await until(lambda: server.running == 1)
        server.pause()
        waiting = (await producer.enqueue("hold")).message.id
        await until(lambda: status(redis_client) == "stopped")
        release.set()
        await until(lambda: state(redis_client, running) is None)
        assert (server.paused, server.running) == (True, 0)
        assert state(redis_client, waiting) == "pending"

        server.resume()
        await until(lambda: state(redis_client, waiting) is None)
        await until(lambda: status(redis_client) == "active")


async def test_a_server_paused_while_idle_is_woken_by_no_task(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("quick")(lambda: None)
    async with Client(redis_url) as producer, serving(app, redis_url) as server:
        done = (await producer.enqueue("quick")).message.id
        await until(lambda: state(redis_client, done) is None)  # it waits on its queue now
        server.pause()
        waiting = [(await producer.enqueue("quick")).message.id for _ in range(3)]
        await until(lambda: status(redis_client) == "stopped")
        assert [state(redis_client, one) for one in waiting] == ["pending"] * 3
        server.resume()
        await until(lambda: all(state(redis_client, one) is None for one in waiting))


async def test_a_server_may_start_paused_and_ends_while_paused(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("quick")(lambda: None)
    server = Server(app, redis=redis_url, timing=QUICK)
    server.pause()
    async with Client(redis_url) as producer, server:
        waiting = (await producer.enqueue("quick")).message.id
        await until(lambda: status(redis_client) == "stopped")
        assert state(redis_client, waiting) == "pending"
    assert not redis_client.keys("asynq:servers*")
    assert state(redis_client, waiting) == "pending"
