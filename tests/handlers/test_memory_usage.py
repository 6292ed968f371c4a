"""The estimate of the queues' memory, on a real Redis.

Proved: it is made when somebody asks and not before, of all queues, and again only a minute later; a user without the
right to it has the polls all the same, and is not tried again soon; what is known of a Broker goes with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import redis

from handlers.waiting import until
from longshore import Client
from longshore.testing import RedisServer
from longshore_operator.observe.memory_usage import EVERY_S, REFUSED_FOR_S, MemoryUsage
from longshore_operator.observe.redis import Pollers, Target
from longshore_operator.observe.secrets import Credentials
from longshore_operator.plan.address import RedisAccess

PLACE = ("n", "default")


class Bench:
    """One Broker that is polled, and a clock that stands."""

    def __init__(self, pollers: Pollers) -> None:
        self.pollers = pollers
        self.now = 1000.0
        self.memory = MemoryUsage(pollers, clock=lambda: self.now)

    async def ask(self) -> dict[str, int]:
        """Ask as a scrape does, and look once the measuring has ended."""
        self.memory.wanted()
        await until(lambda: self.memory.idle)
        return dict(self.memory.of(PLACE))


@asynccontextmanager
async def bench(url: str) -> AsyncIterator[Bench]:
    async def no_secret(*_: object) -> Credentials:
        raise AssertionError("the Broker names no Secret")

    pollers = Pollers(read_secrets=no_secret, on_news=lambda *_: None, clock=asyncio.get_running_loop().time)
    access = RedisAccess(url=url, timeout=timedelta(seconds=5))
    queues = frozenset({"mail", "idle"})
    poller = pollers.aim(PLACE, Target(access=access, interval=timedelta(seconds=60), scope="n/default", queues=queues))
    try:
        await until(lambda: poller.reading.reachable)
        yield Bench(pollers)
    finally:
        await pollers.aclose()


async def enqueue(url: str, count: int) -> None:
    async with Client(url) as client:
        for _ in range(count):
            await client.enqueue("t", b"x" * 1000, queue="mail")


async def test_it_is_made_when_somebody_asks_and_again_a_minute_later(
    redis_url: str, redis_client: redis.Redis
) -> None:
    await enqueue(redis_url, 3)
    redis_client.config_resetstat()
    async with bench(redis_url) as one:
        assert one.memory.of(PLACE) == {}
        assert "cmdstat_memory|usage" not in redis_client.info("commandstats")
        first = await one.ask()
        assert first.keys() == {"mail", "idle"}
        assert first["mail"] > 3000
        assert first["idle"] == 0
        await enqueue(redis_url, 20)
        one.now += EVERY_S - 1
        assert await one.ask() == first
        one.now += 1
        assert (await one.ask())["mail"] > 5 * first["mail"]
        one.pollers.drop(PLACE)
        assert await one.ask() == {}


async def test_a_user_without_the_right_to_it_is_not_tried_again_soon() -> None:
    with RedisServer() as server:
        await enqueue(server.url, 1)
        with redis.Redis(port=server.port) as admin:
            admin.execute_command("ACL", "SETUSER", "default", "-memory")
            async with bench(server.url) as one:
                assert await one.ask() == {}
                assert one.pollers.get(PLACE).reading.reachable  # type: ignore[union-attr]
                admin.execute_command("ACL", "SETUSER", "default", "+memory")
                one.now += REFUSED_FOR_S - 1
                assert await one.ask() == {}
                one.now += 1
                assert (await one.ask())["mail"] > 1000
