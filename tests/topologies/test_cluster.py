"""Cluster: slots are followed when a master dies or hands over, and when a slot moves, under load and while idle.

That every operation keeps to one slot is shown by the tests of the operations themselves: `pytest --redis cluster`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis
from redis.crc import key_slot

from longshore import BrokerUnavailable, Client, Inspector, RedisSettings
from longshore.broker.base import EnqueueResult, NewTask
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol import keys
from longshore.testing import RedisCluster, RedisServer, new_message
from runtime.harness import until
from topologies.load import TIMEOUT, load_on

_NOW = datetime.now(UTC)
_LEASE = timedelta(seconds=30)
_QUEUES = ("a", "b", "c", "d")  # on all three masters


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisCluster]:
    """A cluster that is left as it was found, but for its keys."""
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: RedisCluster) -> RedisCluster:
    shared.flush()
    return shared


@pytest.fixture
def replicated() -> Iterator[RedisCluster]:
    """A cluster of one's own, whose masters may die."""
    with RedisCluster(replicas=1) as cluster:
        yield cluster


def test_the_queues_of_these_tests_lie_on_all_masters(cluster: RedisCluster) -> None:
    assert {cluster.owner(keys.pending(queue)).port for queue in _QUEUES} == {each.port for each in cluster.masters}


