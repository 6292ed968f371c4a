"""A server that refuses: its own words are told, and a server that has changed its role is left at once."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis

from longshore import App, BrokerUnavailable, Client, RedisSettings
from longshore.broker.base import NewTask
from longshore.broker.redis_broker import RedisBroker
from longshore.broker.refusals import words
from longshore.testing import RedisServer, new_message
from runtime.harness import QUICK, serving, until

_NOW = datetime.now(UTC)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port) as client:
        yield client


def _connect(server: RedisServer) -> RedisBroker:
    return RedisBroker.connect(RedisSettings(url=server.url, timeout=timedelta(seconds=2)))


async def _enqueue(broker: RedisBroker) -> None:
    await broker.enqueue([NewTask(message=new_message())], now=_NOW)


def _full(server: RedisServer, admin: redis.Redis) -> None:
    admin.config_set("maxmemory", "1")


def _without_replicas(server: RedisServer, admin: redis.Redis) -> None:
    admin.config_set("min-replicas-to-write", "1")


def _replica(server: RedisServer, admin: redis.Redis) -> None:
    admin.replicaof("127.0.0.1", 1)  # of a master that is not there


def _replica_without_data(server: RedisServer, admin: redis.Redis) -> None:
    admin.config_set("replica-serve-stale-data", "no")
    admin.replicaof("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(_full, "maxmemory", id="OOM"),
        pytest.param(_without_replicas, "[Nn]ot enough good replicas", id="NOREPLICAS"),
        pytest.param(_replica, "read only replica", id="READONLY"),
    ],
)
async def test_a_refusal_is_told_in_redis_own_words(
    spoil: object, words: str, server: RedisServer, admin: redis.Redis
) -> None:
    broker = _connect(server)
    await _enqueue(broker)
    spoil(server, admin)  # type: ignore[operator]
    with pytest.raises(BrokerUnavailable, match=rf"Redis at 127\.0\.0\.1:{server.port}: .*{words}"):
        await _enqueue(broker)
    await broker.aclose()


@pytest.mark.parametrize("without", [("AUTH",), ("AUTH", "HELLO")], ids=" and ".join)
async def test_a_server_without_passwords_is_told_of_without_the_password(without: tuple[str, ...]) -> None:
    renamed = [word for command in without for word in ("--rename-command", command, "")]
    with RedisServer(*renamed) as server:
        broker = RedisBroker.connect(RedisSettings(url=server.url, username="me", password="s3cret-pass"))
        with pytest.raises(BrokerUnavailable, match="unknown command 'AUTH'") as raised:
            await _enqueue(broker)
        await broker.aclose()
    assert "s3cret-pass" not in "".join(traceback.format_exception(raised.value))


def test_what_redis_says_is_cut_to_one_readable_line() -> None:
    assert words(redis.ResponseError("long\x07\n" * 1000)) == ("long??" * 100)[:499] + "…"


async def test_a_replica_without_its_master_says_so_of_reads(server: RedisServer, admin: redis.Redis) -> None:
    broker = _connect(server)
    _replica_without_data(server, admin)
    with pytest.raises(BrokerUnavailable, match=r"[Ll]ink with MASTER is down"):
        await broker.look_for_active(["default"])
    await broker.aclose()


async def test_a_redis_that_still_loads_is_told_of_and_used_when_it_has_loaded() -> None:
    slowly = ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")  # µs
    with RedisServer(*slowly) as server:
        with redis.Redis(port=server.port) as admin:
            for number in range(300):
                admin.set(f"k{number}", random.randbytes(100))
            admin.save()
        server.stop()
        server.start()
        broker = _connect(server)
        with pytest.raises(BrokerUnavailable, match="loading the dataset"):
            await _enqueue(broker)
        async with asyncio.timeout(20):
            while True:
                try:
                    await _enqueue(broker)
                    break
                except BrokerUnavailable:
                    await asyncio.sleep(0.05)
        await broker.aclose()


async def test_a_server_that_became_a_replica_is_not_asked_on_the_same_connection(
    server: RedisServer, admin: redis.Redis
) -> None:
    """Its name may lead to the new master by now."""
    broker = _connect(server)
    await asyncio.gather(*(_enqueue(broker) for _ in range(5)))
    connected = {client["id"] for client in admin.client_list() if client["cmd"] != "client|list"}
    _replica(server, admin)
    with pytest.raises(BrokerUnavailable, match="read only"):
        await _enqueue(broker)
    admin.replicaof("NO", "ONE")
    await _enqueue(broker)
    assert not connected & {client["id"] for client in admin.client_list() if client["cmd"] != "client|list"}
    await broker.aclose()


@pytest.mark.parametrize("spoil", [_full, _replica, _replica_without_data], ids=["OOM", "READONLY", "MASTERDOWN"])
async def test_a_worker_whose_redis_refuses_does_not_spin_and_goes_on_afterwards(
    spoil: object, server: RedisServer, admin: redis.Redis
) -> None:
    app = App()
    ran = asyncio.Event()

    @app.task("work")
    async def work() -> None:
        ran.set()

    async with serving(app, server.url, timing=QUICK):
        await until(lambda: admin.info("clients")["blocked_clients"] == 1, "parking")
        spoil(server, admin)  # type: ignore[operator]
        await asyncio.sleep(0.5)
        before = admin.info("stats")["total_commands_processed"]
        await asyncio.sleep(2)
        asked = admin.info("stats")["total_commands_processed"] - before
        admin.config_set("maxmemory", "0")
        admin.replicaof("NO", "ONE")
        async with Client(server.url) as client:
            await client.enqueue("work")
        await asyncio.wait_for(ran.wait(), 20)
    assert asked < 1500  # a loop without pauses asks tens of thousands of times
