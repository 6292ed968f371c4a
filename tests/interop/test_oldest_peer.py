"""The oldest peer that is tried: Asynq 0.24.1, the one that asynqmon is released with.

It knows neither headers nor RevokeTask, skips records without a time, and cannot read times that are no whole second.
Its inspector, by way of asynqmon, is also in test_inspecting_with_go.py and test_administering_with_go.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from asynqmon import Asynqmon, OldPeer
from go_peer import GoPeer
from interop.like_the_peer import app_like_the_peers
from longshore import NO_TIMEOUT, App, Client, Inspector, Task
from longshore.protocol import keys
from runtime.harness import counters, message, serving, state, until

pytestmark = pytest.mark.go

# id: payload, options of its client, options of ours
_TASKS: dict[str, tuple[bytes, dict[str, Any], dict[str, Any]]] = {
    "done": (b"x", {}, {}),
    "endless": (b"x", {}, {"timeout": NO_TIMEOUT}),
    "kept": (b"kept", {"retention_s": 600}, {"retention": 600}),
    "locked": (b"y", {"unique_s": 600}, {"unique_for": 600}),
    "due": (b"x", {"process_in_s": 1}, {"process_in": 1}),
    "failed": (b"fail", {"max_retry": 3}, {"max_retry": 3, "headers": {"trace": "1"}}),
    "failed-last": (b"fail", {"max_retry": 0}, {"max_retry": 0}),
    "failed-locked": (b"panic", {"unique_s": 600}, {"unique_for": 600}),
    "skipped": (b"skip", {"max_retry": 3}, {"max_retry": 3}),
    "timed-out": (b"sleep", {"timeout_s": 1}, {"timeout": 1}),
    "cancelled": (b"sleep", {"timeout_s": 600}, {"timeout": 600}),
}
_PENDING = keys.pending("default")
_LEFT = {
    "kept": "completed",
    "failed": "retry",
    "failed-last": "archived",
    "failed-locked": "retry",
    "skipped": "archived",
    "timed-out": "retry",
    "cancelled": "retry",
}


async def _assert_ended(client: redis.Redis, inspector: Inspector) -> None:
    async with asyncio.timeout(30):
        while state(client, "cancelled") != "retry":  # it may not have begun: then nobody hears
            await inspector.cancel("cancelled")
            await asyncio.sleep(0.1)
    await until(lambda: state(client, "due") is None and not client.llen(keys.active("default")))
    assert {name: state(client, name) for name in _TASKS} == {name: _LEFT.get(name) for name in _TASKS}
    assert counters(client) == (len(_TASKS), 6)
    locks = [key for key in client.keys("asynq:*") if b":unique:" in key]
    assert [client.get(lock) for lock in locks] == [b"failed-locked"]
    assert (await inspector.task("default", "kept")).result == b"kept"


async def test_our_tasks_end_on_its_server_as_on_ours(
    old_peer: OldPeer, client: Client, inspector: Inspector, redis_client: redis.Redis
) -> None:
    await client.enqueue_many([Task("outcome", p, task_id=name, **ours) for name, (p, _, ours) in _TASKS.items()])
    with old_peer.server():
        await _assert_ended(redis_client, inspector)
    assert message(redis_client, "failed").headers == {}  # it has written the message anew


async def test_its_tasks_end_on_our_server_as_on_its_own(
    old_peer: OldPeer, redis_url: str, inspector: Inspector, redis_client: redis.Redis
) -> None:
    tasks = [{"type": "outcome", "payload": p, "id": name} | theirs for name, (p, theirs, _) in _TASKS.items()]
    await asyncio.to_thread(old_peer.submit, *tasks)
    async with serving(app_like_the_peers(), redis_url, shutdown_timeout=0.2):
        await _assert_ended(redis_client, inspector)


async def test_what_waits_for_our_limits_is_counted_and_listed(
    asynqmon: Asynqmon, redis_url: str, redis_client: redis.Redis, client: Client
) -> None:
    """Its pages fail at a time that is no whole second, and its estimate of memory at an id without a task."""
    app = App()
    release = asyncio.Event()

    @app.task("slow", max_concurrency=1)
    async def slow() -> None:
        await release.wait()

    @app.task("seldom", rate_limit="1/m")
    async def seldom() -> None: ...

    tasks = [Task(kind, task_id=f"{kind}-{n}") for kind in ("slow", "seldom") for n in range(3)]
    await client.enqueue_many(tasks)
    async with serving(app, redis_url):
        await until(lambda: redis_client.zcard(keys.scheduled("default")) == 4)
        listed = await asyncio.to_thread(asynqmon.get, "queues", "default", "scheduled_tasks")
        [queue] = (await asyncio.to_thread(asynqmon.get, "queues"))["queues"]
        release.set()
    assert len({task["id"] for task in listed["tasks"]}) == 4
    assert (queue["scheduled"], queue["active"], queue["failed"]) == (4, 1, 0)
    assert queue["memory_usage_bytes"] > 0


async def test_headers_and_all_else_survive_its_inspector(
    asynqmon: Asynqmon, redis_url: str, redis_client: redis.Redis, client: Client
) -> None:
    """It knows no headers, and would drop them if it wrote the message anew."""
    path = ("queues", "default", "scheduled_tasks")
    told = await client.enqueue("outcome", b"x", process_in=3600, headers={"trace": "1"}, retention=60)
    asynqmon.post(*path, f"{told.id}:archive")
    asynqmon.post(*path[:-1], "archived_tasks", f"{told.id}:run")
    assert message(redis_client, told.id) == told.message
    async with serving(app_like_the_peers(), redis_url):
        await until(lambda: state(redis_client, told.id) == "completed")
    assert message(redis_client, told.id).headers == {"trace": "1"}


async def test_what_we_set_aside_as_unreadable_breaks_no_page(
    asynqmon: Asynqmon, go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, client: Client
) -> None:
    await client.enqueue("outcome", b"x", task_id="broken")
    redis_client.hset(keys.task("default", "broken"), "msg", b"\xff\xff\xff")
    await client.enqueue("outcome", b"skip", task_id="whole")
    redis_client.lpush(keys.pending("default"), "no-task")
    async with serving(app_like_the_peers(), redis_url):
        await until(lambda: redis_client.zcard(keys.archived("default")) == 2 and not redis_client.llen(_PENDING))
    [queue] = (await asyncio.to_thread(asynqmon.get, "queues"))["queues"]
    assert (queue["archived"], queue["active"], queue["pending"]) == (2, 0, 0)
    listed = await asyncio.to_thread(asynqmon.get, "queues", "default", "archived_tasks")
    assert [task["id"] for task in listed["tasks"]] == ["whole"]
    view = await asyncio.to_thread(go_peer.inspect, port, "default")
    assert [task["ID"] for task in view["archived"]] == ["whole"]
    await asyncio.to_thread(asynqmon.delete, "queues", "default", "archived_tasks", "broken")
    assert not redis_client.exists(keys.task("default", "broken"))
