"""What stands between the caller and Redis: defaults of a task's type, then middleware, the first outermost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import redis

from longshore import Client, EnqueueNext, InvalidOption, Task, TaskIDConflict, TaskInfo
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage


def _stored(raw: redis.Redis, info: Any) -> TaskMessage:
    data = raw.hget(keys.task(info.queue, info.id), "msg")
    assert isinstance(data, bytes)
    return codec.decode_task(data)


_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "mail": {"queue": "mail", "max_retry": 3, "timeout": 60, "headers": {"a": "default", "b": "default"}},
    "wrong": {"max_retry": -1},
}


async def test_defaults_of_the_type_yield_to_the_tasks_options_and_those_to_the_calls(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async with Client(redis_url, defaults=_DEFAULTS.get) as client:
        task = Task("mail", max_retry=4, headers={"b": "task"})
        one = _stored(redis_client, await client.enqueue(task, timeout=90))
        assert (one.queue, one.max_retry, one.timeout) == ("mail", 4, timedelta(seconds=90))
        assert one.headers == {"a": "default", "b": "task"}
        other, many = await client.enqueue_many(["other", ("mail", 1)])
        assert _stored(redis_client, other) == TaskMessage(
            type="other", id=other.id, queue="default", timeout=timedelta(minutes=30)
        )
        assert _stored(redis_client, many).max_retry == 3


async def test_defaults_that_cannot_be_used_refuse_the_tasks_of_their_type_only(redis_url: str) -> None:
    async with Client(redis_url, defaults=_DEFAULTS.get) as client:
        with pytest.raises(InvalidOption, match="max_retry: must not be negative"):
            await client.enqueue("wrong")
        assert [type(r) for r in await client.enqueue_many(["wrong", "mail"])] == [InvalidOption, TaskInfo]


async def test_middleware_sees_every_option_and_may_change_the_task(redis_url: str, redis_client: redis.Redis) -> None:
    seen: list[Any] = []

    async def outer(task: Task, call_next: EnqueueNext) -> TaskInfo:
        seen.append(("outer", task.type, task.payload, dict(task.options)))
        info = await call_next(task.with_options(headers={"trace": "1"}, queue="low"))
        seen.append(("stored", info.queue))
        return info

    async def inner(task: Task, call_next: EnqueueNext) -> TaskInfo:
        seen.append(("inner", task.options["queue"], task.options["headers"]))
        return await call_next(task.with_payload({"wrapped": 1}))

    async with Client(redis_url, defaults=_DEFAULTS.get, middleware=[outer, inner]) as client:
        info = await client.enqueue("mail", 5, max_retry=9)
    headers = {"a": "default", "b": "default"}
    assert seen == [
        ("outer", "mail", b"5", {"queue": "mail", "max_retry": 9, "timeout": timedelta(minutes=1), "headers": headers}),
        ("inner", "low", headers | {"trace": "1"}),
        ("stored", "low"),
    ]
    stored = _stored(redis_client, info)
    assert (stored.payload, stored.queue, stored.max_retry) == (b'{"wrapped":1}', "low", 9)
    assert stored.headers == headers | {"trace": "1"}


async def test_middleware_stands_before_each_of_many_tasks_and_they_still_share_round_trips(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async def stamp(task: Task, call_next: EnqueueNext) -> TaskInfo:
        if task.type == "forbidden":
            raise InvalidOption("task type", "is not allowed here")
        return await call_next(task.with_options(headers={"n": task.type}))

    async with Client(redis_url, middleware=[stamp]) as client:
        await client.enqueue("warm")
        redis_client.config_resetstat()
        results = await client.enqueue_many(
            [
                *(str(number) for number in range(500)),
                *("forbidden", ("x", object()), ("y", 1, {"task_id": "1"}), ("y", 1, {"task_id": "1"})),
            ]
        )
        assert redis_client.info("commandstats")["cmdstat_sadd"]["calls"] <= 3
    assert [type(result) for result in results] == [
        *[TaskInfo] * 500,
        *(InvalidOption, InvalidOption, TaskInfo, TaskIDConflict),
    ]
    assert [_stored(redis_client, result).headers["n"] for result in results[:500]] == [str(n) for n in range(500)]


async def test_what_middleware_raises_reaches_the_caller_and_nothing_is_sent(
    redis_url: str, redis_client: redis.Redis
) -> None:
    async def refuse(task: Task, call_next: EnqueueNext) -> TaskInfo:
        raise PermissionError("not you")

    async with Client(redis_url, middleware=[refuse]) as client:
        with pytest.raises(PermissionError, match="not you"):
            await client.enqueue("t")
        with pytest.raises(PermissionError, match="not you"):
            await client.enqueue_many(["t"])
    assert redis_client.dbsize() == 0
