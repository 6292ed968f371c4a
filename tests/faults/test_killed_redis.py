"""Redis is killed under load and started again on its files (AOF, each write flushed before it is answered)."""

from __future__ import annotations

import asyncio
from random import Random

from faults.conftest import Conclude
from faults.journal import Journal
from faults.load import Load, progress, settled
from faults.work import TIMEOUT, server
from longshore import Client, RedisSettings
from longshore.testing import RedisServer

_KILLS = 4


async def test_a_redis_that_is_killed_and_comes_back_has_lost_and_doubled_nothing(
    own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    settings = RedisSettings(url=own_redis.url, timeout=TIMEOUT)
    async with (
        Client(settings) as client,
        Client(settings, retry_for=0) as hasty,
        server(own_redis.url, journal),
        server(own_redis.url, journal),
    ):
        loads = Load(client, random), Load(hasty, random)
        producers = [asyncio.create_task(load.produce(name)) for load, name in zip(loads * 2, "abcd", strict=True)]
        load, other = loads
        await progress(load, journal)
        for _ in range(_KILLS):
            await asyncio.sleep(random.uniform(0, 0.1))
            own_redis.stop()
            await asyncio.sleep(random.uniform(0, 1))
            await asyncio.to_thread(own_redis.start)
            await progress(load, journal)
        for one in loads:
            one.stop()
        await asyncio.gather(*producers)
        await settled(own_redis.port)
    # every call that was tried again got through
    assert load.refused == 0
    load.promises |= other.promises
    load.acknowledged |= other.acknowledged
    load.refused += other.refused
    conclude(own_redis.port, load, kills=_KILLS)
