"""Servers that keep limits: what begins, what waits and where, and what gives a place back.

Left out: what a single call does (tests/scripts/test_permits.py), and several processes (test_limits_together.py).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from longshore import App, BrokerUnavailable, Client, InvalidOption, RateLimit, RedisSettings, Server, Task
from longshore.broker.connection import RedisConnection
from longshore.broker.permits import RedisPermits
from longshore.broker.permits_base import Admission
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol import keys
from longshore.testing import RedisServer
from runtime.harness import QUICK, containers, counters, message, quick, serving, state, until


class Gauge:
    """Counts handlers that run at once, lets them end, and knows when each began."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.begun: list[str] = []
        self.times: list[float] = []
        self.release = asyncio.Event()

    async def run(self, name: str) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.begun.append(name)
        self.times.append(time.monotonic())
        try:
            await self.release.wait()
        finally:
            self.now -= 1


def gauged(**limits: Any) -> tuple[App, Gauge]:
    """An application whose "slow" tasks are limited and wait for the gauge; "other" ones are not."""
    app, gauge = App(), Gauge()

    @app.task("slow", **limits)
    async def slow(name: str) -> None:
        await gauge.run(name)

    @app.task("other")
    async def other(name: str) -> None:
        gauge.begun.append(name)

    return app, gauge


async def enqueue(url: str, kind: str, *names: str, **options: Any) -> None:
    async with Client(url) as client:
        for name in names:
            await client.enqueue(Task(kind, name), task_id=name, **options)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:03}" for number in range(count)]


def idle(client: redis.Redis, queue: str = "default") -> Callable[[], bool]:
    """Whether no task of the queue is left."""
    return lambda: not any(True for _ in client.scan_iter(match=keys.task_prefix(queue) + "*"))


async def test_no_more_run_at_once_than_may_and_the_first_go_first(redis_url: str, redis_client: redis.Redis) -> None:
    app, gauge = gauged(max_concurrency=2)
    await enqueue(redis_url, "slow", *names("s", 12))
    async with serving(app, redis_url):
        await until(lambda: len(gauge.begun) == 2 and redis_client.zcard(keys.scheduled("default")) == 10)
        waiting = [name.decode() for name in redis_client.zrange(keys.limit_line("default", "slow"), 0, -1)]
        assert waiting == names("s", 12)[2:]
        assert all(containers(redis_client, name) == {"scheduled"} for name in waiting)
        assert {state(redis_client, name) for name in waiting} == {"scheduled"}
        assert {message(redis_client, name).retried for name in waiting} == {0}
        assert counters(redis_client) == (0, 0)
        gauge.release.set()
        await until(idle(redis_client))
    assert (gauge.most, gauge.begun) == (2, names("s", 12))
    assert counters(redis_client) == (12, 0)


@pytest.mark.parametrize("whole_queue", [False, True])
async def test_the_next_begins_as_soon_as_one_has_ended(
    redis_url: str, redis_client: redis.Redis, whole_queue: bool
) -> None:
    app, gauge = gauged() if whole_queue else gauged(max_concurrency=2)
    if whole_queue:
        app.limit_queue("default", max_concurrency=2)
    await enqueue(redis_url, "slow", *names("s", 10))
    never = timedelta(hours=1)
    async with serving(app, redis_url, timing=quick(permit_poll=never, lines=never)):
        await until(lambda: len(gauge.begun) == 2)
        gauge.release.set()
        await until(idle(redis_client))  # without a poll
    assert gauge.most == 2


async def test_tasks_of_other_types_are_served_meanwhile(redis_url: str) -> None:
    app, gauge = gauged(max_concurrency=1)
    await enqueue(redis_url, "slow", *names("s", 60))
    await enqueue(redis_url, "other", "o")
    async with serving(app, redis_url, concurrency=3):
        await until(lambda: "o" in gauge.begun)
        assert gauge.begun == ["s000", "o"]
        gauge.release.set()


