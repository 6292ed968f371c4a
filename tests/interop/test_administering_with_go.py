"""The actions of each inspector on what the other side wrote: on one task, on some, on all; on queues.

Every state from which Asynq knows the action. What only ours can do is in tests/inspector.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from asynqmon import Asynqmon
from go_peer import GoPeer
from interop.like_the_peer import app_like_the_peers
from longshore import Client, Inspector, QueueNotFound, Task
from longshore.broker.base import Archive, Complete, Retry
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol import codec, keys
from runtime.harness import containers, counters, serving, state, until

pytestmark = pytest.mark.go

_GROUP = "g:1"
_LOCK = timedelta(minutes=10)
_IDS = ("one", "two", "three", "four")

ALLOWED = [
    (states, act)
    for act, of in {
        "run": ("scheduled", "retry", "archived", "aggregating"),
        "archive": ("pending", "scheduled", "retry", "aggregating"),
        "delete": ("pending", "scheduled", "retry", "archived", "completed", "aggregating"),
    }.items()
    for states in of
]
_BECOMES = {"run": "pending", "archive": "archived", "delete": None}


# -- what is acted on: four tasks of a state, each with a lock -------------------------------------------------------


async def written_by_us(client: Client, broker: RedisBroker, wanted: str) -> None:
    options: dict[str, Any] = {"scheduled": {"process_in": 3600}, "aggregating": {"group": _GROUP}}.get(wanted, {})
    await client.enqueue_many(
        [Task("t", name, task_id=name, unique_for=_LOCK, retention=600, **options) for name in _IDS]
    )
    if wanted not in ("retry", "archived", "completed"):
        return
    now = datetime.now(UTC)
    taken = [one.message for one in (await broker.dequeue("default", limit=10, now=now, lease=_LOCK)).leased]
    failed = [replace(message, error="boom", last_failed_at=now) for message in taken]
    settled = {
        "retry": [Retry(message=replace(message, retried=1), retry_at=now + _LOCK) for message in failed],
        "archived": [Archive(message=message) for message in failed],
        "completed": [Complete(message=replace(message, completed_at=now), result=b"r") for message in taken],
    }[wanted]
    assert await broker.settle("default", settled, now=now) == [True] * len(_IDS)


def written_by_go(go_peer: GoPeer, port: str, client: redis.Redis, wanted: str) -> None:
    options: dict[str, Any] = {"scheduled": {"process_in_s": 3600}, "aggregating": {"group": _GROUP}}.get(wanted, {})
    tasks = [
        {"type": "t", "payload": name.encode(), "id": name, "unique_s": 600, "retention_s": 600} | options
        for name in _IDS
    ]
    assert not [answer for answer in go_peer.submit(port, *tasks) if "error" in answer]
    if wanted not in ("retry", "archived", "completed"):
        return
    now_ns = time.time_ns()
    common = {"queue": "default", "now_ns": now_ns, "at_s": now_ns // 10**9 + 600, "error": "boom", "is_failure": True}
    go_peer.operate(port, *({"op": "dequeue"} | common for _ in _IDS))
    step = {"retry": "retry", "archived": "archive", "completed": "complete"}[wanted]
    messages = [client.hget(keys.task("default", name), "msg") for name in _IDS]
    answers = go_peer.operate(port, *({"op": step, "msg": message} | common for message in messages))
    assert not [answer for answer in answers if "error" in answer]


# -- who acts --------------------------------------------------------------------------------------------------------


@dataclass
class WebUI:
    """asynqmon."""

    api: Asynqmon

    def _tasks(self, of: str) -> tuple[str, ...]:
        group = ("groups", _GROUP) if of == "aggregating" else ()
        return ("queues", "default", *group, f"{of}_tasks")

    async def one(self, act: str, of: str, name: str) -> None:
        path = self._tasks(of)
        if act == "delete":
            await asyncio.to_thread(self.api.delete, *path, name)
        else:
            await asyncio.to_thread(self.api.post, *path, f"{name}:{act}")

    async def some(self, act: str, of: str, names: list[str]) -> None:
        path = self._tasks(of)
        answer = await asyncio.to_thread(self.api.post, *path[:-1], f"{path[-1]}:batch_{act}", ids=[*names, "unknown"])
        done = {"run": "pending_ids", "archive": "archived_ids", "delete": "deleted_ids"}[act]
        assert answer == {done: names, "failed_ids" if act == "delete" else "error_ids": ["unknown"]}

    async def all(self, act: str, of: str) -> int:
        path = self._tasks(of)
        call = self.api.delete if act == "delete" else self.api.post
        [count] = (await asyncio.to_thread(call, *path[:-1], f"{path[-1]}:{act}_all")).values()
        return int(count)


@dataclass
class GoInspector:
    """The released library's."""

    peer: GoPeer
    port: str

    async def _act(self, **action: Any) -> int:
        [answer] = await asyncio.to_thread(self.peer.administer, self.port, {"queue": "default"} | action)
        assert "error" not in answer, answer
        return int(answer["count"])

    async def one(self, act: str, of: str, name: str) -> None:
        await self._act(act=act, id=name)

    async def some(self, act: str, of: str, names: list[str]) -> None:
        for name in names:
            await self._act(act=act, id=name)

    async def all(self, act: str, of: str) -> int:
        return await self._act(act=act, state=of, group=_GROUP if of == "aggregating" else "")


