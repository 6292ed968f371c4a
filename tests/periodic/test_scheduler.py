"""Schedulers in this process on a real Redis: ticks, changes of entries, bad ones, outages, standing by, what is shown.

Killed and frozen processes are in test_scheduler_processes.py.
"""

from __future__ import annotations

import asyncio
import base64
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis

from go_peer import GoPeer
from longshore import App, Context, RetryLater
from longshore.broker.base import RedisSettings
from longshore.errors import InvalidOption
from longshore.inspector import Inspector
from longshore.policy.jitter import Jitter
from longshore.policy.periodic import Schedule
from longshore.protocol import codec, keys
from longshore.protocol.messages import SchedulerEntry
from longshore.protocol.periodic import CatchUp, Overlap, decode_lease, entry_id, scheduler_entry_id
from longshore.scheduler import Scheduler, SchedulerTiming
from longshore.testing import RedisServer
from periodic.harness import QUICK, SCOPE, declare, lateness_s, new_entry, record, ticks_enqueued, until
from runtime.harness import serving


def holder(client: redis.Redis) -> str | None:
    value = client.get(keys.scheduler_lease(SCOPE))
    return decode_lease(value)[0] if value else None


def errors(client: redis.Redis) -> dict[str, str]:
    found = client.hgetall(keys.periodic_errors(SCOPE))
    return {name.decode(): reason.decode() for name, reason in found.items()}


def assert_every_second_once(ticks: list[int]) -> None:
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))


async def test_each_tick_becomes_one_task_in_order(redis_url: str, redis_client: redis.Redis) -> None:
    entry = new_entry("@every 1s")
    declare(redis_client, "daily", entry)
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 3)
    ticks = ticks_enqueued(redis_client, "daily")
    assert_every_second_once(ticks)
    assert ticks[0] == int(entry.since.timestamp()) + 1
    assert record(redis_client, "daily") == {
        "last_tick": str(ticks[-1]),
        "last_task_id": f"periodic:{entry_id(SCOPE, 'daily')}:{ticks[-1]}",
        "enqueued": str(len(ticks)),
    }


async def test_of_two_schedulers_one_is_active_and_each_tick_runs_once(
    redis_url: str, redis_client: redis.Redis
) -> None:
    declare(redis_client, "daily", new_entry("@every 1s"))
    first = Scheduler(SCOPE, redis=redis_url, timing=QUICK)
    second = Scheduler(SCOPE, redis=redis_url, timing=QUICK)
    async with second:
        async with first:
            await until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 2)
            before = holder(redis_client)
            assert before in (first.scheduler_id, second.scheduler_id)
        # One of the two has stopped; whichever was active, the other carries on.
        handed_over_at = len(ticks_enqueued(redis_client, "daily"))
        await until(lambda: len(ticks_enqueued(redis_client, "daily")) >= handed_over_at + 2)
        assert holder(redis_client) == second.scheduler_id
    ticks = ticks_enqueued(redis_client, "daily")
    assert_every_second_once(ticks)
    assert record(redis_client, "daily")["enqueued"] == str(len(ticks))


async def test_even_two_that_believe_to_be_active_run_each_tick_once(redis_url: str, redis_client: redis.Redis) -> None:
    declare(redis_client, "daily", new_entry("@every 1s"))
    # A renewal once a minute: neither notices that the lease, deleted below, has become the other's.
    careless = SchedulerTiming(renewal=timedelta(minutes=1), standby=timedelta(milliseconds=50))
    async with Scheduler(SCOPE, redis=redis_url, timing=careless), Scheduler(SCOPE, redis=redis_url, timing=careless):
        await until(lambda: holder(redis_client) is not None)
        before = holder(redis_client)
        redis_client.delete(keys.scheduler_lease(SCOPE))
        await until(lambda: holder(redis_client) not in (None, before))
        await until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 4)
    ticks = ticks_enqueued(redis_client, "daily")
    assert_every_second_once(ticks)
    assert record(redis_client, "daily")["enqueued"] == str(len(ticks))
    assert "missed" not in record(redis_client, "daily")


