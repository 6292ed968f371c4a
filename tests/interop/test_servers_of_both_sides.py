"""Servers of both sides on one queue: each task is run once, and what a killed one leaves is recovered by the other.

Leases last thirty seconds and are over thirty seconds later, on both sides; the tests put their ends into the past
instead of waiting.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import redis

from go_peer import GoPeer, running_program
from longshore import App, Client, Context, Task
from longshore.protocol import keys
from runtime.harness import containers, counters, message, serving, state, until

pytestmark = pytest.mark.go


async def test_servers_of_both_sides_share_a_queue_and_run_each_task_once(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, client: Client
) -> None:
    app = App()
    ran_here: list[str] = []
    ran_there: list[str] = []

    @app.task("outcome")
    async def nap(ctx: Context) -> None:
        ran_here.append(ctx.task_id)
        await asyncio.sleep(0.1)

    async def listen(output: IO[str]) -> None:
        while line := await asyncio.to_thread(output.readline):
            ran_there.append(json.loads(line)["id"])

    ours = {f"ours-{n}" for n in range(250)}
    theirs = {f"go-{n}" for n in range(250)}
    submissions = [{"type": "outcome", "payload": b"nap", "id": name} for name in theirs]
    with go_peer.server(port, concurrency=10) as output:
        listener = asyncio.create_task(listen(output))
        async with serving(app, redis_url, concurrency=10):
            await asyncio.gather(
                client.enqueue_many([Task("outcome", b"nap", task_id=name) for name in ours]),
                asyncio.to_thread(go_peer.submit, port, *submissions),
            )
            await until(lambda: counters(redis_client) == (500, 0))
    await listener
    assert sorted(ran_here + ran_there) == sorted(ours | theirs)
    assert ran_here
    assert ran_there
    assert not redis_client.keys("asynq:{default}:t:*")
    assert not redis_client.exists(keys.active("default"), keys.lease("default"), keys.pending("default"))


@contextmanager
def process_of_ours(redis_url: str) -> Iterator[Any]:
    program = Path(__file__).parent / "like_the_peer.py"
    with running_program([sys.executable, str(program), redis_url]) as process:
        try:
            yield process
        finally:
            process.kill()


def end_leases(client: redis.Redis, names: list[str]) -> None:
    """As if they had been granted for the last time a while ago."""
    client.zadd(keys.lease("default"), {name: int(time.time()) - 60 for name in names}, xx=True)


async def test_what_a_killed_go_server_ran_is_run_here(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, client: Client
) -> None:
    names = ["a", "b", "c"]
    await client.enqueue_many([Task("outcome", b"sleep", task_id=name, headers={"trace": name}) for name in names])
    app = App()
    recovered: list[tuple[str, int, str]] = []

    @app.task("outcome")
    async def run(ctx: Context) -> None:
        recovered.append((ctx.task_id, ctx.retried, ctx.headers["trace"]))

    with go_peer.killable_server(port) as process:
        await until(lambda: redis_client.llen(keys.active("default")) == 3)
        process.kill()
        process.wait()
    async with serving(app, redis_url):
        await client.enqueue("outcome", b"x", task_id="another", headers={"trace": ""})
        await until(lambda: recovered)
        assert [state(redis_client, name) for name in names] == ["active"] * 3  # their leases are not over
        end_leases(redis_client, names)
        await until(lambda: len(recovered) == 4)
    # the first lost lease is retried at once, and counts
    assert sorted(recovered) == [("a", 1, "a"), ("another", 0, ""), ("b", 1, "b"), ("c", 1, "c")]
    assert counters(redis_client) == (7, 3)


async def test_what_a_killed_server_of_ours_ran_is_recovered_by_a_go_server(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, client: Client
) -> None:
    names = ["a", "b", "c"]
    await client.enqueue_many([Task("outcome", b"sleep", task_id=name, max_retry=1) for name in names])
    await client.enqueue("outcome", b"sleep", task_id="last", max_retry=0)
    with process_of_ours(redis_url) as process:
        await until(lambda: redis_client.llen(keys.active("default")) == 4)
        process.kill()
        process.wait()
    end_leases(redis_client, [*names, "last"])
    with go_peer.server(port):
        await until(lambda: not redis_client.llen(keys.active("default")))
    assert [containers(redis_client, name) for name in names] == [{"retry"}] * 3
    assert containers(redis_client, "last") == {"archived"}
    left = [message(redis_client, name) for name in names]
    assert {(one.retried, one.error) for one in left} == {(1, "asynq: task lease expired")}
