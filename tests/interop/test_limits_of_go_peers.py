"""Where Go peers on the same queue limit what Longshore does better, as docs/differences.md says; no more than that."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import redis

from go_peer import GoPeer, running_program
from interop.like_the_peer import app_like_the_peers
from longshore import App, Client, GroupedTask, Inspector, Task
from longshore.protocol import keys
from runtime.harness import containers, serving, state, until

pytestmark = pytest.mark.go

_GROUP = "g:1"


async def test_a_delayed_task_that_a_go_server_puts_into_its_group_is_aggregated_with_the_next_that_joins(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, client: Client, inspector: Inspector
) -> None:
    given: list[set[bytes]] = []
    app = App()

    @app.aggregator()
    async def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
        given.append({task.payload or b"" for task in tasks})
        return Task("merged", process_in=3600)

    await client.enqueue("part", b"delayed", task_id="delayed", group=_GROUP, process_in=3600)
    in_two_hours_ns = time.time_ns() + 7200 * 10**9
    go_peer.operate(port, {"op": "forward", "queue": "default", "now_ns": in_two_hours_ns})
    assert redis_client.zrange(keys.group("default", _GROUP), 0, -1) == [b"delayed"]
    assert await inspector.groups("default") == ()  # the limit
    async with serving(app, redis_url, group_max_size=2):
        await client.enqueue("part", b"next", group=_GROUP)
        await until(lambda: given)
    assert given == [{b"delayed", b"next"}]


async def test_since_when_a_task_waits_that_a_go_inspector_has_run_is_unknown_and_not_zero(
    go_peer: GoPeer, port: str, client: Client, inspector: Inspector
) -> None:
    await client.enqueue("t", task_id="a", process_in=3600)
    go_peer.administer(port, {"act": "run", "queue": "default", "id": "a"})
    queue = await inspector.queue("default")
    assert (queue.pending, queue.latency(datetime.now(UTC))) == (1, None)
    # Asynq's own reader says zero
    assert (await asyncio.to_thread(go_peer.inspect, port, "default"))["queue"]["Latency"] == 0


async def test_a_go_producer_that_runs_on_fills_a_removed_queue_which_our_next_task_lists_again(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, client: Client, inspector: Inspector
) -> None:
    with running_program([str(go_peer.binary), "submit", "--redis", port]) as producer:
        assert producer.stdin is not None
        assert producer.stdout is not None
        for name in ("first", "second"):
            producer.stdin.write(json.dumps({"type": "outcome", "id": name}) + "\n")
            producer.stdin.flush()
            assert json.loads(await asyncio.to_thread(producer.stdout.readline))["id"] == name
            if name == "first":
                await inspector.remove_queue("default", force=True)
    assert containers(redis_client, "second") == {"pending"}
    assert await inspector.queues() == ()  # the limit
    await client.enqueue("outcome", b"x", task_id="third")
    assert [queue.pending for queue in await inspector.queues()] == [2]
    async with serving(app_like_the_peers(), redis_url):
        await until(lambda: state(redis_client, "second") is state(redis_client, "third") is None)


async def test_a_cancellation_that_names_another_queue_reaches_a_go_servers_task_of_that_id_and_is_a_plain_one(
    go_peer: GoPeer, port: str, redis_client: redis.Redis, client: Client, inspector: Inspector
) -> None:
    await client.enqueue("outcome", b"sleep", task_id="same", queue="low")
    with go_peer.server(port, queues="default,low") as output:
        await asyncio.to_thread(output.readline)  # its handler runs, so it hears
        await inspector.cancel("same", queue="default", then="archive")
        await until(lambda: state(redis_client, "same", "low") == "retry")


async def test_the_beginning_of_a_large_payload_is_what_go_readers_see_of_a_running_task(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, client: Client, inspector: Inspector
) -> None:
    release = asyncio.Event()
    app = App()

    @app.task("large")
    async def large() -> None:
        await release.wait()

    await client.enqueue("large", b"x" * 100_000, task_id="a")
    async with serving(app, redis_url):
        await until(lambda: any(redis_client.hlen(key) for key in redis_client.keys("asynq:workers:*")))
        view = await asyncio.to_thread(go_peer.inspect, port, "default")
        release.set()
    [[worker]] = [server["ActiveWorkers"] for server in view["servers"]]
    assert base64.b64decode(worker["TaskPayload"]) == b"x" * 10_000
    [task] = view["active"]
    assert base64.b64decode(task["Payload"]) == b"x" * 100_000
