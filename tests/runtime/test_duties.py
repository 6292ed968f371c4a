"""The background duties of a server: heartbeat, leases, recovery, forwarding, cleaning."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
import redis

from longshore import App, Client, Context, Inspector, Server
from longshore.broker.base import RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import BrokerUnavailable, InvalidData, LongshoreError
from longshore.policy.failure_policy import FailurePolicy
from longshore.protocol import codec, keys
from longshore.protocol.messages import ServerInfo, WorkerInfo
from longshore.protocol.notices import Standing
from longshore.runtime.duties import Duties
from longshore.runtime.error_callbacks import ErrorCallbacks
from longshore.runtime.recoverer import Recoverer
from longshore.runtime.timing import Timing, utc_now
from longshore.testing import new_message
from runtime.harness import containers, counters, holding, message, quick, serving, state, until

HOST = socket.gethostname()
RARELY = timedelta(hours=1)


def published(client: redis.Redis, server_id: str) -> tuple[ServerInfo | None, list[WorkerInfo]]:
    info = client.get(keys.server(HOST, os.getpid(), server_id))
    workers = client.hvals(keys.workers(HOST, os.getpid(), server_id))
    return codec.decode_server(info) if info else None, [codec.decode_worker(worker) for worker in workers]


async def test_a_server_publishes_itself_and_its_running_tasks_and_leaves_nothing(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, release = holding()
    queues = {"critical": 6, "default": 3}
    async with (
        Client(redis_url) as producer,
        serving(app, redis_url, queues=queues, concurrency=4, strict_priority=True) as server,
    ):
        info = await until(lambda: published(redis_client, server.server_id)[0])
        assert info == ServerInfo(
            host=HOST,
            pid=os.getpid(),
            server_id=server.server_id,
            concurrency=4,
            queues=queues,
            strict_priority=True,
            status="active",
            started_at=info.started_at,
            active_workers=0,
        )
        assert 0 < redis_client.ttl(keys.server(HOST, os.getpid(), server.server_id)) <= 10
        task = (await producer.enqueue("hold", {"n": 1}, queue="critical", timeout=60)).message
        info, [worker] = await until(
            lambda: (found := published(redis_client, server.server_id))[1] and found, "the running task"
        )
        assert info.active_workers == 1
        assert worker == WorkerInfo(
            host=HOST,
            pid=os.getpid(),
            server_id=server.server_id,
            task_id=task.id,
            task_type="hold",
            payload=b'{"n":1}',
            queue="critical",
            started_at=worker.started_at,
            deadline=worker.started_at + timedelta(seconds=60),
        )
        release.set()
        await until(lambda: not published(redis_client, server.server_id)[1])
    assert not redis_client.exists(keys.SERVERS, keys.WORKERS)
    assert not redis_client.keys("asynq:servers:*")


async def test_no_more_than_the_beginning_of_a_large_payload_is_published(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, release = holding()
    async with Client(redis_url) as producer, serving(app, redis_url) as server:
        await producer.enqueue("hold", b"x" * 1_000_000)
        [worker] = await until(lambda: published(redis_client, server.server_id)[1], "the running task")
        release.set()
    assert worker.payload == b"x" * 10_000


async def test_becoming_busy_or_idle_is_published_ahead_of_the_next_beat(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, release = holding()

    def busy(server_id: str) -> int | None:
        info = published(redis_client, server_id)[0]
        return info.active_workers if info else None

    async with Client(redis_url) as producer, serving(app, redis_url, timing=quick(heartbeat=RARELY)) as server:
        await until(lambda: busy(server.server_id) == 0)
        await producer.enqueue("hold")
        await until(lambda: busy(server.server_id) == 1)
        release.set()
        await until(lambda: busy(server.server_id) == 0)


async def test_leases_of_running_tasks_are_extended(redis_url: str, redis_client: redis.Redis) -> None:
    app, release = holding()
    async with Client(redis_url) as producer, serving(app, redis_url, timing=quick(lease=timedelta(seconds=3))):
        task_id = (await producer.enqueue("hold")).message.id
        first = await until(lambda: redis_client.zscore(keys.lease("default"), task_id))
        await until(lambda: redis_client.zscore(keys.lease("default"), task_id) > first + 3)
        assert state(redis_client, task_id) == "active"
        release.set()
        await until(lambda: state(redis_client, task_id) is None)


@pytest.mark.parametrize("error", [InvalidData("a key of another type"), BrokerUnavailable("its master is away")])
async def test_a_queue_whose_leases_cannot_be_extended_costs_no_other_queue_its_leases(
    redis_url: str, redis_client: redis.Redis, error: LongshoreError
) -> None:
    class OneQueueRefused(RedisBroker):
        async def extend_leases(self, queue: str, task_ids: Sequence[str], *, now: datetime, lease: timedelta) -> None:
            if queue == "bad":
                raise error
            await super().extend_leases(queue, task_ids, now=now, lease=lease)

    app, release = holding()
    broker = OneQueueRefused.connect(RedisSettings.of(redis_url))
    async with (
        Client(redis_url) as producer,
        Server(
            app, broker=broker, queues={"a": 1, "bad": 1, "c": 1}, timing=quick(lease=timedelta(seconds=30))
        ) as server,
    ):
        for queue in ("a", "bad", "c"):
            await producer.enqueue("hold", queue=queue, task_id=queue)
        await until(lambda: server.running == 3)
        first = redis_client.zscore(keys.lease("bad"), "bad")
        for queue in ("a", "c"):
            await until(lambda queue=queue: redis_client.zscore(keys.lease(queue), queue) > first + 1)
        assert redis_client.zscore(keys.lease("bad"), "bad") == first
        if isinstance(error, InvalidData):  # without Redis there is nothing to be published
            await until(lambda: len(published(redis_client, server.server_id)[1]) == 3)
        release.set()
        await until(lambda: server.running == 0)
    await broker.aclose()


async def test_a_lost_lease_ends_the_handler_and_writes_nothing(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    ended = asyncio.Event()

    @app.task("hold")
    async def hold(ctx: Context) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    # A lease that is over before the first beat can extend it, and nobody who recovers it.
    timing = quick(lease=timedelta(seconds=1), heartbeat=timedelta(seconds=2.5), recover=RARELY)
    async with Client(redis_url) as producer, serving(app, redis_url, timing=timing):
        task_id = (await producer.enqueue("hold")).message.id
        await asyncio.wait_for(ended.wait(), 20)
        await asyncio.sleep(0.2)
        assert containers(redis_client, task_id) == {"active", "lease"}
        assert message(redis_client, task_id).error is None
    assert counters(redis_client) == (0, 0)


async def test_an_outcome_that_comes_after_the_lease_is_not_written(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """By then the task may run elsewhere."""
    app, release = holding()
    timing = quick(lease=timedelta(seconds=1), heartbeat=RARELY, recover=RARELY)
    async with Client(redis_url) as producer, serving(app, redis_url, timing=timing) as server:
        task_id = (await producer.enqueue("hold")).message.id
        await until(lambda: server.running == 1)
        await asyncio.sleep(2)
        release.set()
        await until(lambda: server.running == 0)
    assert containers(redis_client, task_id) == {"active", "lease"}
    assert counters(redis_client) == (0, 0)
    assert "outcome_too_late" in [getattr(record, "action", "") for record in caplog.records]


def orphan(client: redis.Redis, task_id: str, *, lease_ended_ago_s: float | None, **fields: object) -> None:
    """A task as a dead worker leaves it."""
    task = new_message("orphan", id=task_id, **fields)
    client.hset(keys.task("default", task_id), mapping={"msg": codec.encode_task(task), "state": "active"})
    client.lpush(keys.active("default"), task_id)
    if lease_ended_ago_s is not None:
        client.zadd(keys.lease("default"), {task_id: int(time.time() - lease_ended_ago_s)})


async def test_a_dead_workers_task_runs_again_as_soon_as_its_lease_and_the_allowance_are_over(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    seen: list[tuple[str, int]] = []

    @app.task("orphan")
    async def run(ctx: Context) -> None:
        seen.append((ctx.task_id, ctx.retried))

    orphan(redis_client, "dead", lease_ended_ago_s=31)
    orphan(redis_client, "slow", lease_ended_ago_s=20)
    async with serving(app, redis_url):
        await until(lambda: seen)
        assert state(redis_client, "slow") == "active"
    assert seen == [("dead", 1)]
    assert counters(redis_client) == (2, 1)


async def test_a_task_that_keeps_killing_its_workers_waits_and_is_archived_in_the_end(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    app.task("orphan")(lambda: None)
    orphan(redis_client, "second", lease_ended_ago_s=60, retried=1)
    orphan(redis_client, "last", lease_ended_ago_s=60, retried=3, max_retry=3)
    async with serving(app, redis_url):
        await until(lambda: state(redis_client, "last") == "archived" and state(redis_client, "second") == "retry")
    assert redis_client.zscore(keys.retry("default"), "second") > time.time() + 10
    assert message(redis_client, "last").error == "asynq: task lease expired"


async def test_an_active_task_without_any_lease_is_recovered_at_the_second_look(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """At the first it may be in the middle of something; with a lease in between it is begun anew."""
    orphan(redis_client, "bare", lease_ended_ago_s=None)
    broker = RedisBroker.connect(RedisSettings(url=redis_url))
    duties = Duties(broker, standing=Standing(since=1, server_id="s"), queues=["default"], timing=Timing())
    recoverer = Recoverer(
        broker,
        duties=duties,
        policy_for=lambda kind: FailurePolicy(),
        error_callbacks=ErrorCallbacks(limit=timedelta(seconds=1)),
        timing=Timing(),
        clock=utc_now,
        random=Random(1),
    )
    await recoverer.tick()
    assert state(redis_client, "bare") == "active"
    redis_client.zadd(keys.lease("default"), {"bare": int(time.time())})
    await recoverer.tick()
    redis_client.zrem(keys.lease("default"), "bare")
    await recoverer.tick()
    assert state(redis_client, "bare") == "active"
    await recoverer.tick()
    assert state(redis_client, "bare") == "retry"
    await broker.aclose()


async def test_a_due_task_is_forwarded_and_run(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("later")(lambda: None)
    async with Client(redis_url) as producer:
        task_id = (await producer.enqueue("later", process_in=1)).message.id
    assert state(redis_client, task_id) == "scheduled"
    async with serving(app, redis_url):
        await until(lambda: state(redis_client, task_id) is None)


async def test_completed_tasks_are_deleted_when_their_retention_is_over(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    app.task("keep")(lambda: None)
    async with Client(redis_url) as producer, serving(app, redis_url):
        short = (await producer.enqueue("keep", retention=1)).message.id
        long = (await producer.enqueue("keep", retention=3600)).message.id
        await until(lambda: state(redis_client, long) == "completed")
        await until(lambda: state(redis_client, short) is None)
        assert state(redis_client, long) == "completed"


async def test_inspectors_see_the_server(redis_url: str) -> None:
    async with serving(App(), redis_url, queues={"a": 2}) as server, Inspector(redis_url) as inspector:
        give_up_at = time.monotonic() + 20
        while not (servers := await inspector.servers()):
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.01)
    assert [one.info.server_id for one in servers] == [server.server_id]
    assert servers[0].info.started_at <= datetime.now(UTC)


async def test_a_queue_whose_keys_cannot_be_used_keeps_no_other_from_being_forwarded(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    ran = asyncio.Event()

    @app.task("late")
    async def late() -> None:
        ran.set()

    redis_client.set(keys.scheduled("broken"), "not a sorted set")
    async with (
        Client(redis_url) as producer,
        serving(app, redis_url, queues={"broken": 1, "sound": 1}),
    ):
        await producer.enqueue("late", queue="sound", process_in=1)
        await asyncio.wait_for(ran.wait(), 30)
    assert redis_client.get(keys.scheduled("broken")) == b"not a sorted set"
