"""What each inspector says of what either side wrote: all seven states, running tasks, counters, memory, entries.

The three of them are ours, the released library's, and asynqmon's REST API with the oldest Asynq among our peers.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from asynqmon import Asynqmon
from go_peer import GoPeer
from interop.like_the_peer import app_like_the_peers
from longshore import App, Client, Inspector, Scheduler, Task, TaskState
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol import keys
from longshore.protocol.snapshots import TaskInfo
from longshore.scheduler import SchedulerTiming
from runtime.harness import serving, until

pytestmark = pytest.mark.go

_FINISHED = {"kept": b"kept", "failed": b"fail", "skipped": b"skip"}
_RUNNING = ("running-1", "running-2")
_WAITING = ("next-1", "next-2", "next-3")
_LATER = ("later-1", "later-2")
_GROUPS = {"g:1": ("member-1", "member-2"), "g 2": ("member-3",)}
_LISTED = (
    TaskState.PENDING,
    TaskState.ACTIVE,
    TaskState.SCHEDULED,
    TaskState.RETRY,
    TaskState.ARCHIVED,
    TaskState.COMPLETED,
)


@asynccontextmanager
async def queue_in_use(
    side: str, go_peer: GoPeer, port: str, redis_url: str, client: Client, inspector: Inspector
) -> AsyncIterator[None]:
    """Tasks in all seven states, all of them enqueued and run by one side, of which two run all the time."""

    async def enqueue(name: str, payload: bytes, **options: Any) -> None:
        if side == "ours":
            names = {"retention_s": "retention", "process_in_s": "process_in"}
            ours = {names.get(option, option): value for option, value in options.items()}
            await client.enqueue("outcome", payload, task_id=name, **ours)
        else:
            task = {"type": "outcome", "payload": payload, "id": name} | options
            [answer] = await asyncio.to_thread(go_peer.submit, port, task)
            assert "error" not in answer

    async def has(**counts: int) -> None:
        async def is_so() -> bool:
            queue = await inspector.queue("default")
            return {name: getattr(queue, name) for name in counts} == counts

        await eventually(is_so)

    async def fill() -> None:
        for name, payload in _FINISHED.items():
            await enqueue(name, payload, retention_s=600, max_retry=3, headers={"trace": name})
        await has(completed=1, retry=1, archived=1)
        for name in _RUNNING:
            await enqueue(name, b"sleep")
        await has(active=2, pending=0)
        for name in _WAITING:
            await enqueue(name, b"x")
        for hours, name in enumerate(_LATER, start=1):
            await enqueue(name, b"x", process_in_s=hours * 3600)
        for group, members in _GROUPS.items():
            for name in members:
                await enqueue(name, b"x", group=group)
        # a Go server tells of what it runs every five seconds
        await eventually(lambda: publishes(inspector, workers=2))

    if side == "ours":
        async with serving(app_like_the_peers(), redis_url, concurrency=2, shutdown_timeout=0):
            await fill()
            yield
    else:
        with go_peer.server(port, concurrency=2):
            await fill()
            yield


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is."""
    async with asyncio.timeout(30):
        while not await is_so():  # noqa: ASYNC110  # it is Redis that changes, which sets no event
            await asyncio.sleep(0.02)


async def publishes(inspector: Inspector, *, workers: int = 0, entries: int = 0) -> bool:
    """Whether servers show so many running tasks, and schedulers so many entries."""
    servers = await inspector.servers()
    shown = sum(len(server.workers) for server in servers), len(await inspector.scheduler_entries())
    return shown == (workers, entries)


def moment(text: str) -> datetime | None:
    """A time of Go's JSON, in whole seconds; None for "" and its zero time."""
    if text in ("", "-") or text.startswith("0001-01-01"):
        return None
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)


