"""Every option of a task: either client stores the same, and a handler of either side is told the same."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from go_peer import GoPeer
from longshore import NO_TIMEOUT, App, Client, Context, DuplicateTask, Inspector, Task, TaskIDConflict
from longshore.protocol import keys
from longshore.protocol.snapshots import TaskInfo
from runtime.harness import serving, until

pytestmark = pytest.mark.go

_NOON = datetime(2040, 1, 2, 12, tzinfo=UTC)
_NOON_S = int(_NOON.timestamp())


@dataclass(frozen=True, kw_only=True)
class Case:
    """One set of options, in the words of either client."""

    payload: bytes | None = b"{}"
    go: Mapping[str, Any] = field(default_factory=dict)
    ours: Mapping[str, Any] = field(default_factory=dict)
    waits: bool = False  # is not pending at once


CASES = {
    "nothing": Case(),
    "queue": Case(go={"queue": "critical"}, ours={"queue": "critical"}),
    "no-retry": Case(go={"max_retry": 0}, ours={"max_retry": 0}),
    "most-retries": Case(go={"max_retry": 2**31 - 1}, ours={"max_retry": 2**31 - 1}),
    "timeout": Case(go={"timeout_s": 90}, ours={"timeout": 90}),
    "deadline": Case(go={"deadline_s": _NOON_S}, ours={"deadline": _NOON}),
    "both": Case(go={"timeout_s": 90, "deadline_s": _NOON_S}, ours={"timeout": 90, "deadline": _NOON}),
    "unique": Case(go={"unique_s": 600}, ours={"unique_for": 600}),
    "unique-empty": Case(payload=b"", go={"unique_s": 600}, ours={"unique_for": 600}),
    "unique-none": Case(payload=None, go={"unique_s": 600}, ours={"unique_for": 600}),
    "id: with/ü \"'": Case(),
    "at": Case(go={"process_at_s": _NOON_S}, ours={"process_at": _NOON}, waits=True),
    "in": Case(go={"process_in_s": 3600}, ours={"process_in": 3600}, waits=True),
    "at-once": Case(go={"process_at_s": 1}, ours={"process_at": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)}),
    "unique-at": Case(
        payload=b"1",
        go={"process_at_s": _NOON_S, "unique_s": 600},
        ours={"process_at": _NOON, "unique_for": 600},
        waits=True,
    ),
    "retention": Case(go={"retention_s": 60}, ours={"retention": 60}),
    "group": Case(go={"group": "g:1"}, ours={"group": "g:1"}, waits=True),
    "unique-group": Case(
        payload=b"2", go={"group": "g:1", "unique_s": 600}, ours={"group": "g:1", "unique_for": 600}, waits=True
    ),
    "headers": Case(go={"headers": {"trace": "a b", "ü": "☃"}}, ours={"headers": {"trace": "a b", "ü": "☃"}}),
    "bytes": Case(payload=bytes(range(256))),
}


def go_submissions() -> list[dict[str, Any]]:
    return [{"type": "email:send", "id": name, "payload": case.payload} | dict(case.go) for name, case in CASES.items()]


def our_tasks() -> list[Task]:
    return [Task("email:send", case.payload, task_id=name, **case.ours) for name, case in CASES.items()]


async def stored(inspector: Inspector) -> dict[str, TaskInfo]:
    """The tasks of every case, by id."""
    return {name: await inspector.task("critical" if name == "queue" else "default", name) for name in CASES}


async def test_either_client_stores_the_same(
    go_peer: GoPeer, port: str, client: Client, inspector: Inspector, redis_client: redis.Redis
) -> None:
    answers = await asyncio.to_thread(go_peer.submit, port, *go_submissions())
    assert [answer.get("error") for answer in answers] == [None] * len(CASES)
    theirs, their_rest = await stored(inspector), rest(redis_client)
    redis_client.flushall()
    results = await client.enqueue_many(our_tasks())
    assert [type(result).__name__ for result in results] == ["TaskInfo"] * len(CASES)
    ours, our_rest = await stored(inspector), rest(redis_client)

    assert {name: info.message for name, info in ours.items()} == {name: info.message for name, info in theirs.items()}
    assert {name: info.state for name, info in ours.items()} == {name: info.state for name, info in theirs.items()}
    assert [answer["state"] for answer in answers] == [info.state.value for info in ours.values()]
    for name in ("at", "in", "unique-at"):
        there, here = theirs[name].next_process_at, ours[name].next_process_at
        assert there is not None
        assert here is not None
        assert abs(there - here) < timedelta(seconds=60)
    assert ours["at"].next_process_at == _NOON
    # a member of a group names its lock, which whoever deletes it can free then
    our_rest[keys.task("default", "unique-group").encode()].remove(b"unique_key")
    assert our_rest == their_rest


async def test_an_id_or_a_lock_that_one_side_has_taken_is_refused_to_the_other(
    go_peer: GoPeer, port: str, client: Client
) -> None:
    await client.enqueue("t", b"1", task_id="ours", unique_for=600)
    same_id = {"type": "t", "payload": b"2", "id": "ours"}
    same_lock = {"type": "t", "payload": b"1", "unique_s": 600}
    theirs = {"type": "t", "payload": b"3", "id": "go", "unique_s": 600}
    answers = await asyncio.to_thread(go_peer.submit, port, same_id, same_lock, theirs)
    assert [answer.get("error") for answer in answers] == [
        "task ID conflicts with another task",
        "task already exists",
        None,
    ]
    with pytest.raises(TaskIDConflict):
        await client.enqueue("t", b"4", task_id="go")
    with pytest.raises(DuplicateTask):
        await client.enqueue("t", b"3", unique_for=600)


def rest(client: redis.Redis) -> dict[bytes, Any]:
    """Every key: the fields of a hash, the holder and roughly the lifetime of a lock, the type of any other."""
    found: dict[bytes, Any] = {}
    for name in client.keys("asynq:*"):
        if b":t:" in name:
            found[name] = set(client.hkeys(name))
        elif b":unique:" in name:
            found[name] = (client.get(name), -(-client.ttl(name) // 100_000))
        else:
            found[name] = client.type(name)
    return found


def expected(name: str) -> dict[str, Any]:
    """What a handler is told."""
    case = CASES[name]
    return {
        "id": name,
        "queue": case.ours.get("queue", "default"),
        "type": "email:send",
        "payload": case.payload or b"",
        "headers": case.ours.get("headers", {}),
        "retried": 0,
        "max_retry": case.ours.get("max_retry", 25),
        "limit_s": round_up(limit_of(case)),
    }


def limit_of(case: Case) -> float:
    left = (case.ours.get("deadline", datetime.max.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(left, case.ours.get("timeout", float("inf") if "deadline" in case.ours else 1800))


def round_up(seconds: float) -> int:
    """To whole minutes and a half: the test takes some of the time."""
    return -int(-seconds // 90)


async def test_a_handler_of_ours_is_told_what_the_go_client_said(go_peer: GoPeer, port: str, redis_url: str) -> None:
    app = App()
    told: dict[str, dict[str, Any]] = {}

    @app.task("email:")
    async def any_task(ctx: Context) -> None:
        told[ctx.task_id] = {
            "id": ctx.task_id,
            "queue": ctx.queue,
            "type": ctx.type,
            "payload": ctx.payload,
            "headers": dict(ctx.headers),
            "retried": ctx.retried,
            "max_retry": ctx.max_retry,
            "limit_s": round_up((ctx.deadline - datetime.now(UTC)).total_seconds()),
        }

    at_once = [name for name, case in CASES.items() if not case.waits]
    async with serving(app, redis_url, queues={"default": 1, "critical": 1}):
        await asyncio.to_thread(go_peer.submit, port, *go_submissions())
        await until(lambda: len(told) == len(at_once))
    assert told == {name: expected(name) for name in at_once}


async def test_a_go_handler_is_told_what_our_client_said(go_peer: GoPeer, port: str, client: Client) -> None:
    at_once = [name for name, case in CASES.items() if not case.waits]
    await client.enqueue_many(our_tasks())
    told = {}
    with go_peer.server(port, queues="default,critical") as output:
        for _ in at_once:
            line = json.loads(await asyncio.to_thread(output.readline))
            line["payload"] = base64.b64decode(line["payload"] or "")
            line["headers"] = line["headers"] or {}
            line["limit_s"] = round_up(line.pop("seconds"))
            told[line["id"]] = line
    assert told == {name: expected(name) for name in at_once}


async def test_a_task_without_a_time_limit_has_a_far_deadline_to_a_go_server(
    go_peer: GoPeer, port: str, client: Client
) -> None:
    await client.enqueue("email:send", b"x", timeout=NO_TIMEOUT)
    with go_peer.server(port) as output:
        line = json.loads(await asyncio.to_thread(output.readline))
    assert line["seconds"] > timedelta(days=365 * 200).total_seconds()


async def test_a_delayed_task_of_ours_is_run_by_a_go_server_when_it_is_due(
    go_peer: GoPeer, port: str, client: Client
) -> None:
    with go_peer.server(port) as output:
        info = await client.enqueue("email:send", b"x", process_in=1)
        line = json.loads(await asyncio.to_thread(output.readline))
    assert line["id"] == info.id
    assert info.next_process_at is not None
    assert datetime.now(UTC) > info.next_process_at - timedelta(seconds=1)  # a due time is a whole second
