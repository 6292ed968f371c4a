"""Cancellations by the inspector: which task they end, what becomes of it, and that none is lost on the way.

The bare cancellation of Asynq's own tools is in test_deadlines.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from longshore import App, Client, Inspector, InvalidOption, RedisSettings, Server
from longshore.broker.base import Channel, Exchange, Heard
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol.notices import Afterwards, CancelTask
from longshore.runtime.attempt import Interruption
from longshore.runtime.cancellations import Cancellations
from runtime.harness import containers, counters, holding, message, serving, state, until

_BOTH = {"a": 1, "b": 1}


async def _listening(client: redis.Redis) -> None:
    await until(lambda: all(count for _, count in client.pubsub_numsub("asynq:cancel", "longshore:notices:0")))


async def _both_running(client: redis.Redis, producer: Client, **options: Any) -> None:
    """Two tasks of one id, in two queues, that a server of ours runs."""
    await _listening(client)
    for queue in _BOTH:
        await producer.enqueue("hold", task_id="x", queue=queue, **options)
    await until(lambda: all(state(client, "x", queue) == "active" for queue in _BOTH))


async def test_a_cancellation_that_names_the_queue_spares_the_task_of_the_same_id_in_another(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """Asynq's names none: equal ids in two queues end together."""
    app, release = holding()
    async with (
        Client(redis_url) as producer,
        Inspector(redis_url) as inspector,
        serving(app, redis_url, queues=_BOTH),
    ):
        await _both_running(redis_client, producer)
        assert await inspector.cancel("x", queue="a") == 1
        await until(lambda: state(redis_client, "x", "a") == "retry")
        # Asynq's bare id has been heard by now: it was sent second, and this is sent third
        await inspector.cancel("nobody", queue="b")
        await producer.enqueue("hold", task_id="y", queue="b")
        await until(lambda: state(redis_client, "y", "b") == "active")
        await inspector.cancel("y", queue="b")
        await until(lambda: state(redis_client, "y", "b") == "retry")
        assert state(redis_client, "x", "b") == "active"
        release.set()
        await until(lambda: state(redis_client, "x", "b") is None)
    assert message(redis_client, "x", "a").error == "context canceled"


