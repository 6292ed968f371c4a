"""Background duties: finding abandoned tasks, forwarding past what is broken, publishing state.

What they share with Asynq is shown in test_as_asynq_does.py.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import redis

from longshore.broker.redis_broker import RedisBroker
from longshore.errors import WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import SchedulerEnqueueEvent, SchedulerEntry, ServerInfo, WorkerInfo
from longshore.testing import new_message, queue_content, read_keyspace, read_lifetimes, seed_keyspace

_NOW = datetime.now(UTC).replace(microsecond=0)
_NOW_S = codec.unix_seconds(_NOW)


async def test_tasks_whose_lease_ended_are_found_and_nothing_is_written(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    old, at_cutoff, live = new_message(id="old"), new_message(id="at"), new_message(id="live")
    before = queue_content(active=[(old, _NOW_S - 9), (at_cutoff, _NOW_S), (live, _NOW_S + 1)])
    seed_keyspace(redis_client, before)
    assert await broker.lease_expired("default", cutoff=_NOW) == [old, at_cutoff]
    assert read_keyspace(redis_client) == before


async def test_an_active_task_without_any_lease_is_found_too(broker: RedisBroker, redis_client: redis.Redis) -> None:
    stuck, live = new_message(id="stuck"), new_message(id="live")
    seed_keyspace(redis_client, queue_content(active=[(stuck, 0), (live, _NOW_S + 1)]))
    redis_client.zrem(keys.lease("default"), "stuck")
    assert await broker.lease_expired("default", cutoff=_NOW) == [stuck]


async def test_abandoned_tasks_that_cannot_be_read_are_set_aside_and_the_others_found(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    good, garbled, stub = new_message(id="good"), new_message(id="garbled"), new_message(id="stub")
    seed_keyspace(redis_client, queue_content(active=[(good, 1), (garbled, 2), (stub, 3)]))
    redis_client.hset(keys.task("default", "garbled"), "msg", b"\xff")
    redis_client.hdel(keys.task("default", "stub"), "msg")
    assert await broker.lease_expired("default", cutoff=_NOW) == [good]
    assert read_keyspace(redis_client) == queue_content(active=[(good, 1)]) | {
        keys.task("default", "garbled"): {b"msg": b"\xff", b"state": b"archived"},
        keys.archived("default"): {b"garbled": float(_NOW_S)},
    }


async def test_an_abandoned_task_whose_key_is_of_another_type_does_not_hide_the_others(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    good, broken = new_message(id="good"), new_message(id="broken")
    seed_keyspace(redis_client, queue_content(active=[(broken, 1), (good, 2)]))
    redis_client.delete(keys.task("default", "broken"))
    redis_client.set(keys.task("default", "broken"), "text")
    assert await broker.lease_expired("default", cutoff=_NOW) == [good]
    assert read_keyspace(redis_client) == queue_content(active=[(good, 2)]) | {keys.task("default", "broken"): b"text"}


async def test_leases_of_tasks_that_are_not_active_do_not_hide_abandoned_ones(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    old, waiting = new_message(id="old"), new_message(id="s0")
    before = queue_content(active=[(old, 2)], retry=[(waiting, _NOW_S)])
    seed_keyspace(redis_client, before)
    redis_client.zadd(keys.lease("default"), {f"s{number}": 1 for number in range(1000)})
    found = [await broker.lease_expired("default", cutoff=_NOW) for _ in range(2)]
    assert found[-1] == [old]
    assert read_keyspace(redis_client) == before


async def test_forward_moves_at_most_100_of_each_set_and_tells_how_many(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    scheduled = [(new_message(id=f"s{n:03}"), _NOW_S - 200 + n) for n in range(150)]
    retry = [(new_message(id=f"r{n:03}"), _NOW_S - 200 + n) for n in range(20)]
    seed_keyspace(redis_client, queue_content(scheduled=scheduled, retry=retry))
    assert [await broker.forward("default", now=_NOW) for _ in range(3)] == [120, 50, 0]
    taken = await broker.dequeue("default", limit=200, now=_NOW, lease=timedelta(seconds=30))
    ids = [leased.message.id for leased in taken.leased]
    assert ids == [m.id for m, _ in scheduled[:100]] + [m.id for m, _ in retry] + [m.id for m, _ in scheduled[100:]]


async def test_forward_drops_ids_without_a_hash_and_leaves_no_stub(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    message = new_message()
    seed_keyspace(redis_client, queue_content(scheduled=[(message, 1)]) | {keys.retry("default"): {b"ghost": 1.0}})
    assert await broker.forward("default", now=_NOW) == 2
    assert read_keyspace(redis_client) == queue_content(pending=[message], pending_since_ns=_NOW_S * 10**9)


async def test_a_due_task_whose_key_is_of_another_type_does_not_keep_the_others_waiting(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    good, broken = new_message(id="good"), new_message(id="broken")
    seed_keyspace(redis_client, queue_content(scheduled=[(broken, 1), (good, 2)]))
    redis_client.delete(keys.task("default", "broken"))
    redis_client.set(keys.task("default", "broken"), "text")
    assert await broker.forward("default", now=_NOW) == 2
    assert read_keyspace(redis_client) == queue_content(pending=[good], pending_since_ns=_NOW_S * 10**9) | {
        keys.task("default", "broken"): b"text"
    }


async def test_due_tasks_wait_on_while_there_is_nowhere_to_put_them(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    before = queue_content(retry=[(new_message(), 1)]) | {keys.pending("default"): b"text"}
    seed_keyspace(redis_client, before)
    with pytest.raises(WrongType, match=r"asynq:\{default\}:pending"):
        await broker.forward("default", now=_NOW)
    assert read_keyspace(redis_client) == before


async def test_only_so_many_expired_completed_tasks_are_deleted_at_once(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, queue_content(completed=[(new_message(), _NOW_S - n) for n in range(5)]))
    deleted = [await broker.delete_expired_completed("default", now=_NOW, limit=3) for _ in range(3)]
    assert deleted == [3, 2, 0]
    assert read_keyspace(redis_client) == {}


async def test_a_result_is_not_stored_for_a_task_that_is_not_running(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    before = queue_content(retry=[(new_message(id="a"), 1)])
    seed_keyspace(redis_client, before)
    assert not await broker.write_result("default", "a", b"r")
    assert not await broker.write_result("default", "gone", b"r")
    assert read_keyspace(redis_client) == before


_SERVER = ServerInfo(
    host="pod-1",
    pid=7,
    server_id="s1",
    concurrency=10,
    queues={"default": 1},
    strict_priority=False,
    status="active",
    started_at=_NOW,
    active_workers=2,
)


def _running(task_id: str) -> WorkerInfo:
    return WorkerInfo(
        host="pod-1",
        pid=7,
        server_id="s1",
        task_id=task_id,
        task_type="t",
        payload=b"{}",
        queue="default",
        started_at=_NOW,
        deadline=_NOW,
    )


async def test_a_servers_state_is_replaced_as_a_whole_and_lives_for_10_seconds(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    server, workers = keys.server("pod-1", 7, "s1"), keys.workers("pod-1", 7, "s1")
    for running in (["a", "b"], ["b", "c"]):
        await broker.publish_server(_SERVER, [_running(task_id) for task_id in running], now=_NOW)
        assert read_keyspace(redis_client) == {
            keys.SERVERS: {server.encode(): float(_NOW_S + 10)},
            keys.WORKERS: {workers.encode(): float(_NOW_S + 10)},
            server: codec.encode_server(_SERVER),
            workers: {task_id.encode(): codec.encode_worker(_running(task_id)) for task_id in running},
        }
        assert read_lifetimes(redis_client).keys() == {server, workers}
    await broker.publish_server(_SERVER, [], now=_NOW)
    assert not redis_client.exists(workers)
    await broker.clear_server(_SERVER)
    assert read_keyspace(redis_client) == {}


async def test_thousands_of_running_tasks_are_published_together(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    running = [_running(f"t{number}") for number in range(2500)]
    await broker.publish_server(_SERVER, running, now=_NOW)
    assert redis_client.hgetall(keys.workers("pod-1", 7, "s1")) == {
        one.task_id.encode(): codec.encode_worker(one) for one in running
    }


async def test_an_idle_beat_writes_no_running_tasks(broker: RedisBroker, redis_client: redis.Redis) -> None:
    server = keys.server("pod-1", 7, "s1")
    await broker.publish_server(_SERVER, None, now=_NOW)
    assert read_keyspace(redis_client) == {
        keys.SERVERS: {server.encode(): float(_NOW_S + 10)},
        server: codec.encode_server(_SERVER),
    }
    assert read_lifetimes(redis_client).keys() == {server}


async def test_a_schedulers_entries_are_replaced_as_a_whole(broker: RedisBroker, redis_client: redis.Redis) -> None:
    entries = [
        SchedulerEntry(id=name, spec="@daily", task_type="t", payload=b"", next_at=_NOW, previous_at=None)
        for name in ("one", "two")
    ]
    key = keys.scheduler("host:1:u")
    for some in (entries, entries[:1]):
        await broker.publish_scheduler("host:1:u", some, now=_NOW, lifetime=timedelta(seconds=20))
        assert read_keyspace(redis_client) == {
            keys.SCHEDULERS: {key.encode(): float(_NOW_S + 20)},
            key: [codec.encode_scheduler_entry(entry) for entry in some],
        }
    await broker.publish_scheduler("host:1:u", [], now=_NOW, lifetime=timedelta(seconds=20))
    assert read_keyspace(redis_client).keys() == {keys.SCHEDULERS}
    await broker.clear_scheduler("host:1:u")
    assert read_keyspace(redis_client) == {}


async def test_an_entrys_history_keeps_the_newest_1000_events(broker: RedisBroker, redis_client: redis.Redis) -> None:
    key = keys.scheduler_history("e1")
    events = [SchedulerEnqueueEvent(task_id=f"{n}", enqueued_at=_NOW + timedelta(seconds=n)) for n in range(1003)]
    redis_client.zadd(key, {codec.encode_enqueue_event(e): codec.unix_seconds(e.enqueued_at) for e in events[:999]})
    await broker.record_enqueue_events([("e1", event) for event in events[999:]])
    assert redis_client.zrange(key, 0, -1) == [codec.encode_enqueue_event(event) for event in events[3:]]
    assert 399 * 86400 < redis_client.ttl(key) <= 400 * 86400


async def test_a_history_of_another_type_costs_its_own_events_only(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    redis_client.set(keys.scheduler_history("e1"), "text")
    event = SchedulerEnqueueEvent(task_id="t", enqueued_at=_NOW)
    await broker.record_enqueue_events([("e1", event), ("e2", event)])
    assert read_keyspace(redis_client) == {
        keys.scheduler_history("e1"): b"text",
        keys.scheduler_history("e2"): {codec.encode_enqueue_event(event): float(_NOW_S)},
    }


async def test_many_abandoned_tasks_are_found_among_more(broker: RedisBroker, redis_client: redis.Redis) -> None:
    old = [(new_message(id=f"old{number}"), _NOW_S - 100 + number) for number in range(20)]
    live = [(new_message(id=f"live{number}"), _NOW_S + 1) for number in range(20)]
    before = queue_content(active=[*old, *live])
    seed_keyspace(redis_client, before)
    redis_client.zadd(keys.lease("default"), {"nobody's": 1})
    assert await broker.lease_expired("default", cutoff=_NOW) == [message for message, _ in old]
    assert read_keyspace(redis_client) == before
