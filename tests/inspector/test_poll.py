"""The operator's poll: one value of everything that writes nothing and survives bad neighbours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
import redis

from longshore import BrokerUnavailable, Inspector, QueueSnapshot
from longshore.protocol import codec, keys
from longshore.protocol.messages import ServerInfo, WorkerInfo
from longshore.protocol.periodic import (
    PeriodicEntry,
    PeriodicTaskTemplate,
    TickRecord,
    decode_entry,
    encode_entry,
    encode_lease,
    entry_id,
    scheduler_entry_id,
)
from longshore.protocol.snapshots import NO_ENTRIES, BrokerSnapshot, EntriesSnapshot, SchedulerLease
from longshore.testing import (
    RedisServer,
    new_message,
    queue_content,
    read_keyspace,
    read_lifetimes,
    seed_keyspace,
)

_NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
_NOW_S = codec.unix_seconds(_NOW)
_SCOPE = "shop/main"
_ENTRY = PeriodicEntry(schedule="@every 30s", since=_NOW, task=PeriodicTaskTemplate(type="report", queue="low"))


@pytest_asyncio.fixture
async def inspector(redis_url: str) -> AsyncIterator[Inspector]:
    async with Inspector(redis_url) as inspector:
        yield inspector


async def test_a_snapshot_holds_queues_servers_scheduler_entries_and_ticks(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    server = ServerInfo(
        host="pod-1",
        pid=7,
        server_id="s",
        concurrency=2,
        queues={"default": 1},
        strict_priority=True,
        status="active",
        started_at=_NOW,
        active_workers=1,
    )
    worker = WorkerInfo(
        host="pod-1",
        pid=7,
        server_id="s",
        task_id="a",
        task_type="t",
        payload=b"large",
        queue="default",
        started_at=_NOW,
        deadline=_NOW,
    )
    server_key = keys.server("pod-1", 7, "s")
    before = queue_content(pending=[new_message()], pending_since_ns=_NOW_S * 10**9) | {
        keys.SERVERS: {server_key.encode(): float(_NOW_S + 10)},
        server_key: codec.encode_server(server),
        keys.workers("pod-1", 7, "s"): {b"a": codec.encode_worker(worker)},
        keys.scheduler_lease(_SCOPE): encode_lease("host:1:u", _NOW),
        keys.periodic_entries(_SCOPE): {b"nightly": encode_entry(_ENTRY)},
        keys.periodic_errors(_SCOPE): {b"nightly": b"is a string"},
        keys.tick_record("low", entry_id(_SCOPE, "nightly")): {b"last_tick": b"1709294400", b"enqueued": b"3"},
    }
    seed_keyspace(redis_client, before)
    snapshot = await inspector.snapshot(
        ["default", "unheard-of"], scope=_SCOPE, ticks_of={"nightly": "low", "new": "low"}, now=_NOW
    )
    assert snapshot.queues == {
        "default": QueueSnapshot(name="default", pending=1, oldest_pending_at=_NOW),
        "unheard-of": QueueSnapshot(name="unheard-of"),
    }
    [seen] = snapshot.servers
    assert seen.info == server
    assert [(running.task_id, running.payload) for running in seen.workers] == [("a", b"")]
    assert snapshot.scheduler == SchedulerLease(holder="host:1:u", since=_NOW)
    assert {name: decode_entry(data) for name, data in snapshot.entries.items()} == {"nightly": _ENTRY}
    assert snapshot.ticks == {"nightly": TickRecord(last_tick=_NOW, enqueued=3)}
    assert snapshot.refused == {"nightly": "is a string"}
    assert snapshot.redis_version == redis_client.info("server")["redis_version"]
    assert snapshot.latency > timedelta(0)
    assert read_keyspace(redis_client) == before


async def test_without_a_scope_no_scheduler_is_read(inspector: Inspector, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, {keys.scheduler_lease(_SCOPE): encode_lease("h", _NOW)})
    snapshot = await inspector.snapshot([], now=_NOW)
    assert (snapshot.scheduler, dict(snapshot.entries), snapshot.ticks, snapshot.queues) == (None, {}, {}, {})


async def test_entries_are_sent_again_only_when_one_of_them_changed(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    async def read(known: EntriesSnapshot) -> EntriesSnapshot:
        before = BrokerSnapshot(redis_version="", latency=timedelta(), queues={}, entries=known)
        return (await inspector.snapshot([], scope=_SCOPE, known=before, now=_NOW)).entries

    key, large = keys.periodic_entries(_SCOPE), b"x" * 100_000
    assert await read(NO_ENTRIES) is NO_ENTRIES
    redis_client.hset(key, mapping={"a": large, "b": b"2"})
    first = await read(NO_ENTRIES)
    assert dict(first) == {"a": large, "b": b"2"}
    sent_before = redis_client.info("stats")["total_net_output_bytes"]
    assert await read(first) is first
    assert redis_client.info("stats")["total_net_output_bytes"] - sent_before < len(large)
    redis_client.hset(key, "b", b"3")  # by hand, of the same length
    second = await read(first)
    assert second != first
    assert second["b"] == b"3"
    redis_client.delete(key)
    assert dict(await read(second)) == {}
    assert await read(second) == NO_ENTRIES


async def test_what_cannot_be_read_does_not_hide_the_rest(inspector: Inspector, redis_client: redis.Redis) -> None:
    seed_keyspace(
        redis_client,
        queue_content("good", pending=[new_message(queue="good")])
        | {
            keys.pending("bad"): b"text",
            keys.scheduler_lease(_SCOPE): b"not JSON",
            keys.periodic_errors(_SCOPE): b"text",
            keys.tick_record("low", entry_id(_SCOPE, "a")): b"text",
            keys.tick_record("low", entry_id(_SCOPE, "b")): {b"missed": b"many"},
            keys.tick_record("low", entry_id(_SCOPE, "c")): {b"missed": b"2"},
            keys.tick_record("low", entry_id(_SCOPE, "d")): {b"last_tick": b"9" * 30},
            keys.SERVERS: {b"asynq:servers:{list}": float(_NOW_S)},
            "asynq:servers:{list}": [b"x"],
        },
    )
    old = new_message(id="old", queue="odd")
    seed_keyspace(redis_client, queue_content("odd", pending=[old], pending_since_ns=10**30))
    ticks_of = dict.fromkeys("abcd", "low")
    snapshot = await inspector.snapshot(["good", "bad", "odd"], scope=_SCOPE, ticks_of=ticks_of, now=_NOW)
    assert snapshot.queues["good"].pending == 1
    assert snapshot.queues["bad"].problem == "asynq:{bad}:pending: is a string, but Asynq keeps a list there"
    assert snapshot.queues["odd"].pending == 1
    assert snapshot.scheduler is None
    assert snapshot.servers == ()
    assert snapshot.ticks == {"c": TickRecord(missed=2)}


@pytest.mark.one_server  # it counts one server's commands
async def test_of_a_hundred_thousand_servers_a_bounded_part_is_read_and_that_is_told(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    names = [f"asynq:servers:{{\U0001f4a3\n{number}:1:x}}" for number in range(100_000)]
    for start in range(0, len(names), 10_000):
        part = names[start : start + 10_000]
        redis_client.zadd(keys.SERVERS, dict.fromkeys(part, _NOW_S + 30))
        redis_client.mset(dict.fromkeys(part, b"\xff\xfe junk"))
    before = redis_client.info("commandstats")
    snapshot = await inspector.snapshot(["good"], scope=_SCOPE, ticks_of={}, now=_NOW)
    after = redis_client.info("commandstats")
    assert after["cmdstat_get"]["calls"] - before.get("cmdstat_get", {}).get("calls", 0) <= 5_100
    assert (snapshot.servers, snapshot.servers_known) == ((), False)
    assert snapshot.problem == "asynq:servers names more than 5000 worker servers; the rest of them is not read"
    assert snapshot.queues["good"].pending == 0


async def test_tasks_ahead_of_their_time_are_counted_for_each_lookahead_and_only_where_asked(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    due_in = (-5, 0, 10, 30, 31, 300)
    for queue in ("near", "far", "plain"):
        tasks = [(new_message(queue=queue), _NOW_S + seconds) for seconds in due_in]
        seed_keyspace(redis_client, queue_content(queue, scheduled=tasks[::2], retry=tasks[1::2]))
    seconds = {"near": (30,), "far": (10, 3600)}
    lookaheads = {queue: [timedelta(seconds=each) for each in ahead] for queue, ahead in seconds.items()}
    snapshot = await inspector.snapshot(["near", "far", "plain"], lookaheads=lookaheads, now=_NOW)
    assert {queue.due for queue in snapshot.queues.values()} == {2}
    assert snapshot.queues["near"].due_within == {timedelta(seconds=30): 4}
    assert snapshot.queues["far"].due_within == {timedelta(seconds=10): 3, timedelta(hours=1): 6}
    assert snapshot.queues["plain"].due_within == {}


def test_what_was_not_read_ahead_is_known_as_far_as_a_shorter_look_tells() -> None:
    queue = QueueSnapshot(name="q", due=1, due_within={timedelta(seconds=10): 2, timedelta(seconds=30): 5})
    assert [queue.due_by(timedelta(seconds=each)) for each in (0, 9, 10, 29, 30, 600)] == [1, 1, 2, 2, 5, 5]


async def test_each_of_a_thousand_queues_costs_one_call(inspector: Inspector, redis_client: redis.Redis) -> None:
    queues = [f"q{number}" for number in range(1000)]
    await inspector.snapshot(queues, now=_NOW)  # the script is known from here on
    redis_client.config_resetstat()
    await inspector.snapshot(queues, now=_NOW)
    calls = {name: stats["calls"] for name, stats in redis_client.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == 1000
    assert calls.get("cmdstat_eval", 0) == 0


async def test_an_unreachable_redis_gives_no_snapshot() -> None:
    with RedisServer() as server:
        async with Inspector(server.url) as inspector:
            await inspector.snapshot(["default"])
            server.stop()
            with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1"):
                await inspector.snapshot(["default"])
            server.start()
            assert (await inspector.snapshot(["default"])).queues == {"default": QueueSnapshot(name="default")}


def _record(queue: str, name: str) -> str:
    return keys.tick_record(queue, entry_id(_SCOPE, name))


async def test_a_removed_entrys_history_goes_and_its_tick_record_fades(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    await inspector.write_periodic(_SCOPE, {"gone": _ENTRY, "kept": _ENTRY})
    histories = {name: keys.scheduler_history(scheduler_entry_id(entry_id(_SCOPE, name))) for name in ("gone", "kept")}
    records = {_record("low", name): {b"last_tick": b"1709294400"} for name in ("gone", "kept")}
    seed_keyspace(redis_client, records | {key: {b"event": 1.0} for key in histories.values()})
    for _ in range(2):
        await inspector.write_periodic(_SCOPE, {}, remove=["gone"])
        assert read_keyspace(redis_client) == records | {
            keys.periodic_entries(_SCOPE): {b"kept": encode_entry(_ENTRY)},
            histories["kept"]: {b"event": 1.0},
        }
        assert read_lifetimes(redis_client).keys() == {_record("low", "gone")}
    assert 6 * 86400 < redis_client.ttl(_record("low", "gone")) <= 7 * 86400


async def test_an_entry_that_comes_back_finds_its_tick_record_and_keeps_it(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    await inspector.write_periodic(_SCOPE, {"nightly": _ENTRY})
    seed_keyspace(redis_client, {_record("low", "nightly"): {b"last_tick": b"1709294400"}})
    await inspector.write_periodic(_SCOPE, {}, remove=["nightly"])
    await inspector.write_periodic(_SCOPE, {"nightly": _ENTRY})
    assert read_lifetimes(redis_client) == {}
    assert redis_client.hgetall(_record("low", "nightly")) == {b"last_tick": b"1709294400"}


async def test_the_tick_record_beside_a_queue_that_an_entry_has_left_fades(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    elsewhere = replace(_ENTRY, task=replace(_ENTRY.task, queue="high"))
    await inspector.write_periodic(_SCOPE, {"nightly": _ENTRY})
    seed_keyspace(redis_client, {_record(queue, "nightly"): {b"enqueued": b"1"} for queue in ("low", "high")})
    await inspector.write_periodic(_SCOPE, {"nightly": elsewhere})
    assert read_lifetimes(redis_client).keys() == {_record("low", "nightly")}
    await inspector.write_periodic(_SCOPE, {"nightly": _ENTRY})
    assert read_lifetimes(redis_client).keys() == {_record("high", "nightly")}


@pytest.mark.parametrize(("last_tick", "ahead_s"), [(b"1709294460", 60), (b"1709294340", 0), (b"odd", 0), (None, 0)])
async def test_an_entry_that_leaves_a_queue_begins_after_the_last_tick_it_had_there(
    inspector: Inspector, redis_client: redis.Redis, last_tick: bytes | None, ahead_s: int
) -> None:
    elsewhere = replace(_ENTRY, task=replace(_ENTRY.task, queue="high"))
    await inspector.write_periodic(_SCOPE, {"nightly": _ENTRY})
    if last_tick is not None:
        redis_client.hset(_record("low", "nightly"), "last_tick", last_tick)
    await inspector.write_periodic(_SCOPE, {"nightly": elsewhere})
    [written] = (await inspector.periodic_entries(_SCOPE)).values()
    assert decode_entry(written) == replace(elsewhere, since=_NOW + timedelta(seconds=ahead_s))


async def test_an_entry_that_cannot_be_read_is_replaced_and_removed_all_the_same(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, {keys.periodic_entries(_SCOPE): {b"a": b"{", b"b": b"{"}})
    await inspector.write_periodic(_SCOPE, {"a": _ENTRY}, remove=["b"])
    assert await inspector.periodic_entries(_SCOPE) == {"a": encode_entry(_ENTRY)}


async def test_periodic_entries_are_written_removed_and_left_alone(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    redis_client.hset(keys.periodic_entries(_SCOPE), "other", "kept")
    for _ in range(2):
        await inspector.write_periodic(_SCOPE, {"nightly": _ENTRY, "gone": _ENTRY})
        await inspector.write_periodic(_SCOPE, {}, remove=["gone", "never-there"])
    await inspector.write_periodic(_SCOPE, {})
    assert await inspector.periodic_entries(_SCOPE) == {"other": b"kept", "nightly": encode_entry(_ENTRY)}
    assert await inspector.periodic_entries("other/scope") == {}