async def test_ticks_are_skipped_while_their_task_runs_fails_and_is_tried_again(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, release, started = App(), asyncio.Event(), list[str]()

    @app.task("report:daily")
    async def report(ctx: Context) -> None:
        started.append(ctx.task_id)
        if len(started) == 1:
            raise RetryLater("not yet", after=2.5)
        await release.wait()

    def skipped() -> int:
        return int(record(redis_client, "daily").get("skipped", 0))

    declare(redis_client, "daily", new_entry("@every 1s", overlap=Overlap.FORBID))
    async with serving(app, redis_url), Scheduler(SCOPE, redis=redis_url):
        await until(lambda: len(started) == 1)
        await until(lambda: skipped() >= 2)  # it waits for another attempt
        await until(lambda: len(started) == 2)
        ticks_so_far = skipped()
        await until(lambda: skipped() >= ticks_so_far + 2)  # it runs
        assert started[0] == started[1]
        assert record(redis_client, "daily")["enqueued"] == "1"
        release.set()
        await until(lambda: len(started) >= 4)
    assert len(set(started)) == len(started) - 1


async def test_ticks_come_after_their_delay_each_once(redis_url: str, redis_client: redis.Redis) -> None:
    since = datetime.now(UTC).replace(microsecond=0)
    declare(redis_client, "daily", new_entry("@every 3s", since=since, jitter=timedelta(seconds=2)))
    schedule, jitter = Schedule.parse("@every 3s"), Jitter(most_s=2, seed=entry_id(SCOPE, "daily"))
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 3)
    ticks = ticks_enqueued(redis_client, "daily")
    begin = int(since.timestamp())
    assert ticks[:3] == [begin + 3, begin + 6, begin + 9]
    for tick, late_s in zip(ticks, lateness_s(redis_client, "daily"), strict=True):
        enqueued = schedule.first_enqueued(datetime.fromtimestamp(tick - 1, UTC), since, jitter)
        assert enqueued is not None
        assert late_s >= enqueued.timestamp() - tick


async def test_a_clean_stop_leaves_neither_lease_nor_entries(redis_url: str, redis_client: redis.Redis) -> None:
    declare(redis_client, "daily", new_entry())
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: redis_client.zcard(keys.SCHEDULERS) == 1)
    assert holder(redis_client) is None
    assert redis_client.zcard(keys.SCHEDULERS) == 0
    assert redis_client.keys("asynq:schedulers:*") == []


async def test_entries_may_come_change_and_go_while_it_runs(redis_url: str, redis_client: redis.Redis) -> None:
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: holder(redis_client) is not None)
        declare(redis_client, "daily", new_entry("@every 1s", queue="first"))
        await until(lambda: len(ticks_enqueued(redis_client, "daily", "first")) >= 2)
        declare(redis_client, "daily", new_entry("@every 1s", queue="second"))
        await until(lambda: len(ticks_enqueued(redis_client, "daily", "second")) >= 2)
        declare(redis_client, "daily", new_entry("@every 1s", queue="second", suspend=True))
        declare(redis_client, "hourly", new_entry("@every 1s", queue="third"))
        await until(lambda: len(ticks_enqueued(redis_client, "hourly", "third")) >= 1)
        suspended_at = len(ticks_enqueued(redis_client, "daily", "second"))
        redis_client.hdel(keys.periodic_entries(SCOPE), "hourly")
        declare(redis_client, "last", new_entry("@every 1s", queue="fourth"))
        await until(lambda: len(ticks_enqueued(redis_client, "last", "fourth")) >= 1)
        gone_at = len(ticks_enqueued(redis_client, "hourly", "third"))
        await until(lambda: len(ticks_enqueued(redis_client, "last", "fourth")) >= 3)
    assert len(ticks_enqueued(redis_client, "daily", "second")) == suspended_at
    assert len(ticks_enqueued(redis_client, "hourly", "third")) == gone_at


