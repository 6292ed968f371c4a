"""The poll loop of a Broker, on a real Redis.

Proved: what counts as news; an outage is a reading that keeps the last good one, and ends by itself; a new password is
used; a change of what to read is polled at once; the loop ends with its Broker. Left out: what a plan makes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from handlers.waiting import until
from longshore import Client, Inspector
from longshore.testing import RedisServer
from longshore_operator.api.broker import Credential, SecretKeyRef
from longshore_operator.errors import ApiUnavailable
from longshore_operator.observe import redis as polling
from longshore_operator.observe.redis import News, Pollers, Target
from longshore_operator.observe.secrets import Credentials
from longshore_operator.plan.address import RedisAccess
from longshore_operator.plan.observed import SecretReading

PLACE = ("n", "default")


PASSWORD = {Credential.PASSWORD: SecretKeyRef(name="redis")}


def target(url: str, *, timeout_s: float = 1, **changes: object) -> Target:
    secrets = changes.pop("secrets", {})
    values: dict[str, object] = {
        "access": RedisAccess(url=url, timeout=timedelta(seconds=timeout_s), secrets=secrets),  # type: ignore[arg-type]
        "interval": timedelta(milliseconds=50),
        "scope": "n/default",
        "queues": frozenset({"mail"}),
    }
    return Target(**{**values, **changes})  # type: ignore[arg-type]


def _missing(problem: str) -> Credentials:
    return Credentials(reading=SecretReading(found=False, problem=problem))


def _password(value: str, *, version: str) -> Credentials:
    return Credentials(reading=SecretReading(found=True, version=version), values={Credential.PASSWORD: value})


class Desk:
    """Pollers, the news they told, and the Secret they read."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self.secrets: Credentials | ApiUnavailable = Credentials(
            reading=SecretReading(found=False, problem="no Secret")
        )
        self.reads = 0
        self.pollers = Pollers(
            read_secrets=self._read,
            on_news=lambda _place, news: self.news.append(news),
            clock=asyncio.get_running_loop().time,
        )

    async def _read(self, _namespace: str, _refs: object) -> Credentials:
        self.reads += 1
        if isinstance(self.secrets, ApiUnavailable):
            raise self.secrets
        return self.secrets


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.pollers.aclose()


async def test_news_names_only_what_changed(desk: Desk, redis_url: str) -> None:
    poller = desk.pollers.aim(PLACE, target(redis_url, queues=frozenset({"mail", "other"})))
    await until(lambda: poller.reading.snapshot)
    assert desk.news == [News(everything=True)]
    await asyncio.sleep(0.3)
    assert desk.news == [News(everything=True)]
    async with Client(redis_url) as client:
        await client.enqueue("t", queue="mail")
    await until(lambda: len(desk.news) == 2)
    assert desk.news[1] == News(queues=frozenset({"mail"}))
    assert poller.reading.snapshot is not None
    assert poller.reading.snapshot.queues["mail"].pending == 1
    # The Broker counts the queues that are read.
    desk.pollers.aim(PLACE, target(redis_url, queues=frozenset({"mail"})))
    await until(lambda: len(desk.news) == 3)
    assert desk.news[2] == News(queues=frozenset({"other"}), other_queues=True)


async def test_many_changes_of_what_to_read_are_few_polls(desk: Desk, redis_url: str) -> None:
    clock = asyncio.get_running_loop().time
    began, aims = clock(), 0
    poller = desk.pollers.aim(PLACE, target(redis_url, interval=timedelta(minutes=1)))
    while clock() < began + 1:
        aims += 1
        names = frozenset(f"q{number}" for number in range(aims))
        poller.aim(target(redis_url, interval=timedelta(minutes=1), queues=names))
        await asyncio.sleep(0.01)
    await until(lambda: poller.reading.snapshot and poller.reading.snapshot.queues.keys() == names)
    polls = poller.durations.buckets[-1][1]
    assert 2 <= polls <= (clock() - began) / 0.2 + 1
    assert polls < aims


async def test_an_outage_keeps_the_last_good_reading_and_ends_by_itself(desk: Desk) -> None:
    with RedisServer() as server:
        poller = desk.pollers.aim(PLACE, target(server.url))
        await until(lambda: poller.reading.reachable)
        good = poller.reading.snapshot
        server.stop()
        await until(lambda: poller.reading.failures >= 2)
        assert not poller.reading.reachable
        assert poller.reading.snapshot is good
        assert poller.reading.error
        assert poller.reading.failing_since is not None
        server.start()
        await until(lambda: poller.reading.reachable)
        assert poller.reading.failures == 0
        assert poller.reading.failing_since is None
        assert desk.pollers.problems() == []


