"""Worker processes are killed under load, again and again.

What they were running runs again; nothing else does. What a killed worker had taken and not begun is begun once.
"""

from __future__ import annotations

import asyncio
from random import Random

import redis

from faults.conftest import Conclude
from faults.invariants import memberships
from faults.journal import Journal
from faults.load import Load, progress, settled
from faults.work import CONCURRENCY
from faults.workers import workers
from longshore import Client
from longshore.testing import RedisServer

_KILLS = 4


async def test_killed_workers_lose_nothing_and_only_what_they_ran_runs_again(
    own_redis: RedisServer, random: Random, journal: Journal, conclude: Conclude
) -> None:
    problems: list[str] = []
    with workers(own_redis.url, journal, count=3) as processes:
        async with Client(own_redis.url) as client:
            load = Load(client, random)
            producers = [asyncio.create_task(load.produce(name)) for name in "abcd"]
            await progress(load, journal)
            for _ in range(_KILLS):
                await asyncio.sleep(random.uniform(0, 0.2))
                processes.kill_one(random)
                processes.start()
                await progress(load, journal, 100)
                with redis.Redis(port=own_redis.port) as plain:
                    problems += memberships(plain)
            load.stop()
            await asyncio.gather(*producers)
        await settled(own_redis.port)
        with redis.Redis(port=own_redis.port) as plain:
            processes.wait_serving(plain)
        assert processes.stop() == [0, 0, 0]
    assert problems == []
    story = conclude(own_redis.port, load, killed=processes.killed, kills=_KILLS)
    assert sum(story.repeated.values()) <= _KILLS * CONCURRENCY
    for attempt in story.repeated:
        assert processes.killed.intersection(story.pids[attempt][:-1]), f"{attempt} was not run by a killed worker"
