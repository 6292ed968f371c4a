"""Work handed between Longshore and the released Go library over one Redis, both ways."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from go_peer import GoPeer
from longshore import Client, Inspector, Task, TaskState
from longshore.broker.base import Archive, Complete, Done, Retry
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol.messages import SchedulerEnqueueEvent, SchedulerEntry, ServerInfo, TaskMessage, WorkerInfo

pytestmark = pytest.mark.go

_LEASE = timedelta(seconds=30)


async def _take(broker: RedisBroker, queue: str = "default", limit: int = 100) -> list[TaskMessage]:
    taken = await broker.dequeue(queue, limit=limit, now=datetime.now(UTC), lease=_LEASE)
    assert not taken.unreadable
    return [leased.message for leased in taken.leased]


async def test_tasks_of_the_go_client_are_taken_in_order_and_whole(
    go_peer: GoPeer, port: str, broker: RedisBroker
) -> None:
    told = go_peer.enqueue(port, queue="critical", type="email:send", count=20, retry=3, timeout="90s", retention="1h")
    taken = await _take(broker, "critical")
    assert [message.id for message in taken] == [task["id"] for task in told]
    assert [message.payload for message in taken] == [f'{{"n":{n}}}'.encode() for n in range(20)]
    assert {
        (message.type, message.queue, message.max_retry, message.timeout, message.retention) for message in taken
    } == {("email:send", "critical", 3, timedelta(seconds=90), timedelta(hours=1))}


async def test_headers_of_the_go_client_arrive(go_peer: GoPeer, port: str, broker: RedisBroker) -> None:
    go_peer.enqueue(port, payload="x", headers='{"trace":"a b","ü":"☃"}')
    [message] = await _take(broker)
    assert (message.payload, message.headers) == (b"x", {"trace": "a b", "ü": "☃"})


async def test_a_delayed_task_of_the_go_client_is_forwarded_when_it_is_due(
    go_peer: GoPeer, port: str, broker: RedisBroker
) -> None:
    [told] = go_peer.enqueue(port, **{"in": "1h"})
    now = datetime.now(UTC)
    assert await broker.forward("default", now=now) == 0
    assert await broker.forward("default", now=now + timedelta(hours=2)) == 1
    assert [message.id for message in await _take(broker)] == [told["id"]]


async def test_a_lock_of_the_go_client_holds_here_and_is_freed_here(
    go_peer: GoPeer, port: str, broker: RedisBroker, redis_url: str
) -> None:
    go_peer.enqueue(port, payload='{"a":1}', unique="10m")
    async with Client(redis_url) as client:
        [refused] = await client.enqueue_many([Task("test:task", {"a": 1})], unique_for=60)
        assert type(refused).__name__ == "DuplicateTask"
        [message] = await _take(broker)
        assert await broker.settle("default", [Done(message=message)], now=datetime.now(UTC)) == [True]
        await client.enqueue("test:task", {"a": 1}, unique_for=60)
    assert "already exists" in go_peer.try_enqueue(port, payload='{"a":1}', unique="10m")


async def test_tasks_of_ours_are_run_by_a_go_server(go_peer: GoPeer, port: str, redis_url: str) -> None:
    async with Client(redis_url) as client, Inspector(redis_url) as inspector:
        with go_peer.server(port, queues="default,low") as output:
            plain = await client.enqueue("email:send", {"user": 7}, retention=3600, headers={"trace": "1"}, timeout=90)
            failing = await client.enqueue("email:send", b"fail", queue="low", max_retry=2, task_id="mine")
            skipped = await client.enqueue("email:send", b"skip", max_retry=2)
            lines = [json.loads(await asyncio.to_thread(output.readline)) for _ in range(3)]
            seen = {line["id"]: line for line in lines}
            assert seen[plain.id]["payload"] == base64.b64encode(b'{"user":7}').decode()
            assert seen[plain.id]["headers"] == {"trace": "1"}
            assert 80 < seen[plain.id]["seconds"] <= 90
            assert (seen["mine"]["queue"], seen["mine"]["max_retry"], seen["mine"]["retried"]) == ("low", 2, 0)

            done = await _reaches(inspector, plain.queue, plain.id, TaskState.COMPLETED)
            assert done.result == b'{"user":7}'
            assert done.message.completed_at is not None
            retried = await _reaches(inspector, failing.queue, failing.id, TaskState.RETRY)
            assert (retried.message.retried, retried.message.error) == (1, "told to fail")
            archived = await _reaches(inspector, skipped.queue, skipped.id, TaskState.ARCHIVED)
            assert archived.message.error == "skip retry for the task"

            [server] = await inspector.servers()
            assert (server.info.queues, server.info.concurrency) == ({"default": 1, "low": 1}, 10)


@pytest.mark.parametrize("queue", [None, "default"])
async def test_a_running_task_of_a_go_server_is_seen_and_cancelled(
    go_peer: GoPeer, port: str, redis_url: str, queue: str | None
) -> None:
    async with Client(redis_url) as client, Inspector(redis_url) as inspector:
        with go_peer.server(port) as output:
            info = await client.enqueue("t", b"sleep")
            assert json.loads(await asyncio.to_thread(output.readline))["id"] == info.id
            async with asyncio.timeout(30):
                while not [worker for server in await inspector.servers() for worker in server.workers]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            [server] = await inspector.servers()
            [worker] = server.workers
            assert (worker.task_id, worker.payload, worker.queue) == (info.id, b"sleep", "default")
            [active] = await inspector.list_tasks("default", "active")
            assert not active.orphaned
            assert await inspector.cancel(info.id, queue=queue) == 1
            cancelled = await _reaches(inspector, "default", info.id, TaskState.RETRY)
            assert cancelled.message.error == "context canceled"


async def test_a_queue_paused_here_is_paused_for_a_go_server(go_peer: GoPeer, port: str, redis_url: str) -> None:
    async with Client(redis_url) as client, Inspector(redis_url) as inspector:
        await inspector.pause("default")
        info = await client.enqueue("t", b"x", retention=60)
        other = await client.enqueue("t", b"x", queue="low", retention=60)
        with go_peer.server(port, queues="default,low"):
            await _reaches(inspector, "low", other.id, TaskState.COMPLETED)
            assert (await inspector.task("default", info.id)).state is TaskState.PENDING
            await inspector.unpause("default")
            await _reaches(inspector, "default", info.id, TaskState.COMPLETED)


async def test_asynqs_inspector_shows_what_we_wrote(
    go_peer: GoPeer, port: str, redis_url: str, broker: RedisBroker
) -> None:
    now = datetime.now(UTC)
    async with Client(redis_url) as client:
        for number in range(5):
            await client.enqueue("email:send", {"n": number}, task_id=f"t{number}", retention=3600)
        await client.enqueue("later", task_id="later", process_in=3600)
    first, second, third, fourth, _ = await _take(broker, limit=5)
    outcomes = [
        Complete(message=replace(first, completed_at=now), result=b"out"),
        Retry(message=replace(second, retried=1, error="boom", last_failed_at=now), retry_at=now + _LEASE),
        Archive(message=replace(third, error="dead", last_failed_at=now)),
        Done(message=fourth),
    ]
    assert await broker.settle("default", outcomes, now=now) == [True] * 4
    server = ServerInfo(
        host="pod-1",
        pid=7,
        server_id="s",
        concurrency=10,
        queues={"default": 2},
        strict_priority=True,
        status="active",
        started_at=now,
        active_workers=1,
    )
    running = WorkerInfo(
        host="pod-1",
        pid=7,
        server_id="s",
        task_id="t4",
        task_type="email:send",
        payload=b"{}",
        queue="default",
        started_at=now,
        deadline=now + _LEASE,
    )
    await broker.publish_server(server, [running], now=now)
    entry = SchedulerEntry(
        id="e1", spec="@every 30s", task_type="t", payload=b"p", options=("MaxRetry(3)",), next_at=now, previous_at=None
    )
    await broker.publish_scheduler("pod-1:7:u", [entry], now=now, lifetime=timedelta(seconds=20))
    await broker.record_enqueue_events([("e1", SchedulerEnqueueEvent(task_id="t4", enqueued_at=now))])

    view = await asyncio.to_thread(go_peer.inspect, port, "default", entry="e1")
    assert view["queues"] == ["default"]
    counts = {name.lower(): view["queue"][name] for name in _COUNTS}
    assert counts == {
        "pending": 0,
        "active": 1,
        "scheduled": 1,
        "retry": 1,
        "archived": 1,
        "completed": 1,
        "processed": 4,
        "failed": 2,
        "processedtotal": 4,
        "failedtotal": 2,
    }
    assert [(t["ID"], t["LastErr"], t["Retried"]) for t in view["retry"]] == [("t1", "boom", 1)]
    assert [(t["ID"], t["LastErr"]) for t in view["archived"]] == [("t2", "dead")]
    assert [(t["ID"], base64.b64decode(t["Result"])) for t in view["completed"]] == [("t0", b"out")]
    assert [(t["ID"], t["IsOrphaned"]) for t in view["active"]] == [("t4", False)]
    assert [t["ID"] for t in view["scheduled"]] == ["later"]
    [seen] = view["servers"]
    assert (seen["Host"], seen["Queues"], seen["StrictPriority"], seen["Status"]) == (
        "pod-1",
        {"default": 2},
        True,
        "active",
    )
    assert [worker["TaskID"] for worker in seen["ActiveWorkers"]] == ["t4"]
    [seen_entry] = view["entries"]
    assert (seen_entry["Spec"], seen_entry["Opts"]) == ("@every 30s", ["MaxRetry(3)"])
    assert seen_entry["Prev"].startswith("0001-01-01")
    assert [event["TaskID"] for event in view["events"]] == ["t4"]


_COUNTS = (
    "Pending",
    "Active",
    "Scheduled",
    "Retry",
    "Archived",
    "Completed",
    "Processed",
    "Failed",
    "ProcessedTotal",
    "FailedTotal",
)


async def _reaches(inspector: Inspector, queue: str, task_id: str, state: TaskState) -> Any:
    async with asyncio.timeout(30):
        while (info := await inspector.task(queue, task_id)).state is not state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return info