async def test_an_unusable_entry_is_reported_and_stops_no_other(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.hset(keys.periodic_errors(SCOPE), "of a predecessor", "long mended")
    declare(redis_client, "bad", new_entry("every day"))
    declare(redis_client, "garbage", b"\xff\x00")
    declare(redis_client, "good", new_entry("@every 1s"))
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: len(ticks_enqueued(redis_client, "good")) >= 1)
        await until(lambda: set(errors(redis_client)) == {"bad", "garbage"})
        assert errors(redis_client)["bad"].startswith("schedule: expected 5 fields")
        declare(redis_client, "bad", new_entry("@every 1s"))
        await until(lambda: len(ticks_enqueued(redis_client, "bad")) >= 1)
        await until(lambda: set(errors(redis_client)) == {"garbage"})
        redis_client.hdel(keys.periodic_entries(SCOPE), "garbage")
        await until(lambda: errors(redis_client) == {})


async def test_an_entry_that_goes_and_comes_back_runs_no_tick_again(redis_url: str, redis_client: redis.Redis) -> None:
    entry = new_entry("@every 1s")
    # what a clock that is behind would give it when it is made anew: a beginning before its last tick
    async with Inspector(redis_url) as inspector, Scheduler(SCOPE, redis=redis_url, timing=QUICK):
        for ticks_so_far in (2, 4):
            await inspector.write_periodic(SCOPE, {"daily": entry})
            await until(lambda so_far=ticks_so_far: len(ticks_enqueued(redis_client, "daily")) >= so_far)  # type: ignore[misc]
            await inspector.write_periodic(SCOPE, {}, remove=["daily"])
            await until(lambda: redis_client.ttl(keys.tick_record("default", entry_id(SCOPE, "daily"))) > 0)
            redis_client.delete(*redis_client.keys("asynq:{default}:t:*"))  # the tasks are done: no id is in the way
            await asyncio.sleep(1.5)
    assert_every_second_once(ticks_enqueued(redis_client, "daily"))


async def test_a_history_of_another_type_hides_no_entry(redis_url: str, redis_client: redis.Redis) -> None:
    declare(redis_client, "daily", new_entry("@every 1s"))
    redis_client.set(keys.scheduler_history(scheduler_entry_id(entry_id(SCOPE, "daily"))), "text")
    async with Scheduler(SCOPE, redis=redis_url, timing=SchedulerTiming(publish=timedelta(0))) as scheduler:
        key = keys.scheduler(scheduler.scheduler_id)
        # published again after its ticks, of which there is one at every look
        await until(lambda: (data := redis_client.lindex(key, 0)) and codec.decode_scheduler_entry(data).previous_at)


async def test_an_unreadable_record_is_reported_and_stops_no_other(redis_url: str, redis_client: redis.Redis) -> None:
    last_year = str(int(datetime(9999, 1, 1, tzinfo=UTC).timestamp()))
    redis_client.hset(keys.tick_record("default", entry_id(SCOPE, "bad")), "last_tick", last_year)
    declare(redis_client, "bad", new_entry("30 4 * * *"))
    declare(redis_client, "good", new_entry("@every 1s"))
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: len(ticks_enqueued(redis_client, "good")) >= 2)
        await until(lambda: "last_tick: not a time" in errors(redis_client).get("bad", ""))


async def test_a_queue_that_cannot_be_written_is_reported_and_its_ticks_follow_once_it_can(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set(keys.pending("blocked"), "text")
    declare(redis_client, "stuck", new_entry("@every 1s", queue="blocked"))
    declare(redis_client, "good", new_entry("@every 1s"))
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: set(errors(redis_client)) == {"stuck"})
        assert "asynq:{blocked}:pending" in errors(redis_client)["stuck"]
        await until(lambda: len(ticks_enqueued(redis_client, "good")) >= 2)
        redis_client.delete(keys.pending("blocked"))
        await until(lambda: len(ticks_enqueued(redis_client, "stuck", "blocked")) >= 3)
        await until(lambda: errors(redis_client) == {})
    ticks = ticks_enqueued(redis_client, "stuck", "blocked")
    assert_every_second_once(ticks)
    assert record(redis_client, "stuck", "blocked")["enqueued"] == str(len(ticks))


async def test_entries_that_are_no_hash_do_not_end_it(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.set(keys.periodic_entries(SCOPE), "text")
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: holder(redis_client) is not None)
        redis_client.delete(keys.periodic_entries(SCOPE))
        declare(redis_client, "daily", new_entry("@every 1s"))
        await until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 1)