async def test_commands_of_one_call_go_to_their_nodes_and_the_answers_keep_their_order(cluster: RedisCluster) -> None:
    broker = RedisBroker.connect(RedisSettings(url=cluster.url))
    tasks = [NewTask(message=new_message(id=str(n // 2), queue=_QUEUES[n // 2 % 4])) for n in range(200)]
    assert await broker.enqueue(tasks, now=_NOW) == [EnqueueResult.CREATED, EnqueueResult.ID_CONFLICT] * 100
    await broker.aclose()


async def test_any_node_of_the_url_that_lives_is_enough(cluster: RedisCluster) -> None:
    live = cluster.masters[1]
    async with Client(RedisSettings(url=f"redis-cluster://127.0.0.1:1,127.0.0.1:{live.port}")) as client:
        await asyncio.gather(*(client.enqueue("work", queue=queue) for queue in _QUEUES))
    async with Inspector(RedisSettings(url="redis-cluster://127.0.0.1:1", timeout=TIMEOUT)) as inspector:
        with pytest.raises(BrokerUnavailable, match=r"no node of the cluster tells its slots: .*refused"):
            await inspector.queues()


async def test_a_plain_url_of_a_node_is_told_what_to_write(cluster: RedisCluster) -> None:
    stranger = next(each for each in cluster.masters if each is not cluster.owner(keys.pending("a")))
    async with Client(RedisSettings(url=stranger.url), retry_for=0) as client:
        with pytest.raises(BrokerUnavailable, match="write redis-cluster://"):
            await client.enqueue("work", queue="a")


async def test_a_cancellation_counts_the_servers_that_hear_it_on_whatever_node(cluster: RedisCluster) -> None:
    async with load_on(cluster.url, queues=_QUEUES) as load, Inspector(cluster.url) as inspector:
        await load.progress()
        async with asyncio.timeout(20):
            while await inspector.cancel("no-such-task") != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_killed_masters_replica_takes_over_under_load(
    replicated: RedisCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    async with load_on(replicated.url, queues=_QUEUES) as load:
        await load.progress()
        killed_at = time.monotonic()
        replicated.owner(keys.pending("a")).stop()
        await load.progress(100)
        await load.finish()
    with capsys.disabled():
        print(
            f"\ncluster failover: {len(load.acknowledged)} tasks acknowledged, {load.refused} calls failed and were "
            f"repeated, {len(load.lost)} lost by replication, {load.repeated} run again"
        )
    # in the last moments before its death, or in those after which the process noticed it
    assert all(killed_at - 1 < when < killed_at + 1 for when in load.lost.values())


async def test_a_master_that_hands_over_to_its_replica_loses_nothing_under_load(replicated: RedisCluster) -> None:
    old = replicated.owner(keys.pending("a"))
    index = replicated.masters.index(old)
    async with load_on(replicated.url, queues=_QUEUES) as load:
        await load.progress()
        replicated.ask(replicated.replicas[index], "CLUSTER", "FAILOVER")
        await asyncio.to_thread(_wait_for_another_owner, replicated, keys.pending("a"), old)
        await load.progress(100)
        await load.finish()
    assert load.lost == {}


@pytest.mark.parametrize("queue", ["a"])
async def test_a_slot_that_moves_under_load_loses_and_repeats_nothing(
    cluster: RedisCluster, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    slot = key_slot(queue.encode())
    source = cluster.owner(keys.pending(queue))
    target = next(each for each in cluster.masters if each is not source)
    async with load_on(cluster.url, queues=[queue, "b"]) as load:
        await load.progress()
        for to in (target, source):  # there and back
            await asyncio.to_thread(cluster.begin_migration, slot, to)
            for _ in range(5):  # its keys lie on both nodes for a while
                await asyncio.to_thread(cluster.move_keys, slot, to, count=20)
                await asyncio.sleep(0.05)
            while await asyncio.to_thread(cluster.move_keys, slot, to):
                pass
            await asyncio.to_thread(cluster.end_migration, slot, to)
            await load.progress(100)
        await load.finish()
    with capsys.disabled():
        print(f"\na slot moved twice: {len(load.acknowledged)} tasks acknowledged, {load.refused} calls failed")
    assert load.lost == {}
    assert load.repeated == 0
    async with Inspector(cluster.url) as inspector:
        completed = (await inspector.queue(queue)).completed + (await inspector.queue("b")).completed
    assert completed == len(load.runs)
    hashes = sum(len(cluster.ask(server, "KEYS", "asynq:*:t:*")) for server in cluster.masters)
    assert hashes == completed  # no script ended half-way and left one behind


async def test_a_script_waits_for_its_slot_to_arrive_and_does_nothing_half(cluster: RedisCluster) -> None:
    broker = RedisBroker.connect(RedisSettings(url=cluster.url, timeout=timedelta(seconds=10)))
    messages = [new_message(id=f"t{n}", queue="a") for n in range(3)]
    await broker.enqueue([NewTask(message=message) for message in messages], now=_NOW)
    slot, source = key_slot(b"a"), cluster.owner(keys.pending("a"))
    target = next(each for each in cluster.masters if each is not source)
    cluster.begin_migration(slot, target)
    cluster.ask(source, "MIGRATE", target.host, target.port, keys.task("a", "t1"), 0, 5000)
    taking = asyncio.create_task(broker.dequeue("a", limit=3, now=_NOW, lease=_LEASE))
    await asyncio.sleep(0.3)
    assert not taking.done()
    assert cluster.ask(source, "LLEN", keys.pending("a")) == 3  # nothing was taken yet
    cluster.move_keys(slot, target)
    cluster.end_migration(slot, target)
    taken = await asyncio.wait_for(taking, 20)
    assert [leased.message for leased in taken.leased] == messages
    await broker.aclose()
    _move_back(cluster, slot, source)


async def test_a_slot_that_stays_open_is_told_of(cluster: RedisCluster) -> None:
    broker = RedisBroker.connect(RedisSettings(url=cluster.url, timeout=TIMEOUT))
    slot, source = key_slot(b"a"), cluster.owner(keys.pending("a"))
    target = next(each for each in cluster.masters if each is not source)
    cluster.begin_migration(slot, target)
    with pytest.raises(BrokerUnavailable, match=r"of slot|is being moved to"):
        await broker.enqueue([NewTask(message=new_message(queue="a"))], now=_NOW)
    await broker.enqueue([NewTask(message=new_message(queue="b"))], now=_NOW)
    cluster.end_migration(slot, source)
    cluster.ask(target, "CLUSTER", "SETSLOT", slot, "STABLE")
    await broker.enqueue([NewTask(message=new_message(queue="a"))], now=_NOW)
    await broker.aclose()


async def test_what_waits_on_a_slot_that_leaves_finds_it_again(cluster: RedisCluster) -> None:
    broker = RedisBroker.connect(RedisSettings(url=cluster.url, timeout=timedelta(seconds=10)))
    slot, source = key_slot(b"a"), cluster.owner(keys.pending("a"))
    target = next(each for each in cluster.masters if each is not source)
    waiting = asyncio.create_task(broker.wait_for_task("a", timeout=timedelta(seconds=60)))
    with redis.Redis(port=source.port) as client:
        async with asyncio.timeout(20):
            while client.info("clients")["blocked_clients"] < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    cluster.begin_migration(slot, target)
    cluster.end_migration(slot, target)
    await broker.enqueue([NewTask(message=new_message(queue="a"))], now=_NOW)
    assert await asyncio.wait_for(waiting, 20)
    await broker.aclose()
    _move_back(cluster, slot, source)


async def test_with_one_master_gone_and_none_to_replace_it_it_is_named() -> None:
    with RedisCluster() as cluster:
        async with Inspector(RedisSettings(url=cluster.url, timeout=TIMEOUT)) as inspector:
            await inspector.ping()
            gone = cluster.masters[2]
            gone.stop()
            with pytest.raises(BrokerUnavailable, match=rf"{gone.port}|cluster is down"):
                await inspector.ping()


async def test_what_lies_on_other_masters_is_read_while_one_is_gone_or_silent() -> None:
    with RedisCluster("--cluster-require-full-coverage", "no") as cluster:
        async with Client(cluster.url) as client:
            await asyncio.gather(*(client.enqueue("work", queue=queue) for queue in _QUEUES))
        settings = RedisSettings(url=cluster.url, timeout=timedelta(seconds=2))
        for gone in (cluster.owner(keys.pending("a")), cluster.owner(keys.SERVERS)):
            cut = {queue for queue in _QUEUES if cluster.owner(keys.pending(queue)) is gone}
            scope = next(name for name in map(str, range(99)) if cluster.owner(keys.periodic_entries(name)) is gone)
            servers_known = cluster.owner(keys.SERVERS) is not gone
            async with Inspector(settings) as inspector:
                whole = await inspector.snapshot(_QUEUES, scope=scope)
                assert (whole.problem, whole.servers_known, whole.schedule_known) == (None, True, True)
                gone.freeze()
                for _ in range(2):
                    part = await inspector.snapshot(_QUEUES, scope=scope)
                    assert {name: queue.unreachable for name, queue in part.queues.items()} == {
                        queue: queue in cut for queue in _QUEUES
                    }
                    assert {name: queue.pending for name, queue in part.queues.items() if not queue.problem} == {
                        queue: 1 for queue in _QUEUES if queue not in cut
                    }
                    assert f":{gone.port}" in str(part.problem)
                    assert part.servers_known == servers_known
                    assert not part.schedule_known
                gone.thaw()
                async with asyncio.timeout(20):
                    while (await inspector.snapshot(_QUEUES, scope=scope)).problem is not None:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
        gone = cluster.owner(keys.pending("a"))
        schedule = (keys.scheduler_lease, keys.periodic_entries, keys.periodic_errors)
        scopes = {
            lost: next(
                scope
                for scope in map(str, range(999))
                if [name for name in schedule if cluster.owner(name(scope)) is gone] == [lost]
            )
            for lost in schedule
        }
        async with Inspector(settings) as inspector:
            whole = replace(await inspector.snapshot((), scope="0"), refused={"nightly": "no such zone"})
            gone.stop()
            for lost, scope in scopes.items():
                part = await inspector.snapshot((), scope=scope, known=whole)
                # why entries are refused alone keeps nobody from scheduling
                assert part.schedule_known == (lost is keys.periodic_errors)
                assert part.refused == (whole.refused if lost is keys.periodic_errors else {})
            part = await inspector.snapshot(_QUEUES, scope=None)
            assert part.queues["a"].unreachable
            assert any(queue.pending for queue in part.queues.values())
            for server in cluster.masters:
                server.stop()
            with pytest.raises(BrokerUnavailable):
                await inspector.snapshot(_QUEUES, scope=None)


async def test_a_cluster_has_no_databases() -> None:
    for part in ("/1", "?db=1"):
        with pytest.raises(ValueError, match="a cluster has no databases"):
            Client(f"redis-cluster://h1:6379,h2:6379{part}")
    await Client("redis-cluster://h1:6379,h2:6379/0").aclose()


async def test_a_queue_that_a_cluster_cannot_hold_says_so_and_hides_no_other(cluster: RedisCluster) -> None:
    """Its name begins with "}", or is empty: the keys have no hash tag then, and scatter."""
    broker = RedisBroker.connect(RedisSettings(url=cluster.url))
    async with Inspector(broker=broker) as inspector:
        await broker.enqueue([NewTask(message=new_message(queue="a"))], now=_NOW)
        [refused] = await broker.enqueue([NewTask(message=new_message(queue="}b"))], now=_NOW)
        assert "in a cluster no queue can have this name" in str(refused)
        good, bad = await inspector.queues()
        assert (good.name, good.pending, good.problem) == ("a", 1, None)
        assert (bad.name, bad.pending) == ("}b", 0)
        assert "in a cluster no queue can have this name" in (bad.problem or "")
    await broker.aclose()


async def test_a_delayed_task_is_forwarded_and_run(cluster: RedisCluster) -> None:
    async with load_on(cluster.url, queues=_QUEUES) as load, Client(cluster.url) as client:
        tasks = [await client.enqueue("work", queue=queue, process_in=1) for queue in _QUEUES]
        await until(lambda: all(load.runs[task.message.id] for task in tasks))


def _move_back(cluster: RedisCluster, slot: int, to: RedisServer) -> None:
    cluster.begin_migration(slot, to)
    while cluster.move_keys(slot, to):
        pass
    cluster.end_migration(slot, to)


def _wait_for_another_owner(cluster: RedisCluster, key: str, old: RedisServer) -> None:
    give_up_at = time.monotonic() + 20
    while cluster.owner(key) is old:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
