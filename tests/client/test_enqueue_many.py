"""Many tasks in one call: what stands for a task, and that each is stored or refused on its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
import redis

from longshore import Client, DuplicateTask, InvalidOption, SyncClient, Task, TaskIDConflict, TaskInfo, WrongType
from longshore.protocol import codec, keys
from longshore.testing import read_keyspace


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url, retry_for=0) as client:
        yield client


async def test_a_task_may_be_given_in_several_ways(client: Client, redis_client: redis.Redis) -> None:
    results = await client.enqueue_many(
        [Task("a", 1, queue="low"), "b", ("c",), ("d", {"x": 1}), ("e", None, {"queue": "low", "max_retry": 0})],
        max_retry=7,
    )
    assert [(r.type, r.payload, r.queue) for r in results if isinstance(r, TaskInfo)] == [
        ("a", b"1", "low"),
        ("b", b"", "default"),
        ("c", b"", "default"),
        ("d", b'{"x":1}', "default"),
        ("e", b"", "low"),
    ]
    stored = [codec.decode_task(redis_client.hget(keys.task(r.queue, r.id), "msg")) for r in results]  # type: ignore[union-attr,arg-type]
    assert [message.max_retry for message in stored] == [7] * 5  # the call's option wins


async def test_each_is_stored_or_refused_on_its_own(client: Client, redis_client: redis.Redis) -> None:
    redis_client.set(keys.scheduled("broken"), "text")
    results = await client.enqueue_many(
        [
            ("a", 1, {"unique_for": 60}),
            ("a", 1, {"unique_for": 60}),
            ("b", None, {"task_id": "x", "group": "g"}),
            ("c", None, {"task_id": "x", "unique_for": 60}),
            ("d", object()),
            ("", 1),
            ("e", 1, {"retries": 3}),
            ("f", 1, {"queue": "broken", "process_in": 60}),
            ("g", 1, ["not options"]),  # type: ignore[list-item]
            7,  # type: ignore[list-item]
            "h",
        ]
    )
    assert [type(result) for result in results] == [
        *(TaskInfo, DuplicateTask, TaskInfo, TaskIDConflict, InvalidOption, InvalidOption, InvalidOption, WrongType),
        *(InvalidOption, InvalidOption, TaskInfo),
    ]
    assert not redis_client.exists(keys.unique("default", "c", None))  # an id conflict leaves no lock behind
    assert len(redis_client.keys(keys.task("*", "*"))) == 3


async def test_an_option_for_all_that_cannot_be_used_is_raised_and_nothing_is_sent(
    client: Client, redis_client: redis.Redis
) -> None:
    with pytest.raises(InvalidOption, match="max_retry: must not be negative"):
        await client.enqueue_many(["a"], max_retry=-1)
    assert read_keyspace(redis_client) == {}


async def test_the_tasks_may_come_from_a_generator_which_is_read_two_portions_ahead_at_most(
    client: Client, redis_client: redis.Redis
) -> None:
    stored: list[int] = []

    def tasks() -> Iterator[Any]:
        for number in range(4500):
            if number % 1000 == 0:
                stored.append(redis_client.llen(keys.pending("default")))
            yield "t", number

    assert len(await client.enqueue_many(tasks())) == 4500
    assert all(number >= 1000 * (round_ - 2) for round_, number in enumerate(stored))
    assert redis_client.llen(keys.pending("default")) == 4500


async def test_a_generator_that_fails_leaves_what_it_gave_before_enqueued_and_nothing_under_way(
    client: Client, redis_client: redis.Redis
) -> None:
    def tasks() -> Iterator[Any]:
        for number in range(1500):
            yield "t", number
        raise LookupError("no more")

    with pytest.raises(LookupError):
        await client.enqueue_many(tasks())
    assert redis_client.llen(keys.pending("default")) % 1000 == 0


@pytest.mark.parametrize("options", [{}, {"retention": 60, "headers": {"a": "1"}}, {"process_in": 60, "group": "g"}])
@pytest.mark.parametrize("payload", [None, b"", b"x", {"n": 1}, b"y" * 300, "z" * 70_000])
async def test_tasks_that_share_a_type_are_stored_as_if_each_came_alone(
    client: Client, redis_client: redis.Redis, options: Any, payload: Any
) -> None:
    [many, other] = await client.enqueue_many([("t", payload), Task("t", payload)], **options)
    assert isinstance(many, TaskInfo)
    assert isinstance(other, TaskInfo)
    single = await client.enqueue("t", payload, **options)
    for info in (many, other):
        data = redis_client.hget(keys.task("default", info.id), "msg")
        assert isinstance(data, bytes)
        stored = codec.decode_task(data)
        assert stored == codec.decode_task(codec.encode_task(info.message))
        assert replace(stored, id="") == replace(codec.decode_task(codec.encode_task(single.message)), id="")
        assert info.state is single.state


@pytest.mark.parametrize("tasks", ["mail", Task("mail"), {"mail": 1}, None])
async def test_what_is_not_many_tasks_is_refused(client: Client, redis_client: redis.Redis, tasks: Any) -> None:
    """Text would be an iterable, too: of tasks whose types have one letter."""
    with pytest.raises(InvalidOption, match="tasks: must be an iterable of tasks"):
        await client.enqueue_many(tasks)
    with SyncClient() as other, pytest.raises(InvalidOption, match="tasks: must be an iterable of tasks"):
        other.enqueue_many(tasks)
    assert not redis_client.exists(keys.QUEUES)


async def test_the_queue_is_registered_at_every_call_even_if_somebody_has_removed_it(
    client: Client, redis_client: redis.Redis
) -> None:
    for _ in range(2):
        await client.enqueue_many(["t"], queue="mail")
        await client.enqueue("t", queue="mail")
        assert redis_client.srem(keys.QUEUES, "mail") == 1
    await client.enqueue("t", queue="mail")
    assert redis_client.smembers(keys.QUEUES) == {b"mail"}


async def test_tasks_of_several_queues_and_routes_keep_their_order(client: Client, redis_client: redis.Redis) -> None:
    results = await client.enqueue_many(("t", number, {"queue": "ab"[number % 2]}) for number in range(10))
    for name, expected in (("a", results[::2]), ("b", results[1::2])):
        waiting = [task_id.decode() for task_id in redis_client.lrange(keys.pending(name), 0, -1)]
        assert waiting[::-1] == [result.id for result in expected if isinstance(result, TaskInfo)]
