"""Redis answers, and refuses: it is full, it is a replica now, it still loads its files.

What was refused is told to the caller, or tried again until it is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import redis

from faults.conftest import Conclude
from faults.journal import Journal
from faults.load import Load, Promise, progress, settled
from faults.work import TIMEOUT, server
from longshore import BrokerUnavailable, Client, RedisSettings
from longshore.testing import RedisServer


@asynccontextmanager
async def under_load(redis_server: RedisServer, random: Random, journal: Journal) -> AsyncIterator[Load]:
    """Two servers and four producers; at the end everything has been run."""
    settings = RedisSettings(url=redis_server.url, timeout=TIMEOUT)
    async with (
        Client(settings, retry_for=0.2) as client,
        server(redis_server.url, journal),
        server(redis_server.url, journal),
    ):
        load = Load(client, random)
        producers = [asyncio.create_task(load.produce(name)) for name in "abcd"]
        await progress(load, journal)
        yield load
        await progress(load, journal)
        load.stop()
        await asyncio.gather(*producers)
        await settled(redis_server.port)


async def refused(load: Load, times: int = 10) -> None:
    """Wait until so many more calls were refused."""
    wanted = load.refused + times
    async with asyncio.timeout(30):
        while load.refused < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_redis_that_is_full_refuses_and_loses_nothing(
    own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    with redis.Redis(port=own_redis.port) as plain:
        async with under_load(own_redis, random, journal) as load:
            for _ in range(3):
                plain.config_set("maxmemory", 1)
                await refused(load)
                async with Client(own_redis.url, retry_for=0) as client:
                    with pytest.raises(BrokerUnavailable, match="maxmemory"):
                        await client.enqueue("work", 0)
                plain.config_set("maxmemory", 0)
                await progress(load, journal, 20)
    conclude(own_redis.port, load)


async def test_a_redis_that_is_full_takes_the_ends_of_attempts_and_keeps_leases(
    own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    """What waits is run, which makes room, and what runs for longer than a lease is not taken for lost."""
    async with Client(own_redis.url) as client:
        load = Load(client, random)
        for task_id in "abc":
            await load.enqueue_as(Promise(id=task_id, queue="default"), "work", 0, retention=3600)
    with redis.Redis(port=own_redis.port) as plain:
        plain.config_set("maxmemory", 1)
        async with server(own_redis.url, journal, busy_s=6):
            await settled(own_redis.port)
        plain.config_set("maxmemory", 0)
    story = conclude(own_redis.port, load)
    assert (story.actions["task_recovered"], story.actions["lease_lost"]) == (0, 0)


async def test_a_master_that_becomes_a_replica_for_a_while_refuses_and_loses_nothing(
    own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    """As after a failover, when clients are still connected to the old master. It follows nobody, so it keeps all."""
    with redis.Redis(port=own_redis.port) as plain:
        async with under_load(own_redis, random, journal) as load:
            for _ in range(3):
                plain.execute_command("REPLICAOF", "127.0.0.1", "1")
                await refused(load)
                async with Client(own_redis.url, retry_for=0) as client:
                    with pytest.raises(BrokerUnavailable, match="read only replica"):
                        await client.enqueue("work", 0)
                plain.execute_command("REPLICAOF", "NO", "ONE")
                await progress(load, journal, 20)
    conclude(own_redis.port, load)


async def test_a_redis_that_still_loads_its_files_is_waited_for(
    random: Random, journal: Journal, conclude: Conclude
) -> None:
    # Each record takes so long to load (µs) that clients see it load.
    slowly = ("--key-load-delay", "400", "--loading-process-events-interval-bytes", "1024")
    with RedisServer("--appendonly", "yes", "--appendfsync", "always", *slowly) as own_redis:
        async with under_load(own_redis, random, journal) as load:
            await progress(load, journal, 200)
            own_redis.stop()
            await asyncio.to_thread(own_redis.start)  # which answers, with an error
            async with Client(own_redis.url, retry_for=0) as client:
                with pytest.raises(BrokerUnavailable, match="loading the dataset"):
                    await client.enqueue("work", 0)
        conclude(own_redis.port, load)
