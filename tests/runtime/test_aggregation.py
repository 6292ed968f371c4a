"""A server that aggregates: when, what becomes of the tasks, and that nothing is lost or doubled when something fails.

What each step does to Redis is in tests/scripts/test_groups.py, what Go peers make of it in tests/interop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import redis

from longshore import (
    App,
    BrokerUnavailable,
    Client,
    GroupedTask,
    RedisSettings,
    RevokeTask,
    Server,
    SkipRetry,
    Task,
    TaskInfo,
    TaskState,
)
from longshore.broker.groups_base import FinishResult, GroupStore
from longshore.broker.redis_broker import RedisBroker
from longshore.producer.middleware import EnqueueNext
from longshore.protocol import codec, keys
from longshore.testing import RedisServer, new_message, queue_content, seed_keyspace
from runtime.harness import PATIENCE_S, containers, message, quick, serving, state, until


class Collector:
    """An application whose "merged" tasks are collected."""

    def __init__(self) -> None:
        self.app = App()
        self.given: list[tuple[str, list[Any]]] = []  # what the aggregator was given: group, payloads
        self.ran: list[Any] = []  # payloads of the merged tasks that ran
        self.fail: BaseException | None = None
        self.hold: asyncio.Event | None = None
        self.entered = asyncio.Event()

        @self.app.task("merged")
        async def merged(payload: Any) -> None:
            self.ran.append(payload)

        @self.app.aggregator("g")
        async def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
            self.given.append((group, [task.decoded() for task in tasks]))
            self.entered.set()
            if self.hold is not None:
                await self.hold.wait()
            if self.fail is not None:
                raise self.fail
            return Task("merged", [task.decoded() for task in tasks])


async def enqueue_all(client: Client, payloads: Sequence[Any], group: str = "g", **options: Any) -> list[str]:
    return [(await client.enqueue("part", payload, group=group, **options)).message.id for payload in payloads]


def groups(client: redis.Redis, queue: str = "default") -> set[bytes]:
    return client.smembers(keys.groups(queue))


def left_of_groups(client: redis.Redis) -> list[bytes]:
    """Keys that aggregation leaves when it is not finished."""
    return [*client.keys("asynq:*:g:*"), *client.keys("asynq:*:groups"), *client.keys("asynq:*:aggregation_sets")]


# -- when --------------------------------------------------------------------------------------------------------------


async def test_a_group_that_is_full_is_aggregated_at_once_in_the_order_of_joining(
    redis_url: str, redis_client: redis.Redis
) -> None:
    one = Collector()
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_size=3):
        await enqueue_all(client, [1, 2, 3])
        await until(lambda: one.ran)
        await until(lambda: not left_of_groups(redis_client))
    assert len(one.ran) == 1
    assert sorted(one.ran[0]) == [1, 2, 3]
    assert one.given == [("g", one.ran[0])]
    assert not redis_client.keys("asynq:{default}:t:*")


async def test_a_group_nobody_joins_any_more_is_aggregated_after_the_grace_period(redis_url: str) -> None:
    one = Collector()
    async with Client(redis_url) as client, serving(one.app, redis_url, group_grace_period=1):
        await enqueue_all(client, [1, 2])
        await until(lambda: one.ran)
    assert sorted(one.ran[0]) == [1, 2]


async def test_a_group_others_keep_joining_is_aggregated_after_the_longest_delay(
    redis_url: str, redis_client: redis.Redis
) -> None:
    one = Collector()
    waiting = queue_content(
        groups={"g": [(new_message(payload=b"1", group="g"), int(time.time()) - 100)]},
    )
    seed_keyspace(redis_client, waiting)
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_delay=100, group_grace_period=1000):
        await enqueue_all(client, [2])
        await until(lambda: one.ran)
    assert one.ran[0][0] == 1


async def test_more_tasks_than_the_largest_size_become_several_without_a_pause(
    redis_url: str, redis_client: redis.Redis
) -> None:
    one = Collector()
    async with Client(redis_url) as client:
        await client.enqueue_many([Task("part", n, group="g") for n in range(250)])
        async with serving(one.app, redis_url, group_max_size=100, timing=quick(aggregate=timedelta(hours=1))):
            await until(lambda: len(one.ran) == 2)
            assert redis_client.zcard(keys.group("default", "g")) == 50
    assert [len(payload) for payload in one.ran] == [100, 100]


async def test_groups_are_aggregated_each_for_itself_and_foreign_ones_left_alone(
    redis_url: str, redis_client: redis.Redis
) -> None:
    one = Collector()
    async with Client(redis_url) as client, serving(one.app, redis_url, queues={"a": 1, "b": 1}, group_max_size=2):
        await enqueue_all(client, [0, 0], group="other", queue="a")
        for queue, group, n in (("a", "g:1", 1), ("a", "g:2", 2), ("b", "g:1", 3)):
            await enqueue_all(client, [n, n], group=group, queue=queue)
        await until(lambda: len(one.ran) == 3)
    assert sorted(one.ran) == [[1, 1], [2, 2], [3, 3]]
    assert groups(redis_client, "a") == {b"other"}
    assert groups(redis_client, "b") == set()


async def test_a_thousand_ready_groups_are_aggregated(redis_url: str, redis_client: redis.Redis) -> None:
    one = Collector()
    async with Client(redis_url) as client:
        await client.enqueue_many([Task("part", n, group=f"g{n}") for n in range(1200)])
        async with serving(one.app, redis_url, group_max_size=1):
            await until(lambda: len(one.ran) == 1200)
    assert sorted(payload for [payload] in one.ran) == list(range(1200))
    assert not left_of_groups(redis_client)


async def test_several_servers_aggregate_each_task_once(redis_url: str, redis_client: redis.Redis) -> None:
    ones = [Collector() for _ in range(3)]
    async with (
        Client(redis_url) as client,
        serving(ones[0].app, redis_url, group_max_size=10),
        serving(ones[1].app, redis_url, group_max_size=10),
        serving(ones[2].app, redis_url, group_max_size=10),
    ):
        await client.enqueue_many([Task("part", n, group=f"g{n % 7}") for n in range(700)])
        await until(lambda: sum(len(payload) for one in ones for payload in one.ran) >= 700)
    assert sorted(n for one in ones for payload in one.ran for n in payload) == list(range(700))
    assert not left_of_groups(redis_client)


async def test_a_delayed_task_with_a_group_is_aggregated_when_it_is_due(redis_url: str) -> None:
    """D2: Asynq runs it by itself."""
    one = Collector()
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_size=2):
        await enqueue_all(client, [1], process_in=1)
        await enqueue_all(client, [2])
        await until(lambda: one.ran)
    assert sorted(one.ran[0]) == [1, 2]


async def test_a_plain_function_aggregates_in_a_thread_and_is_given_all_there_is_to_know(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    seen: list[Any] = []

    @app.aggregator()
    def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
        asyncio.run(asyncio.sleep(0))  # not possible in a thread with a running loop
        seen.append((group, *tasks))
        return Task("later", {"n": len(tasks)}, process_in=3600, max_retry=3, headers={"a": "b"}, retention=60)

    async with Client(redis_url) as client, serving(app, redis_url, queues={"low": 1}, group_max_size=1):
        [task_id] = await enqueue_all(client, [{"n": 1}], queue="low", headers={"trace": "1"})
        await until(lambda: redis_client.exists(keys.scheduled("low")))
    [(group, task)] = seen
    assert (group, task.type, task.payload, task.headers, task.id, task.queue) == (
        "g",
        "part",
        b'{"n":1}',
        {"trace": "1"},
        task_id,
        "low",
    )
    assert abs(task.joined_at.timestamp() - time.time()) < PATIENCE_S
    [merged_id] = redis_client.zrange(keys.scheduled("low"), 0, -1)
    merged = message(redis_client, merged_id.decode(), "low")
    assert (merged.type, merged.payload, merged.queue, merged.max_retry) == ("later", b'{"n":1}', "low", 3)
    assert (merged.headers, merged.retention) == ({"a": "b"}, timedelta(seconds=60))


async def test_the_defaults_of_its_type_hold_for_the_merged_task(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()

    @app.task("merged", max_retry=7, process_in=3600, queue="elsewhere")
    async def merged() -> None: ...

    @app.aggregator()
    async def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
        return Task("merged")

    async with Client(redis_url) as client, serving(app, redis_url, group_max_size=1):
        await enqueue_all(client, [1])
        [task_id] = await until(lambda: redis_client.zrange(keys.scheduled("default"), 0, -1))
    assert message(redis_client, task_id.decode()).max_retry == 7


async def test_locks_of_aggregated_tasks_are_free_again(redis_url: str) -> None:
    """D4: with Asynq the same task is refused until the lock has expired."""
    one = Collector()
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_size=1):
        for n in (1, 2):
            await enqueue_all(client, ["same"], unique_for=3600)
            await until(lambda n=n: len(one.ran) == n)


@dataclass
class Around:
    """Enqueue middleware that adds a header, and misbehaves as it is told."""

    misbehave: str = ""
    seen: list[tuple[str, Any, Any]] = field(default_factory=list)

    async def __call__(self, task: Task, call_next: EnqueueNext) -> TaskInfo:
        if self.misbehave == "before":
            raise RuntimeError("before")
        info = await call_next(task.with_options(headers={"trace": "1"}, queue="elsewhere"))
        self.seen.append((task.type, task.options["queue"], info.state))
        if self.misbehave == "after":
            raise RuntimeError("after")
        return info


async def test_the_merged_task_goes_through_the_enqueue_middleware_and_stays_in_its_queue(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, around = delaying()
    async with Client(redis_url) as client, serving(app, redis_url, group_max_size=1):
        await enqueue_all(client, [1])
        [task_id] = await until(lambda: redis_client.zrange(keys.scheduled("default"), 0, -1))
        await until(lambda: around.seen)
    assert message(redis_client, task_id.decode()).headers == {"trace": "1"}
    assert around.seen == [("merged", "default", TaskState.SCHEDULED)]


def delaying(misbehave: str = "") -> tuple[App, Around]:
    app = App()
    around = Around(misbehave)
    app.enqueue_middleware(around)

    @app.aggregator()
    async def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
        return Task("merged", process_in=3600)

    return app, around


async def test_middleware_that_fails_before_the_task_is_sent_keeps_the_groups_tasks(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app, around = delaying("before")
    async with Client(redis_url) as client, serving(app, redis_url, group_max_size=1):
        await enqueue_all(client, [1])
        await until(lambda: "aggregation_failed" in actions(caplog))
        assert not redis_client.exists(keys.scheduled("default"))
        around.misbehave = ""
        await until(lambda: redis_client.exists(keys.scheduled("default")))
    assert redis_client.zcard(keys.scheduled("default")) == 1


async def test_middleware_that_fails_after_the_task_was_sent_changes_nothing(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = delaying("after")
    async with Client(redis_url) as client, serving(app, redis_url, group_max_size=1):
        await enqueue_all(client, [1])
        await until(lambda: "middleware_failed" in actions(caplog))
    assert redis_client.zcard(keys.scheduled("default")) == 1
    assert not left_of_groups(redis_client)


async def test_middleware_that_does_not_hand_the_task_on_keeps_the_groups_tasks(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = delaying()

    @app.enqueue_middleware
    async def swallow(task: Task, call_next: EnqueueNext) -> Any:
        return None

    async with Client(redis_url) as client, serving(app, redis_url, group_max_size=1):
        [task_id] = await enqueue_all(client, [1])
        await until(lambda: "aggregation_failed" in actions(caplog))
        assert state(redis_client, task_id) == "aggregating"


# -- failures ----------------------------------------------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("broken")


@pytest.mark.parametrize(
    "raised",
    [RuntimeError("boom"), SystemExit(3), GeneratorExit(), asyncio.CancelledError(), Unprintable()],
    ids=lambda error: type(error).__name__,
)
async def test_an_aggregator_that_fails_is_given_the_tasks_again_and_harms_nothing_else(
    raised: BaseException, redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """D22: with Asynq a panic of it ends the process."""
    one = Collector()
    one.fail = raised
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_size=1) as server:
        await enqueue_all(client, [1])
        await until(lambda: "aggregation_failed" in actions(caplog))
        one.fail = None
        await enqueue_all(client, [2], group="g2")
        await until(lambda: sorted(one.ran) == [[1], [2]])
        await until(lambda: server.running == 0)
    assert one.given.count(("g", [1])) == 2
    assert not left_of_groups(redis_client)


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "action", "") for record in caplog.records]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "returned nothing"),
        ("merged", "returned str"),
        (Task("merged", group="g"), "again"),
    ],
    ids=["nothing", "text", "the same group"],
)
async def test_an_answer_that_is_no_use_keeps_the_tasks(
    answer: Any, problem: str, redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """D22: with Asynq a missing answer makes the group go round without a word."""
    app = App()

    @app.aggregator()
    async def merge(group: str, tasks: Sequence[GroupedTask]) -> Any:
        return answer

    async with Client(redis_url) as client, serving(app, redis_url, group_max_size=1):
        [task_id] = await enqueue_all(client, [1])
        await until(lambda: "aggregation_failed" in actions(caplog))
        assert state(redis_client, task_id) == "aggregating"
    [record] = [one for one in caplog.records if getattr(one, "action", "") == "aggregation_failed"]
    assert problem in record.__dict__["error"]


async def test_an_aggregator_may_drop_the_tasks(redis_url: str, redis_client: redis.Redis) -> None:
    one = Collector()
    one.fail = RevokeTask()
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_size=2):
        await enqueue_all(client, [1, 2])
        await until(lambda: one.given)
        await until(lambda: not left_of_groups(redis_client))
    assert not redis_client.keys("asynq:{default}:t:*")


def because(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (SkipRetry("no use"), "no use"),
        (SkipRetry("no \ud800 use"), "no \\ud800 use"),  # D28: no text keeps the tasks from being stored
        (because(ValueError("wrapped"), SkipRetry("no use")), "ValueError: wrapped"),
    ],
    ids=["SkipRetry", "a text that UTF-8 cannot carry", "from SkipRetry"],
)
async def test_an_aggregator_may_archive_the_tasks(
    raised: BaseException, text: str, redis_url: str, redis_client: redis.Redis
) -> None:
    one = Collector()
    one.fail = raised
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_size=2):
        ids = await enqueue_all(client, [1, 2])
        await until(lambda: one.given and not left_of_groups(redis_client))
    for task_id in ids:
        assert containers(redis_client, task_id) == {"archived"}
        assert message(redis_client, task_id).error == text


async def test_a_refused_merged_task_keeps_the_groups_tasks(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()

    @app.aggregator()
    async def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
        return Task("merged", task_id="taken")

    async with Client(redis_url) as client, serving(app, redis_url, group_max_size=1):
        await client.enqueue("other", task_id="taken", process_in=3600)
        [task_id] = await enqueue_all(client, [1])
        await until(lambda: "aggregation_refused" in actions(caplog))
    assert state(redis_client, task_id) == "aggregating"
    assert message(redis_client, "taken").type == "other"


async def test_members_that_cannot_be_read_do_not_stop_their_group(redis_url: str, redis_client: redis.Redis) -> None:
    one = Collector()
    async with Client(redis_url) as client:
        good, bad, gone = await enqueue_all(client, [1, 2, 3])
    redis_client.hset(keys.task("default", bad), "msg", b"\xff")
    redis_client.delete(keys.task("default", gone))
    async with serving(one.app, redis_url, group_max_size=3):
        await until(lambda: one.ran)
        await until(lambda: not left_of_groups(redis_client))
    assert one.ran == [[1]]
    assert redis_client.zrange(keys.archived("default"), 0, -1) == [bad.encode()]
    assert state(redis_client, good) is None


async def test_a_stranger_among_the_groups_does_not_stop_the_others(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    one = Collector()
    redis_client.set(keys.group("default", "g-odd"), "text")
    redis_client.sadd(keys.groups("default"), "g-odd")
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_size=1):
        await enqueue_all(client, [1])
        await until(lambda: one.ran)
        await until(lambda: "redis_refused" in actions(caplog))


async def test_an_aggregator_that_takes_too_long_is_ended_and_its_tasks_go_back(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    one = Collector()
    one.hold = asyncio.Event()
    timing = quick(aggregation=timedelta(seconds=5.2))  # 5 s of it are a margin
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_size=1, timing=timing):
        [task_id] = await enqueue_all(client, [1])
        await until(lambda: "aggregation_too_slow" in actions(caplog))
        assert state(redis_client, task_id) == "aggregating"
        one.hold.set()
        await asyncio.sleep(0.1)
    assert one.ran == []


# -- the end of a server -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def interrupted(one: Collector, url: str, **options: Any) -> AsyncIterator[tuple[Server, Client]]:
    """A server in the middle of an aggregation."""
    one.hold = asyncio.Event()
    async with Client(url) as client, serving(one.app, url, group_max_size=2, **options) as server:
        await enqueue_all(client, [1, 2])
        await asyncio.wait_for(one.entered.wait(), PATIENCE_S)
        yield server, client


async def test_a_stopping_server_finishes_what_it_aggregates(redis_url: str, redis_client: redis.Redis) -> None:
    one = Collector()
    async with interrupted(one, redis_url) as (server, _):
        server.shutdown()
        assert one.hold is not None
        one.hold.set()
        await server.wait()
    assert not left_of_groups(redis_client)
    assert redis_client.llen(keys.pending("default")) == 1


async def test_a_server_whose_time_is_up_gives_the_tasks_back_to_the_group(
    redis_url: str, redis_client: redis.Redis
) -> None:
    one = Collector()
    async with interrupted(one, redis_url, shutdown_timeout=0.05):
        pass
    assert redis_client.zcard(keys.group("default", "g")) == 2
    assert groups(redis_client) == {b"g"}
    assert not redis_client.exists(keys.aggregation_sets("default"))
    assert redis_client.llen(keys.pending("default")) == 0


async def test_a_dead_servers_set_is_aggregated_by_another(redis_url: str, redis_client: redis.Redis) -> None:
    """D1: with Asynq it may go back to a group that nobody looks at any more."""
    one = Collector()
    seed_set(redis_client, expired=True)
    async with serving(one.app, redis_url, group_grace_period=1):
        await until(lambda: one.ran)
    assert one.ran == [[7]]


async def test_a_dead_servers_set_is_given_back_by_a_server_that_aggregates_nothing(
    redis_url: str, redis_client: redis.Redis
) -> None:
    seed_set(redis_client, expired=True)
    async with serving(App(), redis_url):
        await until(lambda: groups(redis_client) == {b"g"})
    assert redis_client.zcard(keys.group("default", "g")) == 1


async def test_a_live_servers_set_is_left_to_it(redis_url: str, redis_client: redis.Redis) -> None:
    one = Collector()
    seed_set(redis_client, expired=False)
    async with Client(redis_url) as client, serving(one.app, redis_url, group_max_size=1):
        await enqueue_all(client, [1])
        await until(lambda: one.ran)
    assert one.ran == [[1]]
    assert redis_client.exists(keys.aggregation_sets("default"))


def seed_set(client: redis.Redis, *, expired: bool) -> None:
    """A set as a server, ours or a Go one, leaves it that died in the middle."""
    task = new_message("part", payload=b"7", group="g")
    client.hset(keys.task("default", task.id), mapping={"msg": codec.encode_task(task), "state": "aggregating"})
    client.hset(keys.task("default", task.id), "group", "g")
    set_key = keys.aggregation_set("default", "g", "0b6a")
    client.zadd(set_key, {task.id: 100})
    client.zadd(keys.aggregation_sets("default"), {set_key: int(time.time()) + (-1 if expired else 120)})


async def test_an_outage_in_the_middle_neither_loses_nor_doubles() -> None:
    one = Collector()
    # flushed before each answer: with everysec, Redis may still hold back what it has answered when the disk is slow
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        async with interrupted(one, server.url):
            server.stop()
            assert one.hold is not None
            one.hold.set()
            await asyncio.sleep(0.3)
            assert one.ran == []
            server.start()
            await until(lambda: one.ran)
            with redis.Redis.from_url(server.url) as plain:
                await until(lambda: not left_of_groups(plain))
    assert [sorted(payload) for payload in one.ran] == [[1, 2]]
    assert len(one.given) == 1


class LosesReplies:
    """The groups of a Redis; the reply to each way of finishing is lost once, after it was carried out."""

    def __init__(self, groups: GroupStore) -> None:
        self._groups = groups
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._groups, name)

    async def finish(self, *arguments: Any, **named: Any) -> FinishResult:
        result = await self._groups.finish(*arguments, **named)
        if not self.lost:
            self.lost += 1
            raise BrokerUnavailable("the reply was lost")
        return result


async def test_a_lost_reply_doubles_nothing(redis_url: str, redis_client: redis.Redis) -> None:
    """D22: with Asynq, when the set's deletion fails its tasks are aggregated again."""
    one = Collector()
    broker = RedisBroker.connect(RedisSettings(url=redis_url))
    groups = LosesReplies(broker.groups)
    broker.groups = groups  # type: ignore[assignment]
    options: dict[str, Any] = {"broker": broker, "group_max_size": 2, "timing": quick()}
    async with Client(redis_url) as client, Server(one.app, **options):
        await enqueue_all(client, [1, 2])
        await until(lambda: groups.lost and one.ran)
        await enqueue_all(client, [3, 4])
        await until(lambda: len(one.ran) == 2)
        await until(lambda: not left_of_groups(redis_client))
    await broker.aclose()
    assert [sorted(payload) for payload in one.ran] == [[1, 2], [3, 4]]
    assert len(one.given) == 2