@dataclass
class Ours:
    """Longshore's."""

    inspector: Inspector

    async def one(self, act: str, of: str, name: str) -> None:
        await getattr(self.inspector, f"{act}_task")("default", name)

    async def some(self, act: str, of: str, names: list[str]) -> None:
        for name in names:
            await self.one(act, of, name)

    async def all(self, act: str, of: str) -> int:
        group = _GROUP if of == "aggregating" else None
        return int(await getattr(self.inspector, f"{act}_all")("default", of, group=group))


def locked(client: redis.Redis, name: str) -> bool:
    return bool(client.exists(keys.unique("default", "t", name.encode())))


async def assert_acts(actor: WebUI | GoInspector | Ours, act: str, of: str, client: redis.Redis) -> None:
    assert [state(client, name) for name in _IDS] == [of] * len(_IDS)
    goal = _BECOMES[act]
    there = {goal} if goal else set()
    counted = counters(client)

    await actor.one(act, of, "one")
    assert [state(client, name) for name in _IDS] == [goal, of, of, of]
    assert containers(client, "one") == there
    if act == "delete":
        assert not locked(client, "one")
    await actor.some(act, of, ["two"])
    assert [state(client, name) for name in _IDS] == [goal, goal, of, of]
    assert await actor.all(act, of) == 2
    assert [state(client, name) for name in _IDS] == [goal] * len(_IDS)
    assert [containers(client, name) for name in _IDS] == [there] * len(_IDS)
    assert not client.exists(keys.groups("default"), keys.group("default", _GROUP))
    assert counters(client) == counted


@pytest.mark.parametrize(("of", "act"), ALLOWED)
async def test_asynqmon_acts_on_what_we_wrote(
    of: str, act: str, asynqmon: Asynqmon, client: Client, broker: RedisBroker, redis_client: redis.Redis
) -> None:
    await written_by_us(client, broker, of)
    await assert_acts(WebUI(asynqmon), act, of, redis_client)


@pytest.mark.parametrize(("of", "act"), ALLOWED)
async def test_asynqs_inspector_acts_on_what_we_wrote(
    of: str, act: str, go_peer: GoPeer, port: str, client: Client, broker: RedisBroker, redis_client: redis.Redis
) -> None:
    await written_by_us(client, broker, of)
    await assert_acts(GoInspector(go_peer, port), act, of, redis_client)


@pytest.mark.parametrize(("of", "act"), ALLOWED)
async def test_our_inspector_acts_on_what_go_wrote(
    of: str, act: str, go_peer: GoPeer, port: str, inspector: Inspector, redis_client: redis.Redis
) -> None:
    await asyncio.to_thread(written_by_go, go_peer, port, redis_client, of)
    await assert_acts(Ours(inspector), act, of, redis_client)
    if act == "delete":
        assert not [name for name in _IDS if locked(redis_client, name)]


async def test_a_new_payload_by_either_inspector_is_what_the_other_sides_handler_gets(
    go_peer: GoPeer, port: str, redis_url: str, client: Client, inspector: Inspector, redis_client: redis.Redis
) -> None:
    await client.enqueue("outcome", b"old", task_id="ours", process_in=3600, retention=60)
    [told] = go_peer.submit(
        port, {"type": "outcome", "payload": b"old", "id": "go", "process_in_s": 3600, "retention_s": 60}
    )
    assert told["state"] == "scheduled"
    [answer] = go_peer.administer(
        port, {"act": "update payload", "queue": "default", "id": "ours", "payload": b"new of Go"}
    )
    assert "error" not in answer
    await inspector.update_payload("default", "go", b"new of ours")
    assert await inspector.run_all("default", "scheduled") == 2
    async with serving(app_like_the_peers(), redis_url):
        await until(lambda: state(redis_client, "ours") == state(redis_client, "go") == "completed")
    assert (await inspector.task("default", "ours")).result == b"new of Go"
    assert (await inspector.task("default", "go")).result == b"new of ours"


