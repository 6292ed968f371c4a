"""Everything at once, for as long as LONGSHORE_SOAK says (seconds): whatever the other fault tests do, and more."""

from __future__ import annotations

import asyncio
import os
import time
from random import Random

import pytest
import redis

from faults.conftest import Conclude
from faults.invariants import memberships
from faults.journal import Journal
from faults.load import Load, progress, settled
from faults.proxy import WELL, Fault, FaultyProxy, faulty_proxy_of
from faults.work import TIMEOUT
from faults.workers import Workers, workers
from longshore import Client, RedisSettings
from longshore.testing import RedisServer

_LASTS_S = float(os.environ.get("LONGSHORE_SOAK") or 0)
_RECOVERY_S = 180.0


@pytest.mark.skipif(not _LASTS_S, reason="LONGSHORE_SOAK is not set: seconds for which it is to go on")
@pytest.mark.timeout(_LASTS_S + 2 * _RECOVERY_S)
async def test_whatever_happens_for_however_long_nothing_is_lost_or_doubled(
    own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    problems: list[str] = []
    faults = 0
    async with faulty_proxy_of(own_redis.port, random) as proxy:
        settings = RedisSettings(url=proxy.url, timeout=TIMEOUT)
        with workers(proxy.url, journal, count=3) as processes:
            async with Client(settings) as client:
                load = Load(client, random, pause_s=0.02)
                producers = [asyncio.create_task(load.produce(name)) for name in "abcd"]
                ends_at = time.monotonic() + _LASTS_S
                while time.monotonic() < ends_at:
                    for _ in range(random.randint(1, 2)):
                        await _something_happens(random, own_redis, proxy, processes)
                        faults += 1
                    await asyncio.sleep(random.uniform(0, 3))
                    proxy.fault = WELL
                    with redis.Redis(port=own_redis.port) as plain:
                        plain.config_set("maxmemory", 0)
                        plain.execute_command("REPLICAOF", "NO", "ONE")
                        problems += memberships(plain)
                await progress(load, journal, patience_s=_RECOVERY_S)
                load.stop()
                await asyncio.gather(*producers)
            await settled(own_redis.port, patience_s=_RECOVERY_S)
            with redis.Redis(port=own_redis.port) as plain:
                processes.wait_serving(plain)
            assert processes.stop() == [0, 0, 0]
    assert problems == []
    conclude(own_redis.port, load, killed=processes.killed, faults=faults, cuts=proxy.cuts)


async def _something_happens(random: Random, own_redis: RedisServer, proxy: FaultyProxy, processes: Workers) -> None:
    chance = random.random()
    if chance < 0.25:
        processes.kill_one(random)
        processes.start()
    elif chance < 0.4:
        own_redis.stop()
        await asyncio.sleep(random.uniform(0, 2))
        await asyncio.to_thread(own_redis.start)
    elif chance < 0.6:
        proxy.fault = Fault(cut_after=random.choice((300, 3000, 30000)))
    elif chance < 0.7:
        proxy.fault = Fault(silent=True)
    elif chance < 0.8:
        proxy.fault = Fault(
            delay_s=(0.0, 1.5), trickle=random.choice((None, 100)), cut_after=random.choice((None, 9000))
        )
    else:
        with redis.Redis(port=own_redis.port) as plain:
            if chance < 0.9:
                plain.config_set("maxmemory", 1)
            else:
                plain.execute_command("REPLICAOF", "127.0.0.1", "1")