async def test_ticks_missed_while_no_scheduler_ran_are_made_up_or_counted(
    redis_url: str, redis_client: redis.Redis
) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    for catch_up in CatchUp:
        declare(
            redis_client,
            catch_up.value,
            new_entry("@every 20s", since=hour_ago, catch_up=catch_up, deadline=100, queue=catch_up.value),
        )
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: all("last_tick" in record(redis_client, c.value, c.value) for c in CatchUp))
    for catch_up, fewest, most in ((CatchUp.NONE, 0, 1), (CatchUp.LATEST, 1, 1), (CatchUp.ALL, 5, 6)):
        ticks = ticks_enqueued(redis_client, catch_up.value, catch_up.value)
        kept = record(redis_client, catch_up.value, catch_up.value)
        # 180 ticks lie within the hour, and at most one more came while the test ran.
        assert fewest <= len(ticks) <= most + 1, catch_up
        assert 180 <= len(ticks) + int(kept["missed"]) <= 181, catch_up


async def test_a_tick_is_skipped_while_the_last_ones_task_holds_the_unique_lock(
    redis_url: str, redis_client: redis.Redis
) -> None:
    declare(redis_client, "daily", new_entry("@every 1s", unique_for=timedelta(hours=1)))
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: int(record(redis_client, "daily").get("skipped", 0)) >= 2)
    assert len(ticks_enqueued(redis_client, "daily")) == 1
    assert record(redis_client, "daily")["enqueued"] == "1"


# -- outages -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that the test may freeze and stop."""
    with RedisServer() as server:
        yield server


async def test_ticks_of_an_outage_follow_when_redis_answers_again(own_redis: RedisServer) -> None:
    with redis.Redis(port=own_redis.port) as client:
        declare(client, "daily", new_entry("@every 1s"))
        settings = RedisSettings(url=own_redis.url, timeout=timedelta(seconds=0.5))
        async with Scheduler(SCOPE, redis=settings, timing=QUICK):
            await until(lambda: len(ticks_enqueued(client, "daily")) >= 1)
            own_redis.freeze()
            await asyncio.sleep(3)
            own_redis.thaw()
            thawed_at = int(datetime.now(UTC).timestamp())
            await until(lambda: ticks_enqueued(client, "daily")[-1] > thawed_at)
        ticks = ticks_enqueued(client, "daily")
        assert_every_second_once(ticks)
        assert record(client, "daily")["enqueued"] == str(len(ticks))


async def test_it_goes_on_with_a_redis_that_came_back_empty(own_redis: RedisServer) -> None:
    with redis.Redis(port=own_redis.port) as client:
        declare(client, "daily", new_entry("@every 1s"))
        async with Scheduler(SCOPE, redis=own_redis.url, timing=QUICK) as scheduler:
            await until(lambda: len(ticks_enqueued(client, "daily")) >= 1)
            own_redis.stop()
            await asyncio.sleep(1.5)
            own_redis.start()
            declare(client, "daily", new_entry("@every 1s"))
            await until(lambda: len(ticks_enqueued(client, "daily")) >= 2)
            assert holder(client) == scheduler.scheduler_id
        assert_every_second_once(ticks_enqueued(client, "daily"))


async def test_it_starts_while_redis_is_away(own_redis: RedisServer) -> None:
    own_redis.stop()
    async with Scheduler(SCOPE, redis=own_redis.url, timing=QUICK, health_address=("127.0.0.1", 0)) as scheduler:
        assert await probe(scheduler, "/readyz") == (503, "Redis was not reached yet\n")
        assert await probe(scheduler, "/livez") == (200, "ok\n")
        own_redis.start()
        with redis.Redis(port=own_redis.port) as client:
            declare(client, "daily", new_entry("@every 1s"))
            await until(lambda: len(ticks_enqueued(client, "daily")) >= 1)
        assert await probe(scheduler, "/readyz") == (200, "active\n")


