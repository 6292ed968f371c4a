"""Servers of one queue: one of them does the background duties, and another as soon as that one is gone.

And what they tell each other of pauses. Left out: who is the one (tests/policy/test_roster.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import redis

from longshore import App, Client, Inspector, RedisSettings
from longshore.broker.base import Waiting
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol import codec, keys
from longshore.protocol.notices import DutiesHeld, QueuePaused, QueueResumed, Standing
from longshore.runtime.duties import Duties
from longshore.runtime.forwarder import Forwarder
from longshore.runtime.pauses import Pauses
from longshore.runtime.timing import Timing, utc_now
from longshore.testing import RedisServer, new_message, queue_content, seed_keyspace
from runtime.harness import quick, serving, state, until

NEVER = timedelta(hours=1)
BRISK = quick(announce=timedelta(milliseconds=50), silence=timedelta(seconds=1), clean=NEVER, recover=NEVER)
OLD, YOUNG = Standing(since=1, server_id="old"), Standing(since=2, server_id="young")


@asynccontextmanager
async def duties_of(url: str, standing: Standing) -> AsyncIterator[tuple[RedisBroker, Duties]]:
    broker = RedisBroker.connect(RedisSettings(url=url))
    yield broker, Duties(broker, standing=standing, queues=["default"], timing=Timing())
    await broker.aclose()


async def test_one_of_two_idle_servers_looks_after_the_queue(redis_url: str, redis_client: redis.Redis) -> None:
    async with serving(App(), redis_url, timing=BRISK) as old, serving(App(), redis_url, timing=BRISK) as young:
        await until(lambda: old._parts.duties.held() == ["default"] and young._parts.duties.held() == [])
        await asyncio.sleep(1.5)
        assert old._parts.duties.held() == ["default"]
        assert young._parts.duties.held() == []


async def test_when_the_one_that_does_the_duties_stops_another_goes_on(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    app.task("later")(lambda: None)
    async with Client(redis_url) as producer, serving(App(), redis_url, timing=BRISK, queues={"default": 1}) as first:
        second = serving(app, redis_url, timing=quick(announce=timedelta(milliseconds=50), silence=NEVER))
        async with second as other:
            await until(lambda: other._parts.duties.held() == [])
            first.shutdown()
            await until(lambda: other._parts.duties.held() == ["default"])  # told, not after a silence
            task_id = (await producer.enqueue("later", process_in=1)).message.id
            await until(lambda: state(redis_client, task_id) is None)


async def test_a_server_that_falls_silent_is_followed(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("later")(lambda: None)
    async with Client(redis_url) as producer, serving(app, redis_url, timing=BRISK) as server:
        await until(lambda: redis_client.pubsub_numsub(keys.notices(0))[0][1])
        async with duties_of(redis_url, OLD) as (broker, _):
            await broker.notify(DutiesHeld(standing=OLD, queues=("default",)))
        await until(lambda: server._parts.duties.held() == [])
        task_id = (await producer.enqueue("later", process_in=1)).message.id
        await until(lambda: server._parts.duties.held() == ["default"])
        await until(lambda: state(redis_client, task_id) is None)


async def test_a_server_tells_of_nothing_that_it_did_not_do_and_of_nothing_before_it_hears(redis_url: str) -> None:
    heard: list[DutiesHeld] = []
    async with duties_of(redis_url, OLD) as (broker, duties):

        async def notify(notice: DutiesHeld) -> None:
            heard.append(notice)

        broker.notify = notify
        await duties.tick()
        duties.hears = True
        await duties.tick()
        assert heard == []
        duties.done("default")
        await duties.tick()
        assert heard == [DutiesHeld(standing=OLD, queues=("default",))]


@pytest.mark.one_server
async def test_a_queue_looked_after_elsewhere_is_not_looked_at(redis_url: str, redis_client: redis.Redis) -> None:
    async with duties_of(redis_url, YOUNG) as (broker, duties):
        forwarder = Forwarder(broker, duties=duties, clock=utc_now)
        duties.heard(DutiesHeld(standing=OLD, queues=("default",)))
        before = redis_client.info("stats")["total_commands_processed"]
        await forwarder.tick()
        assert redis_client.info("stats")["total_commands_processed"] - before == 1  # the one that asks


async def test_no_script_runs_while_nothing_is_due(redis_url: str, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, queue_content(scheduled=[(new_message(), codec.unix_seconds(utc_now()) + 3600)]))
    async with duties_of(redis_url, OLD) as (broker, duties):
        forwarder = Forwarder(broker, duties=duties, clock=utc_now)
        await forwarder.tick()  # something waits: look when it is due
        redis_client.config_resetstat()
        for _ in range(3):
            await forwarder.tick()
        assert not [name for name in redis_client.info("commandstats") if "eval" in name]


async def test_looks_tell_what_the_scripts_would_find(redis_url: str, redis_client: redis.Redis) -> None:
    now = utc_now()
    now_s = codec.unix_seconds(now)
    seed_keyspace(redis_client, queue_content("due", retry=[(new_message(id="a", queue="due"), now_s)]))
    seed_keyspace(redis_client, queue_content("later", scheduled=[(new_message(id="b", queue="later"), now_s + 60)]))
    redis_client.zadd(keys.completed("due"), {"c": now_s})
    redis_client.zadd(keys.completed("later"), {"c": now_s + 60})
    redis_client.lpush(keys.active("due"), "d")
    redis_client.zadd(keys.lease("later"), {"e": now_s})
    redis_client.set(keys.paused("due"), 1)
    queues = ["due", "later", "empty"]
    async with duties_of(redis_url, OLD) as (broker, _):
        asked = await broker.look_for_due(queues, occupied=["due", "later", "empty"], now=now)
        assert asked == {"due": Waiting.DUE, "later": Waiting.LATER, "empty": Waiting.NONE}
        asked = await broker.look_for_due(queues, occupied=[], now=now)
        assert asked == {"due": Waiting.DUE, "later": Waiting.DUE, "empty": Waiting.NONE}
        assert await broker.look_for_active(queues) == {"due": True, "later": True, "empty": False}
        assert await broker.look_for_expired(queues, now=now) == {"due": True, "later": False, "empty": False}
        assert await broker.look_for_pauses(queues) == {"due": True, "later": False, "empty": False}


@pytest.mark.one_server
async def test_a_servers_word_is_for_its_own_database(redis_url: str, redis_client: redis.Redis) -> None:
    other = redis_url.replace("/0", "/1")
    async with serving(App(), redis_url, timing=BRISK) as one, serving(App(), other, timing=BRISK) as two:
        await until(lambda: one._parts.duties.hears and two._parts.duties.hears)
        await asyncio.sleep(0.3)
        assert one._parts.duties.held() == two._parts.duties.held() == ["default"]


async def test_servers_of_a_user_who_may_not_use_the_channel_each_do_the_duties() -> None:
    rules = ("reset", "on", "nopass", "~*", "+@all", "resetchannels", f"&{keys.CANCEL_CHANNEL}")
    app = App()
    app.task("n")(lambda: None)
    with RedisServer() as server, redis.Redis(port=server.port) as client:
        client.execute_command("ACL", "SETUSER", "worker", *rules)
        settings = RedisSettings(url=server.url, username="worker", password="any")
        client.set(keys.paused("default"), 1)
        async with (
            Client(server.url) as producer,
            serving(app, settings, timing=BRISK) as one,
            serving(app, settings, timing=BRISK) as two,
        ):
            await until(lambda: client.pubsub_numsub(keys.CANCEL_CHANNEL)[0][1] == 2)
            await asyncio.sleep(0.3)
            assert one._parts.duties.held() == two._parts.duties.held() == ["default"]
            task_id = (await producer.enqueue("n")).message.id
            await asyncio.sleep(0.3)
            assert state(client, task_id) == "pending"
            client.delete(keys.paused("default"))
            await until(lambda: state(client, task_id) is None)


# -- pauses ------------------------------------------------------------------------------------------------------------


async def test_the_end_of_a_pause_is_told_by_the_inspector(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("n")(lambda: None)
    timing = quick(poll=NEVER, paused=NEVER)
    async with (
        Client(redis_url) as producer,
        Inspector(redis_url) as inspector,
        serving(app, redis_url, timing=timing),
        serving(app, redis_url, timing=timing),
    ):
        await until(lambda: redis_client.pubsub_numsub(keys.notices(0))[0][1] == 2)
        await inspector.pause("default")
        task_id = (await producer.enqueue("n")).message.id
        await until(lambda: redis_client.info("clients")["blocked_clients"] == 0, "both to notice the pause")
        assert state(redis_client, task_id) == "pending"
        await inspector.unpause("default")
        await until(lambda: state(redis_client, task_id) is None)


async def test_the_end_of_a_pause_that_nobody_tells_of_is_found_for_all(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """As Asynq's tools end it: they only delete the key."""
    app = App()
    app.task("n")(lambda: None)
    redis_client.set(keys.paused("default"), 1)
    async with Client(redis_url) as producer:
        task_id = (await producer.enqueue("n")).message.id
        async with (
            serving(App(), redis_url, timing=quick(paused=NEVER, announce=timedelta(milliseconds=50)), concurrency=1),
            serving(app, redis_url, timing=quick(paused=NEVER, poll=NEVER)),
        ):
            await until(lambda: redis_client.pubsub_numsub(keys.notices(0))[0][1] == 2)
            await asyncio.sleep(0.3)
            assert state(redis_client, task_id) == "pending"
            redis_client.delete(keys.paused("default"))
            # the first server may take it, and has no handler; then the retry waits
            await until(lambda: state(redis_client, task_id) in (None, "retry"))


