"""Servers whose machines' clocks are wrong go by Redis': leases are neither lost nor taken for lost, due is due.

A Go peer goes by its own machine's clock; what that may cost is in docs/limits.md.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
import redis

from longshore import App, Client, RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import BrokerUnavailable
from longshore.protocol import keys
from longshore.runtime.redis_clock import RedisClock
from longshore.runtime.timing import Timing, utc_now
from runtime.harness import holding, quick, serving, state, until

HOUR = timedelta(hours=1)
T0 = datetime(2024, 1, 1, tzinfo=UTC)
S = timedelta(seconds=1)


class Machine:
    """A machine's clocks, and a Redis on another machine."""

    def __init__(self) -> None:
        self.wall = T0
        self.elapsed = 100.0
        self.redis: datetime | None = T0
        self.reply_takes = 0.0
        self.steps: list[timedelta] = []
        self.clock = RedisClock(self, machine=lambda: self.wall, elapsed_s=lambda: self.elapsed)  # type: ignore[arg-type]
        self.clock.on_step = self.steps.append

    async def time(self) -> datetime:
        if self.redis is None:
            raise BrokerUnavailable("away")
        self.elapsed += self.reply_takes
        return self.redis


async def test_it_is_the_machines_time_until_redis_has_told_its_own() -> None:
    machine = Machine()
    machine.redis = T0 + HOUR
    machine.elapsed += 5
    assert machine.clock() == T0 + 5 * S
    await machine.clock.tick()
    assert machine.clock() == T0 + HOUR
    machine.elapsed += 2
    assert machine.clock() == T0 + HOUR + 2 * S
    assert machine.steps == [HOUR - 5 * S]


async def test_setting_the_machines_clock_changes_nothing() -> None:
    machine = Machine()
    await machine.clock.tick()
    machine.wall += HOUR
    assert machine.clock() == T0
    await machine.clock.tick()
    assert machine.steps == []


async def test_half_of_the_time_a_reply_took_counts_and_a_slow_one_does_not() -> None:
    machine = Machine()
    machine.redis, machine.reply_takes = T0 + HOUR, 0.8
    await machine.clock.tick()
    assert machine.clock() == T0 + HOUR + 0.4 * S
    machine.redis, machine.reply_takes = T0, 1.5
    await machine.clock.tick()
    assert machine.clock() == T0 + HOUR + 1.9 * S


async def test_while_redis_has_never_told_its_time_the_machines_is_followed() -> None:
    machine = Machine()
    machine.redis = None
    machine.wall += HOUR
    await machine.clock.tick()
    assert machine.clock() == T0 + HOUR
    machine.redis = T0
    await machine.clock.tick()
    machine.redis = None
    await machine.clock.tick()
    assert machine.clock() == T0


async def test_small_differences_are_left() -> None:
    machine = Machine()
    machine.redis = T0 + 0.1 * S
    await machine.clock.tick()
    assert machine.clock() == T0
    assert machine.steps == []


async def test_redis_tells_its_time(redis_url: str) -> None:
    broker = RedisBroker.connect(RedisSettings(url=redis_url))
    before = datetime.now(UTC)
    told = await broker.time()
    assert before - S < told < datetime.now(UTC) + S
    await broker.aclose()


@pytest.mark.parametrize("skew", [-20, 20, -100, 100])
async def test_two_servers_whose_clocks_differ_take_no_task_from_each_other(
    redis_url: str, redis_client: redis.Redis, skew: int
) -> None:
    app, release = holding()
    right = serving(app, redis_url, timing=quick(lease=Timing().lease), concurrency=1)
    wrong = serving(
        app, redis_url, timing=quick(lease=Timing().lease), concurrency=1, clock=lambda: utc_now() + skew * S
    )
    async with Client(redis_url) as producer, right as one, wrong as other:
        ids = [(await producer.enqueue("hold")).message.id for _ in range(2)]
        await until(lambda: one.running == other.running == 1)
        await asyncio.sleep(0.5)  # some beats and recoveries
        assert one.running == other.running == 1
        for task_id in ids:
            assert abs(redis_client.zscore(keys.lease("default"), task_id) - time.time() - 30) < 10
        release.set()
        await until(lambda: [state(redis_client, task_id) for task_id in ids] == [None, None])
    assert redis_client.get(keys.failed_total("default")) is None


async def test_a_server_whose_clock_runs_ahead_starts_nothing_early(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("later")(lambda: None)
    async with Client(redis_url) as producer:
        soon = (await producer.enqueue("later", process_in=60)).message.id
        due = (await producer.enqueue("later", process_in=1)).message.id
    async with serving(app, redis_url, clock=lambda: utc_now() + HOUR):
        await until(lambda: state(redis_client, due) is None)
        assert state(redis_client, soon) == "scheduled"


async def test_tasks_that_run_when_the_clock_is_set_keep_their_lease_and_the_time_they_have(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, release = holding()
    async with Client(redis_url) as producer, serving(app, redis_url) as server:
        task_id = (await producer.enqueue("hold", timeout=60)).message.id
        await until(lambda: server.running == 1)
        [attempt] = server._parts.in_flight
        deadline, lease = attempt.deadline, attempt.lease_expires_at
        server._parts.clock.on_step(HOUR)
        assert attempt.deadline == deadline + HOUR
        assert attempt.lease_expires_at == lease + HOUR
        release.set()
        await until(lambda: state(redis_client, task_id) is None)


async def test_a_redis_that_comes_later_is_asked_soon() -> None:
    machine = Machine()
    machine.redis = None
    asking = asyncio.create_task(machine.clock.run(HOUR))
    await asyncio.sleep(0.1)
    machine.redis = T0 + HOUR
    await until(lambda: machine.steps == [HOUR])
    asking.cancel()