async def test_a_cancellation_without_a_queue_ends_every_task_of_that_id(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app, _ = holding()
    async with (
        Client(redis_url) as producer,
        Inspector(redis_url) as inspector,
        serving(app, redis_url, queues=_BOTH),
    ):
        await _both_running(redis_client, producer)
        await inspector.cancel("x")
        await until(lambda: all(state(redis_client, "x", queue) == "retry" for queue in _BOTH))


async def test_a_cancelled_task_can_be_archived_at_once(redis_url: str, redis_client: redis.Redis) -> None:
    app, release = holding()
    async with (
        Client(redis_url) as producer,
        Inspector(redis_url) as inspector,
        serving(app, redis_url, queues=_BOTH),
    ):
        await _both_running(redis_client, producer)
        await inspector.cancel("x", queue="a", then="archive")
        await until(lambda: state(redis_client, "x", "a") == "archived")
        assert message(redis_client, "x", "a").error == "cancelled, not to be retried"
        assert containers(redis_client, "x", "a") == {"archived"}
        release.set()


async def test_a_cancelled_task_can_be_deleted_with_its_lock(redis_url: str, redis_client: redis.Redis) -> None:
    app, release = holding()
    async with (
        Client(redis_url) as producer,
        Inspector(redis_url) as inspector,
        serving(app, redis_url, queues=_BOTH),
    ):
        await _both_running(redis_client, producer, unique_for=3600, retention=3600)
        await inspector.cancel("x", queue="a", then="delete")
        await until(lambda: state(redis_client, "x", "a") is None)
        assert containers(redis_client, "x", "a") == set()
        assert counters(redis_client, "a") == (1, 0)
        assert redis_client.keys("asynq:{a}:unique:*") == []
        release.set()


class _Slow(RedisBroker):
    """A broker whose answers to dequeues that brought a task stay on the way until released.

    It also tells when the server has acted on a cancellation.
    """

    def __init__(self, redis_url: str) -> None:
        super().__init__(RedisBroker.connect(RedisSettings.of(redis_url)).connection)
        self.on_the_way = asyncio.Event()
        self.release = asyncio.Event()
        self.heard = asyncio.Event()

    async def messages(self) -> AsyncIterator[Heard]:
        async for heard in super().messages():
            yield heard
            if heard.channel is Channel.CANCEL and heard.data is not None:
                self.heard.set()

    async def settle_and_dequeue(self, queue: str, outcomes: Any, **options: Any) -> Exchange:
        exchange = await super().settle_and_dequeue(queue, outcomes, **options)
        if getattr(exchange.taken, "leased", None):
            self.on_the_way.set()
            await self.release.wait()
        return exchange


@pytest.mark.parametrize("queue", ["default", None])
async def test_a_cancellation_is_not_lost_while_the_task_is_on_its_way_to_the_server(
    redis_url: str, redis_client: redis.Redis, queue: str | None
) -> None:
    """Asynq loses one that is published after the task became active and before the worker has registered it."""
    app = App()
    begun = []

    @app.task("hold")
    async def hold() -> None:
        begun.append(1)

    broker = _Slow(redis_url)
    server_options: Any = {"broker": broker, "concurrency": 1, "shutdown_timeout": 1.0}
    async with Client(redis_url) as producer, Inspector(redis_url) as inspector, Server(app, **server_options):
        await _listening(redis_client)
        await producer.enqueue("hold", task_id="x")
        await asyncio.wait_for(broker.on_the_way.wait(), 20)
        assert state(redis_client, "x") == "active"
        await inspector.cancel("x", queue=queue)
        await asyncio.wait_for(broker.heard.wait(), 20)
        broker.release.set()
        await until(lambda: state(redis_client, "x") == "retry")
    await broker.aclose()
    assert begun == []
    assert message(redis_client, "x").error == "context canceled"


async def test_a_task_taken_after_its_cancellation_runs(redis_url: str, redis_client: redis.Redis) -> None:
    """It may be a person's next wish: cancelled, then run by hand."""
    app = App()
    begun = asyncio.Event()

    @app.task("hold")
    async def hold() -> None:
        begun.set()

    broker = _Slow(redis_url)
    broker.release.set()
    async with Client(redis_url) as producer, Inspector(redis_url) as inspector, Server(app, broker=broker):
        await _listening(redis_client)
        await inspector.cancel("x", queue="default", then="archive")
        await asyncio.wait_for(broker.heard.wait(), 20)
        await producer.enqueue("hold", task_id="x")
        await asyncio.wait_for(begun.wait(), 20)
        await until(lambda: state(redis_client, "x") is None)
    await broker.aclose()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"then": "archive"}, "then: 'archive' needs the task's queue"),
        ({"then": "forget", "queue": "a"}, "then: is 'forget'; give retry, archive or delete"),
    ],
)
async def test_a_cancellation_that_cannot_be_is_refused(redis_url: str, options: Any, text: str) -> None:
    async with Inspector(redis_url) as inspector:
        with pytest.raises(InvalidOption, match=text):
            await inspector.cancel("x", **options)


def test_only_the_bare_id_that_belongs_to_a_notice_is_passed_over() -> None:
    cancelled: list[Any] = []
    now = [0.0]

    def cancel(task_id: str, *, queue: str | None = None, why: Interruption = Interruption.CANCELLED) -> None:
        cancelled.append((task_id, queue, why))

    cancellations = Cancellations(cancel, now=lambda: now[0])
    cancellations.heard_notice(CancelTask(queue="a", task_id="x", then=Afterwards.DELETE))
    cancellations.heard_id("x")
    assert cancelled == [("x", "a", Interruption.DELETED)]
    cancellations.heard_id("x")  # somebody else's
    cancellations.heard_notice(CancelTask(queue="a", task_id="y"))
    now[0] = 6.0  # its bare id never came
    cancellations.heard_id("y")
    assert cancelled[1:] == [
        ("x", None, Interruption.CANCELLED),
        ("y", "a", Interruption.CANCELLED),
        ("y", None, Interruption.CANCELLED),
    ]
