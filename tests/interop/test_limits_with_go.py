"""Tasks that wait for a limit, as Asynq's inspector and servers see and treat them."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from go_peer import GoPeer
from longshore import App, Client, Task
from longshore.protocol import keys
from runtime.harness import serving, state, until

pytestmark = pytest.mark.go


async def test_asynqs_inspector_sees_what_waits_as_scheduled_and_acts_on_it(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    begun: list[str] = []
    release = asyncio.Event()

    @app.task("slow", max_concurrency=1)
    async def slow(name: str) -> None:
        begun.append(name)
        await release.wait()

    async with Client(redis_url) as client:
        await client.enqueue_many([Task("slow", name, task_id=name) for name in "abcde"])
    async with serving(app, redis_url):
        await until(lambda: redis_client.zcard(keys.scheduled("default")) == 4)
        view = await asyncio.to_thread(go_peer.inspect, port, "default")
        assert sorted((task["ID"], task["Retried"]) for task in view["scheduled"]) == [(name, 0) for name in "bcde"]
        assert (view["queue"]["Active"], view["queue"]["Processed"], view["queue"]["Failed"]) == (1, 0, 0)
        now_ns = time.time_ns()
        answers = await asyncio.to_thread(
            go_peer.operate,
            port,
            {"op": "archive task", "queue": "default", "id": "b", "now_ns": now_ns},
            {"op": "delete task", "queue": "default", "id": "c", "now_ns": now_ns},
            {"op": "run task", "queue": "default", "id": "e", "now_ns": now_ns},
        )
        assert [answer.get("error", "") for answer in answers] == ["", "", ""]
        await until(lambda: state(redis_client, "e") == "scheduled")  # its limit was asked again
        release.set()
        await until(lambda: state(redis_client, "e") is None)
    assert begun == ["a", "d", "e"]
    assert state(redis_client, "b") == "archived"