async def probe(scheduler: Scheduler, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{scheduler.health_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


async def test_a_standby_is_ready_too(redis_url: str, redis_client: redis.Redis) -> None:
    async with Scheduler(SCOPE, redis=redis_url):
        await until(lambda: holder(redis_client) is not None)
        async with Scheduler(SCOPE, redis=redis_url, health_address=("127.0.0.1", 0)) as standby:
            answers: list[tuple[int, str]] = []
            while (200, "standby\n") not in answers:
                answers.append(await probe(standby, "/readyz"))
                assert len(answers) < 1000


# -- what is shown -----------------------------------------------------------------------------------------------------


async def test_entries_are_published_in_asynqs_form(redis_url: str, redis_client: redis.Redis) -> None:
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    declare(redis_client, "daily", new_entry("30 4 * * *", zone="Europe/Berlin", since=since, max_retry=3))
    declare(redis_client, "never", new_entry("0 0 30 2 *", since=since, payload=b""))
    async with Scheduler(SCOPE, redis=redis_url) as scheduler:
        key = keys.scheduler(scheduler.scheduler_id)
        await until(lambda: redis_client.llen(key) == 2)
        published = {entry.spec: entry for entry in map(codec.decode_scheduler_entry, redis_client.lrange(key, 0, -1))}
        lifetime = redis_client.ttl(key)
    assert 0 < lifetime <= 15
    next_at = published["CRON_TZ=Europe/Berlin 30 4 * * *"].next_at
    assert next_at is not None
    assert next_at > since
    assert published == {
        "CRON_TZ=Europe/Berlin 30 4 * * *": SchedulerEntry(
            id=scheduler_entry_id(entry_id(SCOPE, "daily")),
            spec="CRON_TZ=Europe/Berlin 30 4 * * *",
            task_type="report:daily",
            payload=b'{"day":1}',
            options=('Queue("default")', "MaxRetry(3)"),
            next_at=next_at,
            previous_at=None,
        ),
        "0 0 30 2 *": SchedulerEntry(
            id=scheduler_entry_id(entry_id(SCOPE, "never")),
            spec="0 0 30 2 *",
            task_type="report:daily",
            payload=b"",
            options=('Queue("default")',),
            next_at=None,
            previous_at=None,
        ),
    }


@pytest.mark.go
async def test_asynqs_own_inspector_sees_entries_and_their_ticks(
    redis_url: str, redis_client: redis.Redis, redis_server: RedisServer, go_peer: GoPeer
) -> None:
    declare(redis_client, "daily", new_entry("@every 1s", max_retry=3))
    entry = scheduler_entry_id(entry_id(SCOPE, "daily"))
    async with Scheduler(SCOPE, redis=redis_url, timing=SchedulerTiming(publish=timedelta(milliseconds=100))):
        await until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 2)
        await until(lambda: redis_client.zcard(keys.scheduler_history(entry)) >= 2)
        view = await asyncio.to_thread(go_peer.inspect, redis_server.port, "default", entry=entry)
    [shown] = view["entries"]
    assert datetime.fromisoformat(shown.pop("Next")) - datetime.fromisoformat(shown.pop("Prev")) == timedelta(seconds=1)
    assert shown == {
        "ID": entry,
        "Spec": "@every 1s",
        "Type": "report:daily",
        "Payload": base64.b64encode(b'{"day":1}').decode(),
        "Opts": ['Queue("default")', "MaxRetry(3)"],
    }
    shown_ticks = [event["TaskID"] for event in view["events"]]
    assert shown_ticks
    assert set(shown_ticks) <= {
        f"periodic:{entry_id(SCOPE, 'daily')}:{tick}" for tick in ticks_enqueued(redis_client, "daily")
    }


# -- misuse ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["", " ", "a b", "a/b\n"])
def test_a_scope_with_blanks_is_refused(scope: str) -> None:
    with pytest.raises(InvalidOption, match="scope"):
        Scheduler(scope)


async def test_a_scheduler_runs_once(redis_url: str) -> None:
    async with Scheduler(SCOPE, redis=redis_url) as scheduler:
        with pytest.raises(InvalidOption, match="runs once"):
            await scheduler.start()


async def test_a_health_address_in_use_is_refused(redis_url: str) -> None:
    async with Scheduler(SCOPE, redis=redis_url, health_address=("127.0.0.1", 0)) as scheduler:
        port = scheduler.health_port
        assert port is not None
        with pytest.raises(InvalidOption, match="cannot listen on 127"):
            await Scheduler(SCOPE, redis=redis_url, health_address=("127.0.0.1", port)).start()
