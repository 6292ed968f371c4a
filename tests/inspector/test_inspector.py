"""Reading queues, tasks, servers and schedulers, and acting on single tasks.

The scripts that change something are compared with Asynq's own in tests/scripts; here are answers and refusals.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis

from longshore import (
    Inspector,
    InvalidData,
    InvalidOption,
    QueueNotFound,
    QueueSnapshot,
    ServerSnapshot,
    TaskInfo,
    TaskNotFound,
    TaskState,
    WrongState,
    WrongType,
)
from longshore.protocol import codec, keys
from longshore.protocol.messages import SchedulerEnqueueEvent, SchedulerEntry, ServerInfo, WorkerInfo
from longshore.protocol.snapshots import QueueDay
from longshore.testing import new_message, queue_content, read_keyspace, seed_keyspace

_NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
_NOW_S = codec.unix_seconds(_NOW)
_SECOND = timedelta(seconds=1)


def _registered(*queues: str) -> dict[str, Any]:
    return {keys.QUEUES: {queue.encode() for queue in queues}}


def _full_queue() -> dict[str, Any]:
    def message(state: str, n: int = 0) -> Any:
        return new_message(id=f"{state}{n}")

    return queue_content(
        pending=[message("pending", 1), message("pending", 2)],
        pending_since_ns=codec.unix_nanoseconds(_NOW - 90 * _SECOND),
        active=[(message("active"), _NOW_S + 5)],
        scheduled=[(message("scheduled", n), _NOW_S + n) for n in range(3)],
        retry=[(message("retry", n), _NOW_S - 1 + n) for n in range(4)],
        archived=[(message("archived", n), n) for n in range(5)],
        completed=[(message("completed", n), _NOW_S + n) for n in range(6)],
        groups={"g1": [(message("g", n), n) for n in range(3)], "g2": [(message("h"), 1)]},
    ) | {
        keys.processed("default", date(2024, 3, 1)): b"41",
        keys.failed("default", date(2024, 3, 1)): b"2",
        keys.processed("default", date(2024, 2, 29)): b"7",
        keys.paused("default"): str(_NOW_S - 60).encode(),
    }


async def test_a_queue_shows_its_depth_and_counters(inspector: Inspector, redis_client: redis.Redis) -> None:
    before = _registered("default") | _full_queue()
    seed_keyspace(redis_client, before)
    queue = await inspector.queue("default")
    assert queue == QueueSnapshot(
        name="default",
        pending=2,
        active=1,
        scheduled=3,
        retry=4,
        archived=5,
        completed=6,
        aggregating=4,
        due=3,
        paused_at=_NOW - 60 * _SECOND,
        oldest_pending_at=_NOW - 90 * _SECOND,
        processed_today=41,
        failed_today=2,
    )
    assert (queue.paused, queue.size) == (True, 25)
    assert queue.latency(_NOW) == 90 * _SECOND
    assert read_keyspace(redis_client) == before


async def test_every_registered_queue_is_listed_and_one_that_cannot_be_read_says_why(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, _registered("b", "a", "broken") | {keys.retry("broken"): b"text"})
    redis_client.set(keys.paused("a"), "no time")
    a, b, broken = await inspector.queues()
    assert (a.name, a.paused) == ("a", True)
    assert b == QueueSnapshot(name="b")
    assert broken == QueueSnapshot(
        name="broken", problem="asynq:{broken}:retry: is a string, but Asynq keeps a zset there"
    )


async def test_a_queue_that_is_not_registered_does_not_exist(inspector: Inspector) -> None:
    for call in (
        inspector.queue("no"),
        inspector.history("no"),
        inspector.list_tasks("no", "pending"),
    ):
        with pytest.raises(QueueNotFound, match="queue 'no' does not exist"):
            await call
    assert await inspector.queues() == ()


async def test_history_counts_days_from_today_back(inspector: Inspector, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, _registered("default") | _full_queue())
    assert await inspector.history("default", 3) == (
        QueueDay(date=date(2024, 3, 1), processed=41, failed=2),
        QueueDay(date=date(2024, 2, 29), processed=7, failed=0),
        QueueDay(date=date(2024, 2, 28), processed=0, failed=0),
    )
    redis_client.set(keys.processed("default", date(2024, 2, 28)), "many")
    assert (await inspector.history("default", 3))[2].processed == 0
    with pytest.raises(InvalidOption, match="days: must be from 1 to 90"):
        await inspector.history("default", 91)


async def test_pausing_twice_is_pausing_once(inspector: Inspector, redis_client: redis.Redis) -> None:
    assert [await inspector.pause("default") for _ in range(2)] == [True, False]
    assert read_keyspace(redis_client) == {keys.paused("default"): str(_NOW_S).encode()}
    assert [await inspector.unpause("default") for _ in range(2)] == [True, False]
    assert read_keyspace(redis_client) == {}


@pytest.mark.parametrize(
    ("state", "ids"),
    [
        ("pending", ["pending1", "pending2"]),
        ("active", ["active0"]),
        ("scheduled", ["scheduled0", "scheduled1", "scheduled2"]),
        ("retry", ["retry0", "retry1", "retry2", "retry3"]),
        ("archived", ["archived0", "archived1", "archived2", "archived3", "archived4"]),
        ("completed", [f"completed{n}" for n in range(6)]),
    ],
)
async def test_tasks_of_a_state_are_listed_oldest_first_and_page_by_page(
    inspector: Inspector, redis_client: redis.Redis, state: str, ids: list[str]
) -> None:
    seed_keyspace(redis_client, _registered("default") | _full_queue())
    assert [task.id for task in await inspector.list_tasks("default", state)] == ids
    pages = [await inspector.list_tasks("default", state, page=page, size=2) for page in range(1, 5)]
    assert [task.id for page in pages for task in page] == ids
    assert {task.state.value for page in pages for task in page} == {state}
    assert await inspector.list_tasks("default", state, page=10**30) == ()


async def test_a_groups_tasks_are_listed_by_its_name(inspector: Inspector, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, _registered("default") | _full_queue())
    tasks = await inspector.list_tasks("default", TaskState.AGGREGATING, group="g1")
    assert [task.id for task in tasks] == ["g0", "g1", "g2"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"state": "running"}, "state: 'running' is not a task state; there are pending, active"),
        ({"state": "pending", "page": 0}, "page: must be 1 or more"),
        ({"state": "pending", "size": 0}, "size: must be from 1 to 1000"),
        ({"state": "aggregating"}, "group: is needed for aggregating tasks"),
        ({"state": "pending", "group": "g"}, "group: is needed for aggregating tasks, and for no others"),
    ],
)
async def test_a_listing_that_cannot_be_is_refused(inspector: Inspector, options: Any, text: str) -> None:
    with pytest.raises(InvalidOption, match=text):
        await inspector.list_tasks("default", **options)


async def test_a_listing_leaves_out_what_cannot_be_read(inspector: Inspector, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, _registered("default") | _full_queue())
    redis_client.hset(keys.task("default", "retry1"), "msg", b"\xff")
    redis_client.delete(keys.task("default", "retry2"))
    assert [task.id for task in await inspector.list_tasks("default", "retry")] == ["retry0", "retry3"]


async def test_a_listing_leaves_out_a_key_of_another_type(inspector: Inspector, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, _registered("default") | _full_queue())
    redis_client.delete(keys.task("default", "retry1"))
    redis_client.set(keys.task("default", "retry1"), "text")
    assert [task.id for task in await inspector.list_tasks("default", "retry")] == ["retry0", "retry2", "retry3"]


@pytest.mark.parametrize("target", [keys.pending, keys.archived])
async def test_a_task_stays_where_it_is_while_there_is_nowhere_to_put_it(
    inspector: Inspector, redis_client: redis.Redis, target: Callable[[str], str]
) -> None:
    before = queue_content(retry=[(new_message(id="a"), 1)]) | {target("default"): b"text"}
    seed_keyspace(redis_client, before)
    with pytest.raises(WrongType, match=re.escape(target("default"))):
        await (inspector.run_task if target is keys.pending else inspector.archive_task)("default", "a")
    assert read_keyspace(redis_client) == before


async def test_a_task_shows_state_time_and_result(inspector: Inspector, redis_client: redis.Redis) -> None:
    waiting, done = new_message(), new_message(retention=timedelta(days=1), completed_at=_NOW)
    failed = new_message(retried=2, error="boom", last_failed_at=_NOW)
    seed_keyspace(
        redis_client,
        queue_content(pending=[waiting], retry=[(failed, _NOW_S + 9)], completed=[(done, _NOW_S + 86400)]),
    )
    redis_client.hset(keys.task("default", done.id), "result", b"\x00r")
    assert await inspector.task("default", waiting.id) == TaskInfo(
        message=waiting, state=TaskState.PENDING, next_process_at=_NOW
    )
    assert await inspector.task("default", failed.id) == TaskInfo(
        message=failed, state=TaskState.RETRY, next_process_at=_NOW + 9 * _SECOND
    )
    assert await inspector.task("default", done.id) == TaskInfo(
        message=done, state=TaskState.COMPLETED, result=b"\x00r"
    )


async def test_an_active_task_is_orphaned_when_its_lease_has_ended_or_is_missing(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    live, ended, none = (new_message(id=name) for name in ("live", "ended", "none"))
    seed_keyspace(
        redis_client, _registered("default") | queue_content(active=[(live, _NOW_S + 1), (ended, _NOW_S), (none, 0)])
    )
    redis_client.zrem(keys.lease("default"), "none")
    listed = {task.id: task.orphaned for task in await inspector.list_tasks("default", "active")}
    assert listed == {"live": False, "ended": True, "none": True}
    assert (await inspector.task("default", "ended")).orphaned
    assert not (await inspector.task("default", "live")).orphaned


async def test_a_task_that_is_not_there_or_cannot_be_read_says_so(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    for call in (inspector.task, inspector.run_task, inspector.archive_task, inspector.delete_task):
        with pytest.raises(TaskNotFound, match="queue 'default' has no task 'no'"):
            await call("default", "no")
    seed_keyspace(redis_client, queue_content(retry=[(new_message(id="a"), 1)]))
    redis_client.hset(keys.task("default", "a"), "msg", b"\xff")
    with pytest.raises(InvalidData, match="task message"):
        await inspector.task("default", "a")
    redis_client.hset(keys.task("default", "a"), "state", "asleep")
    with pytest.raises(InvalidData, match="state is 'asleep'"):
        await inspector.task("default", "a")


async def test_a_running_task_is_left_alone(inspector: Inspector, redis_client: redis.Redis) -> None:
    before = queue_content(active=[(new_message(id="a"), 1)])
    seed_keyspace(redis_client, before)
    for word, call in (
        ("run", inspector.run_task),
        ("archive", inspector.archive_task),
        ("delete", inspector.delete_task),
    ):
        with pytest.raises(WrongState, match=f"task 'a' of queue 'default' is active: cannot {word} it"):
            await call("default", "a")
    assert read_keyspace(redis_client) == before


async def test_running_and_archiving_twice_is_doing_it_once(inspector: Inspector, redis_client: redis.Redis) -> None:
    message = new_message(id="a")
    seed_keyspace(redis_client, queue_content(scheduled=[(message, _NOW_S + 60)]))
    assert [await inspector.run_task("default", "a") for _ in range(2)] == [True, False]
    assert read_keyspace(redis_client) == queue_content(
        pending=[message], pending_since_ns=codec.unix_nanoseconds(_NOW)
    )
    assert [await inspector.archive_task("default", "a") for _ in range(2)] == [True, False]
    assert read_keyspace(redis_client) == queue_content(archived=[(message, _NOW_S)])


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry", "archived", "completed", "aggregating"])
async def test_a_task_that_is_not_where_its_state_says_is_left_alone(
    inspector: Inspector, redis_client: redis.Redis, state: str
) -> None:
    task = {b"msg": codec.encode_task(new_message(id="a")), b"state": state.encode()}
    seed_keyspace(redis_client, {keys.task("default", "a"): task})
    for call in (inspector.run_task, inspector.archive_task, inspector.delete_task):
        if (state, call) in (("pending", inspector.run_task), ("archived", inspector.archive_task)):
            assert not await call("default", "a")  # it claims to be there already
            continue
        if state == "aggregating":  # as far as its hash tells; its group is empty
            with pytest.raises(WrongState, match="task 'a' of queue 'default' is being aggregated: cannot"):
                await call("default", "a")
            continue
        with pytest.raises(InvalidData, match="is not where its state says"):
            await call("default", "a")
    assert read_keyspace(redis_client) == {keys.task("default", "a"): task}


async def test_archiving_by_hand_trims_hashes_with_ids(inspector: Inspector, redis_client: redis.Redis) -> None:
    old, recent, new = new_message(), new_message(), new_message(id="new")
    seed_keyspace(
        redis_client,
        queue_content(
            archived=[(old, _NOW_S - 90 * 86400), (recent, _NOW_S - 90 * 86400 + 1)], retry=[(new, _NOW_S + 60)]
        ),
    )
    await inspector.archive_task("default", "new")
    assert read_keyspace(redis_client) == queue_content(archived=[(recent, _NOW_S - 90 * 86400 + 1), (new, _NOW_S)])


async def test_cancel_tells_how_many_servers_heard_it(inspector: Inspector, redis_client: redis.Redis) -> None:
    assert await inspector.cancel("a") == 0
    with redis_client.pubsub() as listener:
        listener.subscribe(keys.CANCEL_CHANNEL)
        assert listener.get_message(timeout=10)["type"] == "subscribe"
        assert await inspector.cancel("a") == 1
        assert listener.get_message(timeout=10)["data"] == b"a"


# -- servers and schedulers --------------------------------------------------------------------------------------------


def _server(host: str, **changes: Any) -> ServerInfo:
    return ServerInfo(
        **{
            "host": host,
            "pid": 7,
            "server_id": f"id-{host}",
            "concurrency": 10,
            "queues": {"default": 1},
            "strict_priority": False,
            "status": "active",
            "started_at": _NOW,
            "active_workers": 0,
        }
        | changes
    )


def _worker(server: ServerInfo, task_id: str, started_at: datetime) -> WorkerInfo:
    return WorkerInfo(
        host=server.host,
        pid=server.pid,
        server_id=server.server_id,
        task_id=task_id,
        task_type="t",
        payload=b"secret",
        queue="default",
        started_at=started_at,
        deadline=_NOW + timedelta(hours=1),
    )


def _publish(client: redis.Redis, server: ServerInfo, *workers: WorkerInfo, expires_at_s: int = _NOW_S) -> None:
    key = keys.server(server.host, server.pid, server.server_id)
    client.zadd(keys.SERVERS, {key: expires_at_s})
    client.set(key, codec.encode_server(server))
    for worker in workers:
        client.hset(keys.workers_of(key), worker.task_id, codec.encode_worker(worker))


async def test_live_servers_are_listed_with_what_they_run(inspector: Inspector, redis_client: redis.Redis) -> None:
    one, two, gone = _server("pod-1"), _server("pod-2"), _server("pod-0")
    older, newer = _worker(one, "x", _NOW - _SECOND), _worker(one, "a", _NOW)
    _publish(redis_client, two)
    _publish(redis_client, one, newer, older)
    _publish(redis_client, gone, expires_at_s=_NOW_S - 1)
    redis_client.zadd(keys.SERVERS, {"asynq:servers:{expired:1:x}": _NOW_S, "asynq:servers:{garbled:1:x}": _NOW_S})
    redis_client.set("asynq:servers:{garbled:1:x}", b"\xff")
    redis_client.hset(keys.workers("pod-1", 7, "id-pod-1"), "garbled", b"\xff")
    before = read_keyspace(redis_client)
    assert await inspector.servers() == (
        ServerSnapshot(info=one, workers=(older, newer)),
        ServerSnapshot(info=two),
    )
    assert read_keyspace(redis_client) == before


async def test_entries_of_live_schedulers_are_listed_by_their_next_tick(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    def entry(name: str, next_at: datetime | None) -> SchedulerEntry:
        return SchedulerEntry(
            id=name, spec="@daily", task_type="t", payload=b"", next_at=next_at, previous_at=None, options=("Queue(x)",)
        )

    never, later, soon = entry("never", None), entry("later", _NOW + 9 * _SECOND), entry("soon", _NOW)
    for scheduler, entries, expires_at_s in (("a", [never, later], _NOW_S), ("b", [soon], _NOW_S), ("c", [soon], 1)):
        redis_client.zadd(keys.SCHEDULERS, {keys.scheduler(scheduler): expires_at_s})
        redis_client.rpush(keys.scheduler(scheduler), *(codec.encode_scheduler_entry(e) for e in entries))
    redis_client.rpush(keys.scheduler("a"), b"\xff")
    assert await inspector.scheduler_entries() == (soon, later, never)


async def test_enqueue_events_are_listed_newest_first(inspector: Inspector, redis_client: redis.Redis) -> None:
    events = [SchedulerEnqueueEvent(task_id=str(n), enqueued_at=_NOW + n * _SECOND) for n in range(3)]
    for event in events:
        redis_client.zadd(
            keys.scheduler_history("e"), {codec.encode_enqueue_event(event): codec.unix_seconds(event.enqueued_at)}
        )
    assert await inspector.enqueue_events("e") == tuple(reversed(events))
    assert await inspector.enqueue_events("e", page=2, size=2) == (events[0],)
    assert await inspector.enqueue_events("e", page=10**30) == ()
    assert await inspector.enqueue_events("other") == ()
    with pytest.raises(InvalidOption, match="page: must be 1 or more"):
        await inspector.enqueue_events("e", page=0)


async def test_a_global_key_of_another_type_is_named(inspector: Inspector, redis_client: redis.Redis) -> None:
    redis_client.set(keys.SERVERS, "text")
    with pytest.raises(WrongType, match="asynq:servers"):
        await inspector.servers()
    with pytest.raises(WrongType, match="asynq:servers"):
        await inspector.snapshot(["default"])
    redis_client.set(keys.QUEUES, "text")
    with pytest.raises(WrongType, match="asynq:queues"):
        await inspector.queue("default")
