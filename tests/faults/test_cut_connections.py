"""Connections to Redis are cut at any byte of either direction: half a request, a reply that never comes.

Nothing that Redis acknowledged is lost, nothing happens twice to a task, and every count is right.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest
import redis

from faults.conftest import Conclude
from faults.invariants import memberships
from faults.journal import Journal
from faults.load import Load, progress, settled
from faults.proxy import WELL, Fault, faulty_proxy_of
from faults.work import TIMEOUT, server
from longshore import Client, RedisSettings
from longshore.testing import RedisServer


@pytest.mark.parametrize("cut_after", [300, 3000, 30000], ids=lambda size: f"every {size} bytes")
async def test_connections_that_are_cut_anywhere_lose_and_double_nothing(
    cut_after: int, own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    problems: list[str] = []
    async with faulty_proxy_of(own_redis.port, random) as proxy:
        settings = RedisSettings(url=proxy.url, timeout=TIMEOUT)
        async with Client(settings) as client, server(proxy.url, journal), server(proxy.url, journal):
            load = Load(client, random)
            producers = [asyncio.create_task(load.produce(name)) for name in "abcd"]
            await progress(load, journal)
            for _ in range(3):
                proxy.fault = Fault(cut_after=cut_after)
                for _ in range(10):
                    await asyncio.sleep(0.1)
                    with redis.Redis(port=own_redis.port) as plain:
                        problems += memberships(plain)
                proxy.fault = WELL
                await progress(load, journal, 20)
            load.stop()
            await asyncio.gather(*producers)
            await settled(own_redis.port)
    assert problems == []
    conclude(own_redis.port, load, cuts=proxy.cuts)
