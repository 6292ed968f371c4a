"""Every outcome of an attempt, with the client of one side and the server of the other; each side sees the same.

Groups are in test_groups_with_go.py.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from go_peer import GoPeer
from interop.like_the_peer import app_like_the_peers
from longshore import (
    Client,
    Inspector,
    Task,
    TaskFailed,
    TaskNotFound,
    TaskState,
)
from longshore.protocol import keys
from runtime.harness import containers, counters, message, serving, state, until

pytestmark = pytest.mark.go

# id: payload, options of the go client, options of ours
TASKS: dict[str, tuple[bytes, dict[str, Any], dict[str, Any]]] = {
    "done": (b"x", {}, {}),
    "kept": (b"kept", {"retention_s": 600}, {"retention": 600}),
    "locked": (b"y", {"unique_s": 600}, {"unique_for": 600}),
    "failed": (b"fail", {"max_retry": 3}, {"max_retry": 3}),
    "failed-last": (b"fail", {"max_retry": 0}, {"max_retry": 0}),
    "failed-locked": (b"panic", {"unique_s": 600}, {"unique_for": 600}),
    "skipped": (b"skip", {"max_retry": 3}, {"max_retry": 3}),
    "revoked": (b"revoke", {"retention_s": 600}, {"retention": 600}),
    "timed-out": (b"sleep", {"timeout_s": 1}, {"timeout": 1}),
    "cancelled": (b"sleep", {"timeout_s": 600}, {"timeout": 600}),
}
FAILED = {"failed", "failed-last", "failed-locked", "skipped", "timed-out", "cancelled"}


@asynccontextmanager
async def server_of(side: str, go_peer: GoPeer, port: str, redis_url: str) -> AsyncIterator[None]:
    """A server of one side for the length of the block."""
    if side == "ours":
        async with serving(app_like_the_peers(), redis_url, shutdown_timeout=0.2):
            yield
    else:
        with go_peer.server(port):
            yield


@pytest.mark.parametrize(("producer", "server"), [("go", "ours"), ("ours", "go")])
async def test_each_outcome_leaves_the_same_whoever_enqueued_and_whoever_ran(
    producer: str,
    server: str,
    go_peer: GoPeer,
    port: str,
    redis_url: str,
    redis_client: redis.Redis,
    client: Client,
    inspector: Inspector,
) -> None:
    if producer == "go":
        submissions = [{"type": "outcome", "id": name, "payload": p} | go for name, (p, go, _) in TASKS.items()]
        answers = await asyncio.to_thread(go_peer.submit, port, *submissions)
        assert not [answer for answer in answers if "error" in answer]
    else:
        await client.enqueue_many([Task("outcome", p, task_id=name, **ours) for name, (p, _, ours) in TASKS.items()])

    begun = datetime.now(UTC)
    async with server_of(server, go_peer, port, redis_url):
        async with asyncio.timeout(30):
            while state(redis_client, "cancelled") != "retry":  # it may not have begun: then nobody hears
                if producer == "go":  # each side's inspector cancels what the other side runs
                    [told] = await asyncio.to_thread(go_peer.administer, port, {"act": "cancel", "id": "cancelled"})
                    assert "error" not in told
                else:
                    await inspector.cancel("cancelled")
                await asyncio.sleep(0.1)
        await until(lambda: not redis_client.llen(keys.active("default")))

    assert {name: (containers(redis_client, name), state(redis_client, name)) for name in TASKS} == {
        "done": (set(), None),
        "kept": ({"completed"}, "completed"),
        "locked": (set(), None),
        "failed": ({"retry"}, "retry"),
        "failed-last": ({"archived"}, "archived"),
        "failed-locked": ({"retry"}, "retry"),
        "skipped": ({"archived"}, "archived"),
        "revoked": (set(), None),
        "timed-out": ({"retry"}, "retry"),
        "cancelled": ({"retry"}, "retry"),
    }
    assert counters(redis_client) == (len(TASKS), len(FAILED))
    locks = [key for key in redis_client.keys("asynq:*") if b":unique:" in key]
    assert [redis_client.get(lock) for lock in locks] == [b"failed-locked"]

    for name in FAILED:
        left = message(redis_client, name)
        assert left.retried == (0 if name in ("failed-last", "skipped") else 1)
        assert left.last_failed_at is not None
        assert abs(left.last_failed_at - begun) < timedelta(seconds=60)
    failure = "told to fail" if server == "go" else "RuntimeError: told to fail"  # an error's type tells much in Python
    errors = {name: message(redis_client, name).error or "" for name in FAILED}
    assert "told to panic" in errors.pop("failed-locked")
    assert errors == {
        "failed": failure,
        "failed-last": failure,
        "skipped": "skip retry for the task",
        "timed-out": "context deadline exceeded",
        "cancelled": "context canceled",
    }
    await assert_each_inspector_says_the_same(go_peer, port, inspector)


async def assert_each_inspector_says_the_same(go_peer: GoPeer, port: str, inspector: Inspector) -> None:
    """Of every task that is left, and of the result."""
    view = await asyncio.to_thread(go_peer.inspect, port, "default")
    for kind in ("retry", "archived", "completed"):
        ours = {
            info.id: (info.message.error or "", info.message.retried, info.message.max_retry, info.result or b"")
            for info in await inspector.list_tasks("default", kind)
        }
        theirs = {
            task["ID"]: (task["LastErr"], task["Retried"], task["MaxRetry"], base64.b64decode(task["Result"] or ""))
            for task in view[kind]
        }
        assert theirs == ours
    assert [base64.b64decode(task["Result"]) for task in view["completed"]] == [b"kept"]


async def test_a_failing_task_goes_on_where_the_other_side_left_it(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, client: Client, inspector: Inspector
) -> None:
    await client.enqueue("outcome", b"fail", task_id="f", max_retry=3, headers={"trace": "1"})
    for attempt, side in enumerate(("go", "ours", "go"), start=1):
        async with server_of(side, go_peer, port, redis_url):
            await until(lambda: state(redis_client, "f") == "retry")
        assert message(redis_client, "f").retried == attempt
        await inspector.run_task("default", "f")
    async with server_of("ours", go_peer, port, redis_url):
        await until(lambda: state(redis_client, "f") == "archived")
    left = message(redis_client, "f")
    assert (left.retried, left.error, left.headers) == (3, "RuntimeError: told to fail", {"trace": "1"})
    assert counters(redis_client) == (4, 4)


async def test_the_end_of_a_task_that_a_go_server_runs_is_seen_by_who_waits_for_it(
    go_peer: GoPeer, port: str, client: Client
) -> None:
    await client.enqueue("outcome", b"[1, 2]", task_id="kept", retention=60)
    await client.enqueue("outcome", b"skip", task_id="skipped")
    await client.enqueue("outcome", b"x", task_id="gone", process_in=1)
    with go_peer.server(port):
        waits = [client.result(name, timeout=30) for name in ("kept", "skipped", "gone")]
        kept, skipped, gone = await asyncio.gather(*waits, return_exceptions=True)
    assert not isinstance(kept, BaseException)
    assert (kept.value, kept.bytes) == ([1, 2], b"[1, 2]")
    assert isinstance(skipped, TaskFailed)
    assert skipped.error == "skip retry for the task"
    assert isinstance(gone, TaskNotFound)


async def test_a_lock_of_ours_is_freed_by_a_go_server(
    go_peer: GoPeer, port: str, redis_client: redis.Redis, client: Client
) -> None:
    with go_peer.server(port) as output:
        for _ in range(2):
            info = await client.enqueue("outcome", b"same", unique_for=600)
            line = json.loads(await asyncio.to_thread(output.readline))
            assert line["id"] == info.id
            await until(lambda: state(redis_client, info.id) is None)  # noqa: B023  # waited for here


async def test_a_task_that_is_put_back_at_a_stop_is_run_by_the_other_side(
    go_peer: GoPeer, port: str, redis_url: str, redis_client: redis.Redis, client: Client, inspector: Inspector
) -> None:
    """Neither counts as an attempt."""
    await client.enqueue("outcome", b"sleep", task_id="s")
    for side in ("go", "ours"):
        async with server_of(side, go_peer, port, redis_url):
            await until(lambda: state(redis_client, "s") == "active")
        assert containers(redis_client, "s") == {"pending"}
        assert state(redis_client, "s") == "pending"
    assert (message(redis_client, "s").retried, counters(redis_client)) == (0, (0, 0))
    assert (await inspector.task("default", "s")).state is TaskState.PENDING
