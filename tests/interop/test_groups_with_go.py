"""Groups shared with the released Go library: either adds, either aggregates, each finishes what the other left."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from go_peer import GoPeer
from longshore import App, Client, GroupedTask, Task
from longshore.broker.groups_base import SetName
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol import codec, keys
from longshore.testing import read_keyspace
from runtime.harness import serving, until

pytestmark = pytest.mark.go

_GROUP = "digest:7"  # a colon, as in the keys of sets
_GROUP_KEY = keys.group("default", _GROUP)
_SETS = keys.aggregation_sets("default")


def collecting() -> tuple[App, list[list[bytes]]]:
    """An application that aggregates, and the payloads that its aggregator was given."""
    app = App()
    given: list[list[bytes]] = []

    @app.aggregator("digest:")
    async def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
        given.append([task.payload or b"" for task in tasks])
        return Task("merged", process_in=3600)

    return app, given


async def test_a_go_server_aggregates_what_we_add(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis
) -> None:
    async with Client(redis_url) as client:
        for n in range(3):
            await client.enqueue("part", f"p{n}".encode(), group=_GROUP)
        with go_peer.server(port, group_max_size=3) as output:
            line = json.loads(await asyncio.to_thread(output.readline))
            await until(lambda: not redis_client.exists(_SETS))
    assert line["type"] == f"merged:{_GROUP}"
    assert not redis_client.keys("asynq:{default}:t:*")


async def test_we_aggregate_what_a_go_client_adds(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis
) -> None:
    app, given = collecting()
    go_peer.enqueue(port, count=3, payload="p%d", group=_GROUP)
    async with serving(app, redis_url, group_max_size=3):
        await until(lambda: redis_client.exists(keys.scheduled("default")))
    assert [sorted(payloads) for payloads in given] == [[b"p0", b"p1", b"p2"]]
    view = await asyncio.to_thread(go_peer.inspect, port, "default")
    assert (view["queue"]["Groups"], view["queue"]["Aggregating"], view["queue"]["Scheduled"]) == (0, 0, 1)
    assert view["queue"]["MemoryUsage"] > 0


async def test_both_sides_aggregate_the_same_groups_and_each_task_once(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    ran: list[str] = []

    @app.aggregator()
    async def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
        return Task(f"merged:{group}", b"\n".join(task.payload or b"" for task in tasks))

    @app.task("merged:")
    async def merged(payload: bytes) -> None:
        ran.extend(payload.decode().split("\n"))

    async def listen(output: Any) -> None:
        while line := await asyncio.to_thread(output.readline):
            ran.extend(base64.b64decode(json.loads(line)["payload"]).decode().split("\n"))

    async with Client(redis_url) as client:
        with go_peer.server(port, group_max_size=7) as output:
            listener = asyncio.create_task(listen(output))
            async with serving(app, redis_url, group_max_size=7, group_grace_period=1):
                for start in range(0, 300, 50):
                    tasks = [Task("part", str(n).encode(), group=f"g{n % 3}") for n in range(start, start + 50)]
                    await client.enqueue_many(tasks)
                    await asyncio.sleep(0.3)
                await until(lambda: len(ran) >= 300)
        await listener
    assert sorted(ran, key=int) == [str(n) for n in range(300)]
    assert not redis_client.keys("asynq:{default}:t:*")


async def test_the_lock_of_a_go_clients_grouped_task_is_freed_when_we_aggregate_it(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis
) -> None:
    """D4: its hash does not name the lock, its message does."""
    app, given = collecting()
    go_peer.enqueue(port, payload="same", unique="1h", group=_GROUP)
    assert "already exists" in go_peer.try_enqueue(port, payload="same", unique="1h", group=_GROUP)
    async with serving(app, redis_url, group_max_size=1):
        await until(lambda: redis_client.exists(keys.scheduled("default")))
    assert given == [[b"same"]]
    go_peer.enqueue(port, payload="same", unique="1h", group=_GROUP)


async def test_a_set_that_a_go_server_left_is_aggregated_here(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis
) -> None:
    app, given = collecting()
    long_ago_ns = time.time_ns() - 200 * 10**9
    [told] = go_peer.enqueue(port, payload="p", group=_GROUP)
    redis_client.zadd(_GROUP_KEY, {told["id"]: long_ago_ns // 10**9 - 10})
    [answer] = go_peer.operate(port, {"op": "take group", "queue": "default", "group": _GROUP, "now_ns": long_ago_ns})
    assert redis_client.exists(keys.aggregation_set("default", _GROUP, answer["id"]))
    assert not redis_client.exists(_GROUP_KEY, keys.groups("default"))
    async with serving(app, redis_url, group_grace_period=1):
        await until(lambda: redis_client.exists(keys.scheduled("default")))
    assert given == [[b"p"]]
    assert not redis_client.exists(_SETS)


async def test_a_set_that_we_left_is_given_back_by_a_go_server(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, broker: RedisBroker
) -> None:
    async with Client(redis_url) as client:
        ids = [(await client.enqueue("part", group=_GROUP)).message.id for _ in range(3)]
    group = (await broker.groups.list_groups("default", cursor=None, now=datetime.now(UTC))).groups[0]
    name = SetName(queue="default", group=_GROUP, set_id="0e2c")
    now = datetime.now(UTC)
    await broker.groups.take(name, first_id=group.first_id, limit=10, until=now - timedelta(seconds=1))
    assert not redis_client.exists(_GROUP_KEY)
    go_peer.operate(port, {"op": "reclaim groups", "queue": "default", "now_ns": time.time_ns()})
    assert {one.decode() for one in redis_client.zrange(_GROUP_KEY, 0, -1)} == set(ids)
    assert not redis_client.exists(keys.groups("default"))  # the limit: nobody finds it before another task joins
    assert not redis_client.exists(_SETS)


async def test_a_member_that_a_go_peer_takes_out_of_its_group_is_not_aggregated(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis
) -> None:
    """D3: and it is retried by itself, although the Go peer leaves the group's name in its hash."""
    app, given = collecting()

    @app.task("test:task")
    async def fail() -> None:
        raise RuntimeError("once")

    [run, rest] = go_peer.enqueue(port, count=2, payload="p%d", group=_GROUP)
    go_peer.operate(port, {"op": "run task", "queue": "default", "id": run["id"], "now_ns": time.time_ns()})
    assert redis_client.hget(keys.task("default", run["id"]), "group") == _GROUP.encode()
    async with serving(app, redis_url, group_grace_period=1):
        await until(lambda: given and redis_client.exists(keys.retry("default")))
        redis_client.zadd(keys.retry("default"), {run["id"]: 1})
        await until(lambda: retried(redis_client, run["id"]) == 2)
    assert given == [[b"p1"]]
    assert not redis_client.exists(keys.task("default", rest["id"]))


def retried(client: redis.Redis, task_id: str) -> Any:
    data = read_keyspace(client).get(keys.task("default", task_id), {}).get(b"msg")
    return data and codec.decode_task(data).retried
