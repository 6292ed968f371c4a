"""Redis is slow: replies wait, arrive in drops, or do not arrive for a while."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
import redis

from faults.conftest import Conclude
from faults.invariants import memberships
from faults.journal import Journal
from faults.load import Load, progress, settled
from faults.proxy import WELL, Fault, FaultyProxy, faulty_proxy_of
from faults.work import TIMEOUT, server
from longshore import Client, RedisSettings
from longshore.testing import RedisServer

_SLOW = {
    "replies that take 50 to 500 ms": Fault(delay_s=(0.05, 0.5)),
    "replies in drops": Fault(trickle=7),
    "replies that often come too late": Fault(delay_s=(0.5, 1.5)),
}


@pytest.mark.parametrize("fault", _SLOW.values(), ids=_SLOW)
async def test_a_slow_redis_loses_and_doubles_nothing(
    fault: Fault, own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    async with faulty_proxy_of(own_redis.port, random) as proxy:
        load = await _under(proxy, fault, own_redis, random, journal, lasts_s=4)
    conclude(own_redis.port, load)


async def test_a_redis_that_falls_silent_again_and_again_loses_and_doubles_nothing(
    own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    """For longer than a call may take, also for longer than a lease lasts: 5 s, then the shorter ones."""
    async with faulty_proxy_of(own_redis.port, random) as proxy:

        async def spells() -> None:
            for silent_s in (5.0, 1.5, 0.5):
                proxy.fault = Fault(silent=True)
                await asyncio.sleep(silent_s)
                proxy.fault = WELL
                await asyncio.sleep(1)

        load = await _under(proxy, WELL, own_redis, random, journal, lasts_s=0, during=spells)
    conclude(own_redis.port, load)


async def _under(
    proxy: FaultyProxy,
    fault: Fault,
    own_redis: RedisServer,
    random: Random,
    journal: Journal,
    *,
    lasts_s: float,
    during: object = None,
) -> Load:
    """Load, of which the middle is under the fault."""
    settings = RedisSettings(url=proxy.url, timeout=TIMEOUT)
    async with Client(settings) as client, server(proxy.url, journal), server(proxy.url, journal):
        load = Load(client, random)
        producers = [asyncio.create_task(load.produce(name)) for name in "abcd"]
        await progress(load, journal)
        proxy.fault = fault
        if callable(during):
            await during()
        await asyncio.sleep(lasts_s)
        with redis.Redis(port=own_redis.port) as plain:
            assert memberships(plain) == []
        proxy.fault = WELL
        await progress(load, journal)
        load.stop()
        await asyncio.gather(*producers)
        await settled(own_redis.port)
    return load