async def test_a_redis_that_answers_nothing_is_an_outage_too(desk: Desk) -> None:
    with RedisServer() as server:
        poller = desk.pollers.aim(PLACE, target(server.url, timeout_s=0.2))
        await until(lambda: poller.reading.reachable)
        server.freeze()
        await until(lambda: poller.reading.error)
        server.thaw()
        await until(lambda: poller.reading.reachable)


async def test_a_missing_secret_is_the_reason_and_a_rotated_one_is_used(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "SECRET_EVERY", timedelta(milliseconds=100))
    monkeypatch.setattr(polling, "MISSING_SECRET_EVERY", timedelta(milliseconds=50))
    with RedisServer("--requirepass", "first") as server:
        poller = desk.pollers.aim(PLACE, target(server.url, secrets=PASSWORD))
        await until(lambda: poller.reading.error)
        assert poller.reading.error == "no Secret"
        assert poller.secret == SecretReading(found=False, problem="no Secret")

        desk.secrets = Credentials(
            reading=SecretReading(found=True, version="1"), values={Credential.PASSWORD: "first"}
        )
        await until(lambda: poller.reading.reachable)
        assert poller.secret == SecretReading(found=True, version="1")

        async with Inspector(f"redis://:first@127.0.0.1:{server.port}/0") as inspector:
            await inspector._redis.run(
                [("CONFIG", "SET", "requirepass", "second"), ("CLIENT", "KILL", "TYPE", "NORMAL")]
            )
        await until(lambda: poller.reading.error)
        # The API server's silence is not a missing Secret: what is known stays.
        desk.secrets = ApiUnavailable("down", request="GET")
        reads = desk.reads
        await until(lambda: desk.reads > reads + 1)
        assert poller.secret == SecretReading(found=True, version="1")

        desk.secrets = Credentials(
            reading=SecretReading(found=True, version="2"), values={Credential.PASSWORD: "second"}
        )
        await until(lambda: poller.reading.reachable)
        assert poller.secret == SecretReading(found=True, version="2")
        assert "second" not in repr(desk.secrets)


async def test_a_changed_secret_is_used_in_time_however_long_the_interval(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "SECRET_EVERY", timedelta(milliseconds=50))
    desk.secrets = _password("first", version="1")
    with RedisServer("--requirepass", "first") as server:
        poller = desk.pollers.aim(PLACE, target(server.url, interval=timedelta(minutes=5), secrets=PASSWORD))
        await until(lambda: poller.reading.reachable)
        reads = desk.reads
        await until(lambda: desk.reads > reads + 2)
        assert poller.durations.buckets[-1][1] == 1  # looking for a change does not poll

        desk.news.clear()
        desk.secrets = _password("second", version="2")
        await until(lambda: poller.secret == SecretReading(found=True, version="2"))
        await until(lambda: poller.reading.error)
        assert News(everything=True) in desk.news


async def test_another_queue_is_read_at_once_however_long_the_interval(desk: Desk, redis_url: str) -> None:
    slow = target(redis_url, interval=timedelta(minutes=5))
    poller = desk.pollers.aim(PLACE, slow)
    await until(lambda: poller.reading.snapshot)
    assert desk.pollers.aim(PLACE, replace(slow, queues=frozenset({"mail", "new"}))) is poller
    await until(lambda: poller.reading.snapshot and "new" in poller.reading.snapshot.queues)
    before = poller.reading.read_at
    poller.hurry()
    await until(lambda: poller.reading.read_at != before)


async def test_what_was_read_of_one_redis_is_forgotten_with_the_move_to_another(desk: Desk, redis_url: str) -> None:
    poller = desk.pollers.aim(PLACE, target(redis_url))
    await until(lambda: poller.reading.snapshot)
    with RedisServer() as server:
        desk.pollers.aim(PLACE, target(server.url))
        assert poller.reading.snapshot is None
        await until(lambda: poller.reading.snapshot)


async def test_the_loop_ends_with_its_broker(desk: Desk, redis_url: str) -> None:
    desk.pollers.aim(PLACE, target(redis_url))
    await until(lambda: desk.news)
    desk.pollers.drop(PLACE)
    assert desk.pollers.get(PLACE) is None
    assert desk.pollers.problems() == []
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("poll ")])


async def test_a_stuck_loop_is_told_to_the_liveness_probe(redis_url: str) -> None:
    now = [0.0]
    pollers = Pollers(
        read_secrets=lambda *_: asyncio.sleep(3600),  # type: ignore[arg-type, return-value]
        on_news=lambda *_: None,
        clock=lambda: now[0],
    )
    try:
        pollers.aim(PLACE, target(redis_url, secrets=PASSWORD))
        await asyncio.sleep(0.05)
        assert pollers.problems() == []
        now[0] = 100.0
        assert pollers.problems() == ["the poll loop of Broker n/default is stuck for 100 s"]
    finally:
        await pollers.aclose()