async def test_only_the_one_that_does_the_duties_asks_whether_a_queue_is_still_paused(
    redis_url: str, redis_client: redis.Redis
) -> None:
    resumed: list[str] = []
    held = ["a"]
    broker = RedisBroker.connect(RedisSettings(url=redis_url))
    pauses = Pauses(broker, held=lambda: held)
    pauses.on_resumed = resumed.append
    for queue in ("a", "b"):
        redis_client.set(keys.paused(queue), 1)
        pauses.heard(QueuePaused(queue=queue))
    await pauses.tick()
    redis_client.delete(keys.paused("a"), keys.paused("b"))
    assert resumed == []
    await pauses.tick()
    assert resumed == ["a"]
    pauses.heard(QueueResumed(queue="b"))
    assert resumed == ["a", "b"]
    pauses.heard(QueuePaused(queue="a"))
    pauses.missed()
    assert resumed == ["a", "b", "a"]
    await broker.aclose()


@pytest.mark.parametrize("known", [False, True])
async def test_a_pause_is_told_of_once(redis_url: str, redis_client: redis.Redis, known: bool) -> None:
    broker = RedisBroker.connect(RedisSettings(url=redis_url))
    pauses = Pauses(broker, held=list)
    if known:
        pauses.heard(QueuePaused(queue="a"))
    with redis_client.pubsub() as heard:
        heard.subscribe(keys.notices(0))
        heard.get_message(timeout=10)
        await pauses.found("a")
        await pauses.found("a")
        messages = [heard.get_message(timeout=0.2) for _ in range(2)]
    assert [message["data"] for message in messages if message] == ([] if known else [b'{"paused":"a"}'])
    await broker.aclose()


