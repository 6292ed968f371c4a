"""Random interleavings of everything that may happen to limited tasks, by servers and by people.

After each step: no task is lost or in two containers, no more run than may, what stands in the line does not run, and
who is taken out of the line was first in it. At the end all of it can be worked off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longshore.broker.base import Done, Leased, NewTask, RedisSettings, Requeue, Retry
from longshore.broker.permits_base import Asker, Permitted
from longshore.broker.redis_broker import RedisBroker
from longshore.policy.limits import Limit
from longshore.protocol import keys
from longshore.testing import new_message

QUEUE, NAME = "default", "mail"
LEASE = timedelta(seconds=30)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enqueue"), st.integers(1, 4)),
        st.tuples(st.just("admit"), st.integers(1, 5)),
        st.tuples(st.just("admit and lose the reply"), st.integers(1, 5)),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["done", "retry", "requeue", "die"]), st.integers(0, 9)),
        st.tuples(st.sampled_from(["forward", "delete", "run", "archive"]), st.integers(0, 9)),
    ),
    max_size=40,
)


class World:
    """Redis, and what the test knows of it."""

    def __init__(self, broker: RedisBroker, client: redis.Redis, limit: Limit) -> None:
        self.broker = broker
        self.client = client
        self.limit = limit
        self.asker = Asker(
            server_id="one", lease=LEASE, grace=timedelta(seconds=15), horizon=timedelta(milliseconds=250)
        )
        self.alive: set[str] = set()
        self.running: dict[str, Leased] = {}
        self.made = 0

    async def step(self, what: str, number: int) -> None:
        now = datetime.now(UTC)
        chosen = list(self.running.values())[number % len(self.running)] if self.running else None
        waiting = [member.decode() for member in self.client.zrange(keys.scheduled(QUEUE), 0, -1)]
        match what:
            case "enqueue":
                await self.enqueue(number)
            case "admit" | "admit and lose the reply":
                taken = await self.broker.dequeue(QUEUE, limit=number, now=now, lease=LEASE)
                await self.admit(taken.leased, twice=what != "admit")
            case "take":
                await self.take(number)
            case "done" if chosen:
                self.leave(chosen)
                self.alive.discard(chosen.message.id)
                await self.broker.settle(QUEUE, [Done(message=chosen.message)], now=now)
            case "retry" if chosen:
                self.leave(chosen)
                await self.broker.settle(
                    QUEUE, [Retry(message=chosen.message, retry_at=now, is_failure=False)], now=now
                )
            case "requeue" if chosen:
                self.leave(chosen)
                await self.broker.settle(QUEUE, [Requeue(message=chosen.message)], now=now)
            case "die" if chosen:
                self.leave(chosen)
                self.client.zadd(keys.lease(QUEUE), {chosen.message.id: now.timestamp() // 1 - 60})
                [lost] = await self.broker.lease_expired(QUEUE, cutoff=now - timedelta(seconds=30))
                await self.broker.settle(QUEUE, [Retry(message=lost, retry_at=now, is_failure=False)], now=now)
            case "forward":
                await self.broker.forward(QUEUE, now=now + timedelta(days=1))
            case "delete" if waiting:
                task_id = waiting[number % len(waiting)]
                self.client.zrem(keys.scheduled(QUEUE), task_id)
                self.client.delete(keys.task(QUEUE, task_id))
                self.alive.discard(task_id)
            case "run" if waiting:
                task_id = waiting[number % len(waiting)]
                self.client.zrem(keys.scheduled(QUEUE), task_id)
                self.client.lpush(keys.pending(QUEUE), task_id)
                self.client.hset(keys.task(QUEUE, task_id), "state", "pending")
            case "archive" if waiting:
                task_id = waiting[number % len(waiting)]
                self.client.zrem(keys.scheduled(QUEUE), task_id)
                self.client.zadd(keys.archived(QUEUE), {task_id: 1})
                self.client.hset(keys.task(QUEUE, task_id), "state", "archived")
        self.check()

    async def enqueue(self, count: int) -> None:
        ids = [f"{self.made + number:03}" for number in range(count)]
        self.made += count
        self.alive.update(ids)
        messages = [NewTask(message=new_message(NAME, id=task_id)) for task_id in ids]
        await self.broker.enqueue(messages, now=datetime.now(UTC))

    async def admit(self, taken: Sequence[Leased], *, twice: bool = False) -> None:
        asked = [Permitted(leased, 0.0) for leased in taken]
        found = None
        for _ in range(1 + twice):
            found = await self.broker.permits.admit(
                QUEUE, asked, name=NAME, limit=self.limit, holds=100, asker=self.asker
            )
        assert found is not None
        for leased, _ in found.permitted:
            self.running[leased.message.id] = leased

    async def take(self, most: int) -> int:
        line = [member.decode() for member in self.client.zrange(keys.limit_line(QUEUE, NAME), 0, -1)]
        takeable = [
            task_id
            for task_id in line
            if self.client.hget(keys.task(QUEUE, task_id), "state") in (b"scheduled", b"pending")
        ]
        found = await self.broker.permits.take_from_line(
            QUEUE,
            name=NAME,
            limit=self.limit,
            queue_limit=None,
            most=most,
            holds=100,
            now=datetime.now(UTC),
            asker=self.asker,
        )
        ids = [leased.message.id for leased in found.tasks.leased]
        assert ids == takeable[: len(ids)]
        self.running |= {leased.message.id: leased for leased in found.tasks.leased}
        return len(ids)

    def leave(self, leased: Leased) -> None:
        del self.running[leased.message.id]

    def check(self) -> None:
        client = self.client
        places: list[bytes] = [*client.lrange(keys.pending(QUEUE), 0, -1), *client.lrange(keys.active(QUEUE), 0, -1)]
        for zset in (keys.scheduled, keys.retry, keys.archived):
            places += client.zrange(zset(QUEUE), 0, -1)
        assert sorted(places) == sorted(task_id.encode() for task_id in self.alive)
        active = {member.decode() for member in client.lrange(keys.active(QUEUE), 0, -1)}
        assert active == set(self.running) == {member.decode() for member in client.zrange(keys.lease(QUEUE), 0, -1)}
        assert self.limit.max_concurrency is not None
        assert len(active) <= self.limit.max_concurrency
        line = {member.decode() for member in client.zrange(keys.limit_line(QUEUE, NAME), 0, -1)}
        assert not line & active
        scheduled = {member.decode() for member in client.zrange(keys.scheduled(QUEUE), 0, -1)}
        assert scheduled <= line
        assert line == {member.decode() for member in client.hkeys(keys.limit_due(QUEUE, NAME))}

    async def work_off(self) -> None:
        await self.broker.forward(QUEUE, now=datetime.now(UTC) + timedelta(days=1))
        for _ in range(1000):
            taken = await self.broker.dequeue(QUEUE, limit=5, now=datetime.now(UTC), lease=LEASE)
            await self.admit(taken.leased)
            await self.take(5)
            if not self.running:
                break
            for _ in range(len(self.running)):
                await self.step("done", 0)
        assert self.client.llen(keys.pending(QUEUE)) == self.client.zcard(keys.scheduled(QUEUE)) == 0
        assert not self.client.exists(keys.limit_line(QUEUE, NAME), keys.lines(QUEUE))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, places=st.integers(1, 3))
def test_whatever_happens_limits_hold_and_no_task_is_lost(
    redis_client: redis.Redis, redis_url: str, steps: list[tuple[str, int]], places: int
) -> None:
    async def run() -> None:
        redis_client.flushall()
        broker = RedisBroker.connect(RedisSettings(url=redis_url))
        try:
            world = World(broker, redis_client, Limit(max_concurrency=places))
            for what, number in steps:
                await world.step(what, number)
            await world.work_off()
        finally:
            await broker.aclose()

    asyncio.run(run())