async def test_a_place_is_free_again_after_failure_timeout_and_cancellation(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App(retry_delay=lambda retried, error: 3600)
    begun: list[str] = []

    @app.task("hard", max_concurrency=1)
    async def hard(name: str) -> None:
        begun.append(name)
        if name == "fails":
            raise RuntimeError
        if name != "works":
            await asyncio.sleep(3600)

    await enqueue(redis_url, "hard", "fails")
    await enqueue(redis_url, "hard", "late", timeout=timedelta(seconds=1))
    await enqueue(redis_url, "hard", "cancelled", "works")
    async with serving(app, redis_url):
        await until(lambda: "cancelled" in begun)
        redis_client.publish(keys.CANCEL_CHANNEL, "cancelled")
        await until(lambda: state(redis_client, "works") is None)
        assert begun == ["fails", "late", "cancelled", "works"]
        assert {state(redis_client, name) for name in begun[:3]} == {"retry"}


async def test_a_task_that_was_put_back_at_shutdown_holds_no_place(redis_url: str, redis_client: redis.Redis) -> None:
    app, gauge = gauged(max_concurrency=1)
    await enqueue(redis_url, "slow", "a", "b")
    async with serving(app, redis_url, shutdown_timeout=0.0):
        await until(lambda: gauge.begun == ["a"])
    assert (containers(redis_client, "a"), containers(redis_client, "b")) == ({"pending"}, {"scheduled"})
    gauge.release.set()
    async with serving(app, redis_url):
        await until(idle(redis_client))
    assert sorted(gauge.begun) == ["a", "a", "b"]


async def test_a_place_of_a_server_that_died_is_free_after_its_lease_and_the_grace(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, gauge = gauged(max_concurrency=1)
    gauge.release.set()
    await enqueue(redis_url, "slow", "b")
    for key in (keys.limit_running("default", "slow"),):
        redis_client.sadd(key, "dead")
    now_s = int(time.time())
    redis_client.lpush(keys.active("default"), "dead")
    redis_client.zadd(keys.lease("default"), {"dead": now_s + 1})
    async with serving(app, redis_url, timing=quick(permit_grace=timedelta(seconds=1))):
        await until(lambda: state(redis_client, "b") == "scheduled")
        await until(idle(redis_client))
        assert time.time() >= now_s + 2
    assert gauge.begun == ["b"]


async def test_a_rate_is_kept_and_used_up(redis_url: str, redis_client: redis.Redis) -> None:
    app, gauge = gauged(rate_limit="50/s")
    gauge.release.set()
    await enqueue(redis_url, "slow", *names("s", 75))
    began = time.monotonic()
    async with serving(app, redis_url):
        await until(idle(redis_client))
    assert sorted(gauge.begun) == names("s", 75)
    # Each is given its start by Redis' clock, 20 ms after the one before; here it can only be late.
    assert all(when - began >= number * 0.02 - 0.005 for number, when in enumerate(gauge.times))
    assert counters(redis_client) == (75, 0)


async def test_a_task_that_waits_is_put_away_once(redis_url: str, redis_client: redis.Redis) -> None:
    app, gauge = gauged(rate_limit="1/h")
    gauge.release.set()
    await enqueue(redis_url, "slow", *names("s", 200))
    async with serving(app, redis_url):
        await until(lambda: redis_client.zcard(keys.scheduled("default")) == 199)
        redis_client.config_resetstat()
        await asyncio.sleep(1.0)
        calls = redis_client.info("commandstats")
    assert gauge.begun == ["s000"]
    assert calls.get("cmdstat_lrem", {"calls": 0})["calls"] == 0
    assert calls.get("cmdstat_ltrim", {"calls": 0})["calls"] == 0


async def test_a_queues_limit_holds_for_all_its_tasks_and_leaves_the_rest_pending(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, gauge = gauged()
    app.limit_queue("narrow", max_concurrency=2)
    await enqueue(redis_url, "slow", *names("s", 8), queue="narrow")
    await enqueue(redis_url, "other", "o", queue="narrow")
    await enqueue(redis_url, "slow", *names("w", 4))
    async with serving(app, redis_url, queues={"narrow": 1, "default": 1}):
        await until(lambda: len(gauge.begun) == 6)
        assert sorted(gauge.begun) == ["s000", "s001", *names("w", 4)]
        assert redis_client.llen(keys.pending("narrow")) == 7
        gauge.release.set()
        await until(idle(redis_client, "narrow"))
    assert [name for name in gauge.begun if name not in names("w", 4)] == [*names("s", 8), "o"]


async def test_a_queues_rate_is_kept(redis_url: str, redis_client: redis.Redis) -> None:
    app, gauge = gauged()
    gauge.release.set()
    app.limit_queue("default", rate_limit=RateLimit(count=50, per=timedelta(seconds=1), burst=5))
    await enqueue(redis_url, "slow", *names("s", 55))
    began = time.monotonic()
    async with serving(app, redis_url):
        await until(idle(redis_client))
    assert sorted(gauge.begun) == names("s", 55)
    assert all(when - began >= (number - 4) * 0.02 - 0.005 for number, when in enumerate(gauge.times))


async def test_a_limit_of_a_prefix_is_shared_by_its_types(redis_url: str, redis_client: redis.Redis) -> None:
    app, gauge = App(), Gauge()

    @app.task("mail:", max_concurrency=1)
    async def mail(name: str) -> None:
        await gauge.run(name)

    await enqueue(redis_url, "mail:welcome", "a")
    await enqueue(redis_url, "mail:bill", "b")
    async with serving(app, redis_url):
        await until(lambda: state(redis_client, "b") == "scheduled")
        gauge.release.set()
        await until(idle(redis_client))
    assert (gauge.begun, gauge.most) == (["a", "b"], 1)


async def test_nothing_begins_while_redis_is_away_and_nothing_is_lost() -> None:
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        app, gauge = gauged(max_concurrency=1)
        await enqueue(server.url, "slow", *names("s", 5))
        async with serving(app, server.url):
            await until(lambda: gauge.begun == ["s000"])
            server.stop()
            gauge.release.set()
            await until(lambda: gauge.now == 0)
            assert gauge.begun == ["s000"]
            server.start()
            with redis.Redis.from_url(server.url) as client:
                await until(idle(client))
        assert gauge.begun == names("s", 5)


async def test_a_server_finds_lines_that_others_left_behind(redis_url: str, redis_client: redis.Redis) -> None:
    app, gauge = gauged(rate_limit="2/s")
    gauge.release.set()
    await enqueue(redis_url, "slow", *names("s", 4))
    async with serving(app, redis_url):
        await until(lambda: gauge.begun and redis_client.zcard(keys.limit_line("default", "slow")) > 1)
    async with serving(app, redis_url, timing=quick(lines=timedelta(milliseconds=50))):
        await until(idle(redis_client))
    assert gauge.begun == names("s", 4)


async def test_other_declarations_are_told_of_once(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.hset(keys.limit("default", "slow"), "declared", "9 at once")
    app, gauge = gauged(max_concurrency=1)
    gauge.release.set()
    await enqueue(redis_url, "slow", *names("s", 5))
    async with serving(app, redis_url):
        await until(idle(redis_client))
    told = [record for record in caplog.records if getattr(record, "action", "") == "limits_differ"]
    assert [(record.ours, record.theirs) for record in told] == [("1 at once", "9 at once")]  # type: ignore[attr-defined]


def test_limits_are_checked_where_they_are_declared() -> None:
    app = App()
    with pytest.raises(InvalidOption, match="rate_limit"):
        app.task("a", rate_limit="often")
    with pytest.raises(InvalidOption, match="max_concurrency"):
        app.task("a", max_concurrency=0)
    with pytest.raises(InvalidOption, match="limit_queue"):
        app.limit_queue("a")
    app.limit_queue("a", rate_limit="1/s")
    with pytest.raises(InvalidOption, match="already"):
        app.limit_queue("a", max_concurrency=3)
    with pytest.raises(InvalidOption, match="not the name of a queue"):
        app.limit_queue(" ", max_concurrency=3)


def test_the_documented_example_declares_what_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rate-limits.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    exec(example, names)
    app = names["app"]
    assert {name: str(limit) for name, limit in app.limits.items()} == {"sms:send": "10/1s", "report:": "5 at once"}
    assert {name: str(limit) for name, limit in app.queue_limits.items()} == {
        "partner": "1000/3600s with bursts of 50, 20 at once"
    }


def test_limits_of_included_applications_hold() -> None:
    inner, outer = App(), App()

    @inner.task("send", rate_limit="5/s")
    async def send() -> None: ...

    inner.limit_queue("a", max_concurrency=1)
    inner.limit_queue("b", max_concurrency=1)
    outer.limit_queue("b", max_concurrency=2)
    outer.include(inner, prefix="mail:")
    assert {name: str(limit) for name, limit in outer.limits.items()} == {"mail:send": "5/1s"}
    assert {name: str(limit) for name, limit in outer.queue_limits.items()} == {"a": "1 at once", "b": "2 at once"}


class LosesReplies(RedisBroker):
    """Carries out the first requests for permits, or does not, and then does not answer them."""

    def __init__(self, connection: RedisConnection) -> None:
        super().__init__(connection)
        self.lost = 0
        self.carries_out = True
        self.unanswered = 1
        self.permits = cast(RedisPermits, _Unanswered(self))  # also the others' of this broker


class _Unanswered:
    def __init__(self, broker: LosesReplies) -> None:
        self._broker = broker
        self._permits = broker.permits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._permits, name)

    async def admit(self, *args: Any, **options: Any) -> Admission:
        broker = self._broker
        if broker.lost == broker.unanswered:
            return await self._permits.admit(*args, **options)
        if broker.carries_out:
            await self._permits.admit(*args, **options)
        broker.lost += 1
        raise BrokerUnavailable("the reply was lost")


@asynccontextmanager
async def losing(url: str) -> AsyncIterator[LosesReplies]:
    broker = LosesReplies.connect(RedisSettings(url=url))
    yield broker
    await broker.aclose()


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_lost_reply_to_a_request_for_permits_costs_no_task_and_no_place(
    redis_url: str, redis_client: redis.Redis, carried_out: bool
) -> None:
    app, gauge = gauged(max_concurrency=1)
    gauge.release.set()
    await enqueue(redis_url, "slow", *names("s", 6))
    async with losing(redis_url) as broker:
        broker.carries_out = carried_out
        async with Server(app, broker=broker, concurrency=8, timing=QUICK):
            await until(idle(redis_client))
        assert broker.lost == 1
    assert (gauge.begun, gauge.most, counters(redis_client)) == (names("s", 6), 1, (6, 0))


async def test_what_gets_no_answer_till_its_lease_ends_is_left_to_recovery(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app, gauge = gauged(max_concurrency=1)
    await enqueue(redis_url, "slow", "a")
    async with losing(redis_url) as broker:
        broker.unanswered, broker.carries_out = 1_000_000, False
        timing = quick(lease=timedelta(seconds=1), skew=timedelta(0))
        async with Server(app, broker=broker, concurrency=8, timing=timing):
            await until(lambda: state(redis_client, "a") == "retry")
            await until(lambda: any(getattr(record, "action", "") == "lease_lost" for record in caplog.records))
    assert gauge.begun == []


async def test_what_waits_for_an_answer_when_the_server_stops_is_put_back(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, gauge = gauged(max_concurrency=1)
    await enqueue(redis_url, "slow", "a", "b")
    async with losing(redis_url) as broker:
        broker.unanswered, broker.carries_out = 1_000_000, False
        async with Server(app, broker=broker, concurrency=8, timing=QUICK):
            await until(lambda: broker.lost > 0)
    assert (gauge.begun, message(redis_client, "a").retried) == ([], 0)
    assert redis_client.lrange(keys.pending("default"), 0, -1) == [b"b", b"a"]
    assert not redis_client.exists(keys.active("default"), keys.lease("default"))