async def test_servers_of_a_user_who_may_hear_and_not_tell_find_the_end_of_a_pause_themselves() -> None:
    app = App()
    app.task("n")(lambda: None)
    with RedisServer() as server, redis.Redis(port=server.port) as client:
        client.execute_command("ACL", "SETUSER", "worker", "on", "nopass", "~*", "&*", "+@all", "-publish")
        settings = RedisSettings(url=server.url, username="worker", password="any")
        client.set(keys.paused("default"), 1)
        timing = quick(paused=NEVER)
        async with (
            Client(server.url) as producer,
            serving(app, settings, timing=timing) as one,
            serving(app, settings, timing=timing) as two,
        ):
            await until(lambda: client.pubsub_numsub(keys.notices(0))[0][1] == 2)
            task_id = (await producer.enqueue("n")).message.id
            await asyncio.sleep(0.5)
            assert state(client, task_id) == "pending"
            assert one._parts.duties.held() == two._parts.duties.held() == ["default"]
            client.delete(keys.paused("default"))
            await until(lambda: state(client, task_id) is None)


async def test_idle_servers_run_no_scripts(redis_url: str, redis_client: redis.Redis) -> None:
    timing = quick(park=timedelta(seconds=20), announce=timedelta(milliseconds=50))
    async with serving(App(), redis_url, timing=timing) as old, serving(App(), redis_url, timing=timing) as young:
        await until(lambda: redis_client.info("clients")["blocked_clients"] == 2, "both parking")
        await until(lambda: old._parts.duties.held() == ["default"] and young._parts.duties.held() == [])
        await asyncio.sleep(0.3)
        redis_client.config_resetstat()
        await asyncio.sleep(1)  # some ten turns of each duty
        assert not [name for name in redis_client.info("commandstats") if "eval" in name]