# -- queues and running tasks ----------------------------------------------------------------------------------------


async def test_a_pause_by_asynqmon_or_asynqs_inspector_holds_here_until_it_is_undone(
    asynqmon: Asynqmon, go_peer: GoPeer, port: str, redis_url: str, client: Client, redis_client: redis.Redis
) -> None:
    await client.enqueue("outcome", b"x", task_id="first")
    asynqmon.post("queues", "default:pause")
    async with serving(app_like_the_peers(), redis_url, queues={"default": 1, "other": 1}):
        await client.enqueue("outcome", b"x", task_id="seen", queue="other")
        await until(lambda: state(redis_client, "seen", "other") is None)
        assert state(redis_client, "first") == "pending"
        asynqmon.post("queues", "default:resume")
        await until(lambda: state(redis_client, "first") is None)
        await asyncio.to_thread(go_peer.administer, port, {"act": "pause", "queue": "default"})
        await client.enqueue("outcome", b"x", task_id="second")
        await client.enqueue("outcome", b"x", task_id="seen-too", queue="other")
        await until(lambda: state(redis_client, "seen-too", "other") is None)
        assert state(redis_client, "second") == "pending"
        await asyncio.to_thread(go_peer.administer, port, {"act": "unpause", "queue": "default"})
        await until(lambda: state(redis_client, "second") is None)


async def test_asynqmon_removes_an_empty_queue_of_ours_and_no_other(
    asynqmon: Asynqmon, client: Client, inspector: Inspector, redis_client: redis.Redis
) -> None:
    await client.enqueue("t", task_id="a")
    status, problem = asynqmon.refusal("DELETE", "queues", "default")
    assert (status, "not empty" in problem) == (400, True)
    await inspector.delete_task("default", "a")
    asynqmon.delete("queues", "default")
    assert asynqmon.get("queues") == {"queues": []}
    with pytest.raises(QueueNotFound):
        await inspector.queue("default")
    await client.enqueue("t", task_id="a")
    assert [queue["queue"] for queue in asynqmon.get("queues")["queues"]] == ["default"]


async def test_asynqs_inspector_removes_a_queue_of_ours_with_its_tasks_by_force(
    go_peer: GoPeer, port: str, client: Client, redis_client: redis.Redis
) -> None:
    await client.enqueue_many([Task("t", n, process_in=3600 * (n % 2)) for n in range(4)])
    [answer] = go_peer.administer(port, {"act": "delete queue", "queue": "default"})
    assert "not empty" in answer["error"]
    [answer] = go_peer.administer(port, {"act": "delete queue", "queue": "default", "force": True})
    assert "error" not in answer
    assert not redis_client.keys("asynq:{default}:t:*")


async def test_asynqmon_cancels_what_we_run(
    asynqmon: Asynqmon, redis_url: str, client: Client, redis_client: redis.Redis
) -> None:
    names = ["one", "two", "three", "four", "five"]
    await client.enqueue_many([Task("outcome", b"sleep", task_id=name, max_retry=1) for name in names])

    def states() -> list[str | None]:
        return [state(redis_client, name) for name in names]

    async with serving(app_like_the_peers(), redis_url):
        await until(lambda: states() == ["active"] * 5)
        path = ("queues", "default")
        await asyncio.to_thread(asynqmon.post, *path, "active_tasks", "one:cancel")
        await until(lambda: states() == ["retry", *["active"] * 4])
        told = await asyncio.to_thread(asynqmon.post, *path, "active_tasks:batch_cancel", ids=["two", "three"])
        assert told == {"canceled_ids": ["two", "three"], "error_ids": []}
        await until(lambda: states() == [*["retry"] * 3, *["active"] * 2])
        await asyncio.to_thread(asynqmon.post, *path, "active_tasks:cancel_all")
        await until(lambda: states() == ["retry"] * 5)
    data = [redis_client.hget(keys.task("default", name), "msg") for name in names]
    assert {codec.decode_task(one).error for one in data} == {"context canceled"}