def whole(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(microsecond=0)


@pytest.mark.parametrize("side", ["ours", "go"])
async def test_all_inspectors_say_the_same_of_a_queue_in_use(
    side: str,
    go_peer: GoPeer,
    asynqmon: Asynqmon,
    port: str,
    redis_url: str,
    client: Client,
    inspector: Inspector,
) -> None:
    async with queue_in_use(side, go_peer, port, redis_url, client, inspector):
        ours = {state: await inspector.list_tasks("default", state) for state in _LISTED}
        assert {state: {info.id for info in infos} for state, infos in ours.items()} == {
            TaskState.PENDING: set(_WAITING),
            TaskState.ACTIVE: set(_RUNNING),
            TaskState.SCHEDULED: set(_LATER),
            TaskState.RETRY: {"failed"},
            TaskState.ARCHIVED: {"skipped"},
            TaskState.COMPLETED: {"kept"},
        }
        members = {name: await inspector.list_tasks("default", "aggregating", group=name) for name in _GROUPS}
        assert {name: tuple(info.id for info in infos) for name, infos in members.items()} == _GROUPS

        view = await asyncio.to_thread(go_peer.inspect, port, "default")
        await assert_asynqs_inspector_agrees(view, inspector, ours | {TaskState.AGGREGATING: flat(members)})
        await asyncio.to_thread(assert_asynqmon_lists_the_same, asynqmon, ours, members)
        await assert_asynqmon_counts_the_same(asynqmon, inspector)
        await assert_asynqmon_shows_the_same_servers(asynqmon, inspector)


def flat(members: dict[str, tuple[TaskInfo, ...]]) -> tuple[TaskInfo, ...]:
    return tuple(info for infos in members.values() for info in infos)


# -- the released library --------------------------------------------------------------------------------------------


async def assert_asynqs_inspector_agrees(
    view: dict[str, Any], inspector: Inspector, ours: dict[TaskState, tuple[TaskInfo, ...]]
) -> None:
    for state, infos in ours.items():
        theirs = sorted(view[state.value], key=lambda task: str(task["ID"]))
        assert [as_library(task) for task in theirs] == [
            as_library_says(info) for info in sorted(infos, key=lambda info: info.id)
        ]
        if state is not TaskState.AGGREGATING:
            assert [task["ID"] for task in view[state.value]] == [info.id for info in infos]
    queue, told = await inspector.queue("default"), view["queue"]
    assert (told["Size"], told["Paused"]) == (queue.size, False)
    assert (told["Processed"], told["Failed"]) == (queue.processed_today, queue.failed_today) == (3, 2)
    assert {state.value: told[state.value.capitalize()] for state in ours} == {
        state.value: len(infos) for state, infos in ours.items()
    }
    groups = {group.name: group.size for group in await inspector.groups("default")}
    assert {group["Group"]: group["Size"] for group in view["groups"]} == groups == {"g:1": 2, "g 2": 1}
    assert told["Groups"] == 2
    # a sample of 20 is all of them, so only what the tasks' hashes take changes in between
    assert told["MemoryUsage"] == pytest.approx(await inspector.memory_usage("default"), rel=0.1)
    latency = queue.latency(datetime.now(UTC))
    assert latency is not None
    assert abs(timedelta(microseconds=told["Latency"] // 1000) - latency) < timedelta(seconds=30)
    assert told["Latency"] > 0


def as_library(task: dict[str, Any]) -> dict[str, Any]:
    timed = task["State"] in (3, 4)  # of a pending task it says now
    return {
        "id": task["ID"],
        "queue": task["Queue"],
        "type": task["Type"],
        "payload": base64.b64decode(task["Payload"] or ""),
        "headers": task["Headers"] or {},
        "max_retry": task["MaxRetry"],
        "retried": task["Retried"],
        "error": task["LastErr"],
        "last_failed_at": moment(task["LastFailedAt"]),
        "timeout": timedelta(microseconds=task["Timeout"] // 1000),
        "group": task["Group"],
        "next_process_at": moment(task["NextProcessAt"]) if timed else None,
        "retention": timedelta(microseconds=task["Retention"] // 1000),
        "completed_at": moment(task["CompletedAt"]),
        "result": base64.b64decode(task["Result"] or ""),
        "orphaned": task["IsOrphaned"],
    }


def as_library_says(info: TaskInfo) -> dict[str, Any]:
    message = info.message
    timed = info.state in (TaskState.SCHEDULED, TaskState.RETRY)
    return {
        "id": info.id,
        "queue": info.queue,
        "type": info.type,
        "payload": info.payload,
        "headers": dict(message.headers),
        "max_retry": message.max_retry,
        "retried": message.retried,
        "error": message.error or "",
        "last_failed_at": message.last_failed_at,
        "timeout": message.timeout or timedelta(),
        "group": message.group or "",
        "next_process_at": info.next_process_at if timed else None,
        "retention": message.retention or timedelta(),
        "completed_at": message.completed_at,
        "result": info.result or b"",
        "orphaned": info.orphaned,
    }


# -- asynqmon --------------------------------------------------------------------------------------------------------


def assert_asynqmon_lists_the_same(
    asynqmon: Asynqmon, ours: dict[TaskState, tuple[TaskInfo, ...]], members: dict[str, tuple[TaskInfo, ...]]
) -> None:
    for state, infos in ours.items():
        tasks = asynqmon.get("queues", "default", f"{state.value}_tasks")["tasks"]
        assert [as_listed(task) for task in tasks] == [listed(info) for info in infos]
        for task, info in zip(tasks, infos, strict=True):
            assert_asynqmon_adds(state, task, info)
        paged = [
            task["id"]
            for page in range(1, len(infos) + 1)
            for task in asynqmon.get("queues", "default", f"{state.value}_tasks", size=1, page=page)["tasks"]
        ]
        assert paged == [info.id for info in infos]
    for group, infos in members.items():
        answer = asynqmon.get("queues", "default", "groups", group, "aggregating_tasks")
        assert [as_listed(task) | {"group": task["group"]} for task in answer["tasks"]] == [
            listed(info) | {"group": group} for info in infos
        ]
        assert {one["group"]: one["size"] for one in answer["groups"]} == {"g:1": 2, "g 2": 1}
    for info in [*(info for infos in ours.values() for info in infos), *flat(members)]:
        task = asynqmon.get("queues", "default", "tasks", info.id)
        assert as_listed(task) == listed(info)
        assert task["state"] == info.state.value
        assert task["timeout_seconds"] == 1800
        assert (task["deadline"], moment(task["last_failed_at"])) == ("", info.message.last_failed_at)


def as_listed(task: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "type", "payload", "queue", "max_retry", "retried", "error_message")
    return {name: task[name] for name in names}


def listed(info: TaskInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "type": info.type,
        "payload": info.payload.decode(),
        "queue": info.queue,
        "max_retry": info.message.max_retry,
        "retried": info.message.retried,
        "error_message": info.message.error or "",
    }


def assert_asynqmon_adds(state: TaskState, task: dict[str, Any], info: TaskInfo) -> None:
    """What the list of a state says besides."""
    message = info.message
    if state in (TaskState.SCHEDULED, TaskState.RETRY):
        assert moment(task["next_process_at"]) == info.next_process_at
    elif state is TaskState.ARCHIVED:
        assert moment(task["last_failed_at"]) == message.last_failed_at
    elif state is TaskState.COMPLETED:
        assert (moment(task["completed_at"]), task["result"]) == (message.completed_at, "kept")
        assert 0 < task["ttl_seconds"] <= 600
    elif state is TaskState.ACTIVE:
        started, deadline = moment(task["start_time"]), moment(task["deadline"])
        assert started is not None
        assert deadline is not None
        assert timedelta(seconds=1799) <= deadline - started <= timedelta(seconds=1801)
        assert task["is_orphaned"] is False


async def assert_asynqmon_counts_the_same(asynqmon: Asynqmon, inspector: Inspector) -> None:
    queue = await inspector.queue("default")
    [told] = (await asyncio.to_thread(asynqmon.get, "queues"))["queues"]
    states = [*_LISTED, TaskState.AGGREGATING]
    assert {state.value: told[state.value] for state in states} == {
        state.value: getattr(queue, state.value) for state in states
    }
    assert (told["queue"], told["size"], told["groups"], told["paused"]) == ("default", queue.size, 2, False)
    assert (told["processed"], told["succeeded"], told["failed"]) == (3, 1, 2)
    assert told["latency_msec"] > 0
    assert told["memory_usage_bytes"] == pytest.approx(await inspector.memory_usage("default"), rel=0.1)
    days = await inspector.history("default", days=10)
    history = (await asyncio.to_thread(asynqmon.get, "queues", "default"))["history"]
    assert [(day["date"], day["processed"], day["failed"]) for day in history] == [
        (day.date.isoformat(), day.processed, day.failed) for day in days
    ]
    stats = (await asyncio.to_thread(asynqmon.get, "queue_stats"))["stats"]
    assert (len(stats["default"]), stats["default"][0]["succeeded"]) == (90, 1)
    assert (await asyncio.to_thread(asynqmon.get, "redis_info"))["info"]


async def assert_asynqmon_shows_the_same_servers(asynqmon: Asynqmon, inspector: Inspector) -> None:
    [told] = (await asyncio.to_thread(asynqmon.get, "servers"))["servers"]
    [server] = await inspector.servers()
    info = server.info
    assert (told["id"], told["host"], told["pid"]) == (info.server_id, info.host, info.pid)
    assert (told["concurrency"], told["queue_priorities"]) == (2, {"default": 1}) == (info.concurrency, info.queues)
    assert (told["strict_priority_enabled"], told["status"]) == (False, "active") == (info.strict_priority, info.status)
    assert moment(told["start_time"]) == whole(info.started_at)
    workers = sorted(
        (worker.task_id, worker.queue, worker.task_type, worker.payload.decode(), whole(worker.started_at))
        for worker in server.workers
    )
    assert workers == sorted(
        (
            worker["task_id"],
            worker["queue"],
            worker["task_type"],
            worker["task_payload"],
            moment(worker["start_time"]),
        )
        for worker in told["active_workers"]
    )
    assert [worker[:4] for worker in workers] == [(name, "default", "outcome", "sleep") for name in _RUNNING]


async def test_a_task_whose_lease_is_over_is_orphaned_to_every_inspector(
    go_peer: GoPeer, asynqmon: Asynqmon, port: str, client: Client, broker: RedisBroker, inspector: Inspector
) -> None:
    await client.enqueue_many([Task("t", task_id="lost"), Task("t", task_id="held")])
    for lease in (timedelta(seconds=-5), timedelta(seconds=30)):
        await broker.dequeue("default", limit=1, now=datetime.now(UTC), lease=lease)
    ours = {info.id: info.orphaned for info in await inspector.list_tasks("default", "active")}
    view = await asyncio.to_thread(go_peer.inspect, port, "default")
    listed_there = asynqmon.get("queues", "default", "active_tasks")["tasks"]
    assert ours == {"lost": True, "held": False}
    assert {task["ID"]: task["IsOrphaned"] for task in view["active"]} == ours
    assert {task["id"]: task["is_orphaned"] for task in listed_there} == ours


async def test_names_of_every_script_and_bytes_that_are_no_text_reach_every_inspector(
    go_peer: GoPeer, asynqmon: Asynqmon, port: str, client: Client, inspector: Inspector
) -> None:
    queue, group = "gr\u00f6\u00dfe \U0001f6a2:1 {x}", "g \u0394:1&2"
    name, kind = "id \u2603 %2F?#", "typ:\u00fc \u4e2d"
    await client.enqueue(kind, b"\x00\xff", queue=queue, task_id=name, process_in=3600)
    await client.enqueue(kind, b"\xc3\xbc", queue=queue, task_id="member", group=group)
    view = await asyncio.to_thread(go_peer.inspect, port, queue)
    assert [(task["ID"], task["Type"], task["Queue"]) for task in view["scheduled"]] == [(name, kind, queue)]
    assert [(task["ID"], task["Group"]) for task in view["aggregating"]] == [("member", group)]
    [shown] = asynqmon.get("queues", queue, "scheduled_tasks")["tasks"]
    assert (shown["id"], shown["type"], shown["payload"]) == (name, kind, "non-printable bytes")
    [member] = asynqmon.get("queues", queue, "groups", group, "aggregating_tasks")["tasks"]
    assert (member["id"], member["payload"], member["group"]) == ("member", "\u00fc", group)
    asynqmon.post("queues", queue, "scheduled_tasks", f"{name}:run")
    assert (await inspector.task(queue, name)).state is TaskState.PENDING


async def test_how_a_server_of_ours_serves_and_that_it_is_paused_is_shown_by_asynqmon(
    asynqmon: Asynqmon, redis_url: str
) -> None:
    queues = {"critical": 6, "low": 1}
    async with serving(app_like_the_peers(), redis_url, queues=queues, strict_priority=True, concurrency=7) as server:

        async def shown(status: str) -> bool:
            servers = (await asyncio.to_thread(asynqmon.get, "servers"))["servers"]
            return [one["status"] for one in servers] == [status]

        await eventually(lambda: shown("active"))
        [told] = (await asyncio.to_thread(asynqmon.get, "servers"))["servers"]
        assert (told["id"], told["concurrency"]) == (server.server_id, 7)
        assert (told["queue_priorities"], told["strict_priority_enabled"]) == (queues, True)
        assert told["active_workers"] == []
        server.pause()
        await eventually(lambda: shown("stopped"))
    assert (await asyncio.to_thread(asynqmon.get, "servers"))["servers"] == []


# -- schedulers ------------------------------------------------------------------------------------------------------


async def test_entries_and_events_of_our_scheduler_are_seen_by_asynqs_readers(
    go_peer: GoPeer, asynqmon: Asynqmon, port: str, redis_url: str, inspector: Inspector, redis_client: redis.Redis
) -> None:
    app = App()
    task = Task("report", {"n": 1}, queue="low", max_retry=3, timeout=90, unique_for=600, retention=60)
    app.add_periodic("often", "@every 1s", Task("tick"))
    app.add_periodic("rarely", "0 4 1 1 *", task, time_zone="Europe/Berlin")
    timing = SchedulerTiming(publish=timedelta(milliseconds=200))
    async with Scheduler("shop", app=app, redis=redis_url, timing=timing):
        await until(lambda: redis_client.llen(keys.pending("default")) >= 2)
        await eventually(lambda: publishes(inspector, entries=2))
        often, rarely = await inspector.scheduler_entries()
        view = await asyncio.to_thread(go_peer.inspect, port, "default", entry=often.id)
        shown = (await asyncio.to_thread(asynqmon.get, "scheduler_entries"))["entries"]
        events = await asyncio.to_thread(asynqmon.get, "scheduler_entries", often.id, "enqueue_events")
        ours = [event.task_id for event in await inspector.enqueue_events(often.id)]
    theirs = {entry["ID"]: entry for entry in view["entries"]}
    assert set(theirs) == {entry["id"] for entry in shown} == {often.id, rarely.id}
    for entry in shown:
        same = theirs[entry["id"]]
        assert (entry["spec"], entry["task_type"], entry["options"]) == (same["Spec"], same["Type"], same["Opts"])
    yearly = theirs[rarely.id]
    assert (yearly["Type"], base64.b64decode(yearly["Payload"])) == ("report", b'{"n":1}')
    assert "0 4 1 1 *" in yearly["Spec"]
    assert sorted(yearly["Opts"]) == sorted(
        ['Queue("low")', "MaxRetry(3)", "Timeout(1m30s)", "Unique(10m0s)", "Retention(1m0s)"]
    )
    assert moment(yearly["Next"]) == rarely.next_at
    assert moment(yearly["Prev"]) is None
    # newest first; a tick may have come between the looks
    told = [event["TaskID"] for event in view["events"]]
    assert len(told) >= 2
    assert told == ours[-len(told) :]
    assert [event["task_id"] for event in events["events"]][-len(told) :] == told


async def test_entries_and_events_of_a_go_scheduler_are_seen_here(
    go_peer: GoPeer, asynqmon: Asynqmon, port: str, inspector: Inspector, redis_client: redis.Redis
) -> None:
    options = {
        "queue": "lö)w",
        "max_retry": 3,
        "timeout_s": 90,
        "unique_s": 1,
        "retention_s": 60,
        "id": 'an "id" (',
        "group": "g)1",
        "process_in_s": 5,
        "deadline_s": 2208988800,
    }
    entries = (
        {"spec": "@every 1s", "task": {"type": "tick", "payload": b"p"}},
        {"spec": "CRON_TZ=Europe/Berlin 0 4 1 1 *", "task": {"type": "yearly", "payload": b"q"} | options},
    )
    with go_peer.scheduler(port, *entries) as (often, rarely):
        await until(lambda: redis_client.zcard(keys.scheduler_history(often)) >= 2)
        await eventually(lambda: publishes(inspector, entries=2))
        found = {entry.id: entry for entry in await inspector.scheduler_entries()}
        events = await inspector.enqueue_events(often)
        shown = (await asyncio.to_thread(asynqmon.get, "scheduler_entries"))["entries"]
    assert set(found) == {often, rarely} == {entry["id"] for entry in shown}
    tick, yearly = found[often], found[rarely]
    assert (tick.spec, tick.task_type, tick.payload, tick.options) == ("@every 1s", "tick", b"p", ())
    assert (yearly.spec, yearly.task_type, yearly.payload) == ("CRON_TZ=Europe/Berlin 0 4 1 1 *", "yearly", b"q")
    assert yearly.next_at is not None
    assert (yearly.next_at.month, yearly.next_at.day, yearly.next_at.hour, yearly.previous_at) == (1, 1, 3, None)
    values = {option.name: option.value for option in yearly.read_options()}
    assert values.pop("Deadline") in (None, datetime(2040, 1, 1, tzinfo=UTC))  # readable in UTC only
    assert values == {
        "Queue": "lö)w",
        "MaxRetry": 3,
        "Timeout": timedelta(seconds=90),
        "Unique": timedelta(seconds=1),
        "Retention": timedelta(seconds=60),
        "TaskID": 'an "id" (',
        "Group": "g)1",
        "ProcessIn": timedelta(seconds=5),
    }
    pending = [one.decode() for one in redis_client.lrange(keys.pending("default"), 0, -1)]
    newest_first = [event.task_id for event in events]
    assert newest_first == pending[-len(newest_first) :]
    assert json.dumps(shown)  # asynqmon could read it, too
