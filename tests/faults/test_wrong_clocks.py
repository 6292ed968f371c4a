"""The clocks of workers' machines and of the producer's differ by up to 40 s, and jump: no lease is taken for lost."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from random import Random

import pytest
import redis

from faults.conftest import Conclude
from faults.invariants import memberships
from faults.journal import Journal
from faults.load import Load, progress, settled
from faults.work import server
from longshore import Client
from longshore.runtime.timing import utc_now
from longshore.testing import RedisServer

_SKEW = timedelta(seconds=20)


class WrongClock:
    """A machine's clock that is off, by an amount that may be changed."""

    def __init__(self, off: timedelta) -> None:
        self.off = off

    def __call__(self) -> datetime:
        return utc_now() + self.off


@pytest.mark.parametrize("ahead", [True, False], ids=["the producer ahead", "the producer behind"])
async def test_clocks_that_differ_and_jump_lose_and_double_nothing(
    ahead: bool, own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    """Tasks are due in 1 s; by a producer's clock that is ahead, that is in 4 s: more would make the test long."""
    producer = WrongClock(timedelta(seconds=3) if ahead else -_SKEW)
    early, late = WrongClock(-_SKEW), WrongClock(_SKEW)
    problems: list[str] = []
    async with (
        Client(own_redis.url, clock=producer) as client,
        # so long that each look for lost leases sees some
        server(own_redis.url, journal, busy_s=0.3, clock=early),
        server(own_redis.url, journal, busy_s=0.3, clock=late),
    ):
        load = Load(client, random, pause_s=0.06)
        producers = [asyncio.create_task(load.produce(name)) for name in "ab"]
        await progress(load, journal)
        for _ in range(3):
            early.off, late.off = late.off, early.off
            await progress(load, journal, 40)
            with redis.Redis(port=own_redis.port) as plain:
                problems += memberships(plain)
        load.stop()
        await asyncio.gather(*producers)
        await settled(own_redis.port)
    assert problems == []
    story = conclude(own_redis.port, load)
    assert (sum(story.recovered.values()), story.repeated) == (0, {})
