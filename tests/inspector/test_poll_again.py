"""A poll that knows the one before it: it reads the same as one that knows nothing, in one round trip."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
import redis

from longshore import Inspector
from longshore.broker.connection import Command
from longshore.broker.scripts import QUEUE_SNAPSHOT, QUEUE_SNAPSHOTS
from longshore.protocol import codec, keys
from longshore.protocol.messages import ServerInfo, WorkerInfo
from longshore.protocol.periodic import entry_id
from longshore.protocol.snapshots import BrokerSnapshot, PollMemory, ServerSnapshot
from longshore.testing import RedisServer, new_message, queue_content, seed_keyspace

_NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
_NOW_S = codec.unix_seconds(_NOW)
_SCOPE = "shop/main"
_QUEUES = [f"q{number}" for number in range(120)]
_TICKS_OF = {f"t{number}": f"q{number}" for number in range(120)}
_SERVER = ServerInfo(
    host="pod-1",
    pid=7,
    server_id="s",
    concurrency=2,
    queues={"q1": 1},
    strict_priority=True,
    status="active",
    started_at=_NOW,
    active_workers=0,
)
_SERVER_KEY = keys.server("pod-1", 7, "s")
_LIVE = {
    keys.SERVERS: {_SERVER_KEY.encode(): float(_NOW_S + 10)},
    _SERVER_KEY: codec.encode_server(_SERVER),
}


def _record(number: int) -> str:
    return keys.tick_record(f"q{number}", entry_id(_SCOPE, f"t{number}"))


class Eyes:
    """Polls one time after the other, and counts the round trips."""

    def __init__(self, inspector: Inspector) -> None:
        self.inspector = inspector
        self.last: BrokerSnapshot | None = None
        self.sent: list[Sequence[Command]] = []
        self.lookaheads: dict[str, Sequence[timedelta]] = {"q1": (timedelta(seconds=30),)}
        self._try_run = inspector._redis.try_run
        inspector._redis.try_run = self._count  # type: ignore[method-assign]

    async def _count(self, commands: Sequence[Command]) -> list[Any]:
        self.sent.append(commands)
        return await self._try_run(commands)

    async def look(
        self, queues: Sequence[str] = _QUEUES, now: datetime = _NOW, known: BrokerSnapshot | None = None
    ) -> BrokerSnapshot:
        """A poll; it knows the one before it unless told of another."""
        self.sent.clear()
        self.last = await self.inspector.snapshot(
            queues,
            scope=_SCOPE,
            ticks_of={name: queue for name, queue in _TICKS_OF.items() if queue in queues},
            lookaheads=self.lookaheads,
            known=known or self.last,
            now=now,
        )
        return self.last

    async def fresh(self, queues: Sequence[str] = _QUEUES, now: datetime = _NOW) -> BrokerSnapshot:
        """What a poll that knows nothing sees."""
        known, self.last = self.last, None
        seen = await self.look(queues, now)
        self.last = known
        return seen


@pytest_asyncio.fixture
async def eyes(redis_url: str) -> AsyncIterator[Eyes]:
    async with Inspector(redis_url) as inspector:
        yield Eyes(inspector)


def _content(snapshot: BrokerSnapshot) -> tuple[object, ...]:
    parts = (snapshot.queues, snapshot.servers, snapshot.scheduler, dict(snapshot.entries), snapshot.ticks)
    return (*parts, snapshot.redis_version)


async def test_it_sees_what_one_that_knows_nothing_sees(eyes: Eyes, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, _LIVE)
    await eyes.look()

    async def seen(queues: Sequence[str] = _QUEUES, now: datetime = _NOW) -> BrokerSnapshot:
        snapshot = await eyes.look(queues, now)
        assert _content(snapshot) == _content(await eyes.fresh(queues, now))
        assert _content(await eyes.look(queues, now)) == _content(snapshot)
        return snapshot

    await seen()
    waiting = queue_content("q3", pending=[new_message(queue="q3")], pending_since_ns=_NOW_S * 10**9)
    later = [(new_message(queue="q1"), _NOW_S + 20)]
    seed_keyspace(
        redis_client,
        waiting | queue_content("q1", scheduled=later) | {_record(4): {b"last_tick": b"1709294400", b"enqueued": b"3"}},
    )
    snapshot = await seen()
    assert (snapshot.queues["q3"].pending, snapshot.queues["q1"].due_within) == (1, {timedelta(seconds=30): 1})
    assert snapshot.ticks["t4"].enqueued == 3
    redis_client.set(keys.paused("q3"), b"not a time, \xff")
    redis_client.hset(_record(4), "enqueued", 4)
    redis_client.set(_record(5), "text")
    redis_client.set(keys.retry("q60"), "text")
    snapshot = await seen()
    assert snapshot.queues["q60"].problem == "asynq:{q60}:retry: is a string, but Asynq keeps a zset there"
    assert snapshot.queues["q3"].paused
    redis_client.delete(keys.retry("q60"), _record(5))
    redis_client.delete(*waiting)
    assert (await seen()).queues["q60"].problem is None
    assert (await seen(now=_NOW + timedelta(seconds=25))).queues["q1"].due == 1
    assert (await seen(_QUEUES[:70])).queues.keys() == set(_QUEUES[:70])
    eyes.lookaheads = {"q1": (timedelta(seconds=10), timedelta(seconds=40))}
    assert (await seen(["new{er}\n", *_QUEUES])).queues["q1"].due_within == {
        timedelta(seconds=10): 0,
        timedelta(seconds=40): 1,
    }


@pytest.mark.one_server  # a cluster is read queue by queue
async def test_servers_that_come_go_and_take_up_tasks_are_seen(eyes: Eyes, redis_client: redis.Redis) -> None:
    await eyes.look()
    seed_keyspace(redis_client, _LIVE)
    assert (await eyes.look()).servers == (ServerSnapshot(info=_SERVER),)
    assert len(eyes.sent) == 2  # who is new is asked once more
    worker = WorkerInfo(
        host="pod-1",
        pid=7,
        server_id="s",
        task_id="a",
        task_type="t",
        payload=b"",
        queue="q1",
        started_at=_NOW,
        deadline=_NOW,
    )
    seed_keyspace(redis_client, {keys.workers("pod-1", 7, "s"): {b"a": codec.encode_worker(worker)}})
    assert (await eyes.look()).servers == (ServerSnapshot(info=_SERVER, workers=(worker,)),)
    assert len(eyes.sent) == 1
    busy = replace(_SERVER, status="stopped")
    redis_client.set(_SERVER_KEY, codec.encode_server(busy))
    assert (await eyes.look()).servers[0].info == busy
    redis_client.delete(_SERVER_KEY)
    assert (await eyes.look()).servers == ()
    redis_client.zrem(keys.SERVERS, _SERVER_KEY)
    assert (await eyes.look()).memory.servers == {}


@pytest.mark.one_server  # a cluster is read queue by queue
async def test_what_has_not_changed_costs_one_round_trip_and_is_the_same_object(
    eyes: Eyes, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, _LIVE | {_record(4): {b"last_tick": b"1709294400", b"enqueued": b"3"}})
    first = await eyes.look()
    second = await eyes.look()
    redis_client.config_resetstat()
    third = await eyes.look()
    assert len(eyes.sent) == 1
    assert _content(first) == _content(second) == _content(third)
    assert third.servers is second.servers
    if third.memory.together:  # a cluster's queues are asked one by one
        assert third.queues is second.queues
        assert third.ticks is second.ticks
        # of the calls in the one round trip, those for queues and records: 50 at a time
        calls = {name: stats["calls"] for name, stats in redis_client.info("commandstats").items()}
        assert calls["cmdstat_evalsha"] == 1 + 2 * 3


async def test_a_redis_that_takes_no_scripts_over_several_queues_is_read_one_by_one() -> None:
    with RedisServer("--cluster-enabled", "yes") as server:
        with redis.Redis(port=server.port) as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while admin.cluster("info")["cluster_state"] != "ok":
                pass
            seed_keyspace(admin, queue_content("q3", pending=[new_message(queue="q3")]))
        async with Inspector(server.url) as inspector:
            eyes = Eyes(inspector)
            one_server = BrokerSnapshot(
                redis_version="", latency=timedelta(), queues={}, memory=PollMemory(together=True)
            )
            snapshot = await eyes.look(known=one_server)
            assert snapshot.queues["q3"].pending == 1
            assert [_called(commands) for commands in eyes.sent] == [{QUEUE_SNAPSHOTS.name}, {QUEUE_SNAPSHOT.name}]
            assert _content(await eyes.look()) == _content(snapshot)
            assert [_called(commands) for commands in eyes.sent] == [{QUEUE_SNAPSHOT.name}]


def _called(commands: Sequence[Command]) -> set[str]:
    scripts = {each[0].name for each in commands if not isinstance(each[0], (str, bytes, int))}
    return scripts & {QUEUE_SNAPSHOT.name, QUEUE_SNAPSHOTS.name}
