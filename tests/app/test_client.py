"""The application's client: the defaults of each task type, and enqueue middleware."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from longshore import App, EnqueueMiddleware, EnqueueNext, InvalidOption, Task, TaskInfo, TaskState


def nothing() -> None: ...


async def test_a_task_has_the_defaults_of_its_handler_and_a_call_may_say_otherwise(redis_url: str) -> None:
    app = App()
    app.task("email:send", queue="critical", max_retry=3, timeout=30, retention=timedelta(hours=1))(nothing)
    app.task("email:", queue="low", headers={"a": "1", "b": "1"}, process_in=60)(nothing)
    async with app.client(redis_url) as client:
        exact = await client.enqueue("email:send", {"n": 1})
        other = await client.enqueue("email:other", headers={"b": "2"}, queue="mine")
        unknown = await client.enqueue("page:fetch")
    message = exact.message
    assert (message.queue, message.max_retry, message.timeout) == ("critical", 3, timedelta(seconds=30))
    assert message.retention == timedelta(hours=1)
    assert (other.message.queue, other.state, dict(other.message.headers)) == (
        "mine",
        TaskState.SCHEDULED,
        {"a": "1", "b": "2"},
    )
    assert (unknown.message.queue, unknown.message.max_retry) == ("default", 25)


async def test_the_defaults_of_an_included_application_are_those_of_its_patterns(redis_url: str) -> None:
    outer, inner = App(), App()
    inner.task("send", queue="mail")(nothing)
    outer.include(inner, prefix="email:")
    async with outer.client(redis_url) as client:
        assert (await client.enqueue("email:send")).message.queue == "mail"
        assert (await client.enqueue("send")).message.queue == "default"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"queue": " "}, "queue: must not be blank"),
        ({"max_retry": -1}, "max_retry: must not be negative"),
        ({"task_id": "1"}, "task_id: is for one task"),
        ({"deadline": datetime.now(UTC)}, "deadline: is for one task"),
        ({"process_at": datetime.now(UTC)}, "process_at: is for one task"),
        ({"colour": "red"}, "colour: is not a task option"),
    ],
)
def test_a_default_that_cannot_be_used_is_refused_where_it_is_written(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        App().task("a", **options)
    assert text in str(refused.value)


def naming(name: str, seen: list[str]) -> EnqueueMiddleware:
    async def middleware(task: Task, call_next: EnqueueNext) -> TaskInfo:
        seen.append(f"{name} {task.type} {dict(task.options).get('queue')}")
        return await call_next(task.with_options(headers={name: "1"}))

    return middleware


async def test_enqueue_middleware_is_around_each_task_and_an_included_ones_around_its_own(redis_url: str) -> None:
    seen: list[str] = []
    outer, inner = App(), App()
    inner.task("send", queue="mail")(nothing)
    outer.task("a")(nothing)
    outer.include(inner, prefix="email:")
    inner.enqueue_middleware(naming("inner", seen))
    outer.enqueue_middleware(naming("outer", seen))

    def headers(info: TaskInfo) -> Mapping[str, str]:
        return dict(info.message.headers)

    async with outer.client(redis_url) as client:
        assert headers(await client.enqueue("email:send")) == {"outer": "1", "inner": "1"}
        assert headers(await client.enqueue("a")) == {"outer": "1"}
        assert headers(await client.enqueue("unknown")) == {"outer": "1"}
        [many] = await client.enqueue_many([Task("email:send")])
        assert isinstance(many, TaskInfo)
        assert headers(many) == {"outer": "1", "inner": "1"}
    assert seen[:4] == ["outer email:send mail", "inner email:send mail", "outer a None", "outer unknown None"]


def test_code_without_an_event_loop_has_the_same(redis_url: str) -> None:
    seen: list[str] = []
    app = App()
    app.task("email:send", queue="mail")(nothing)
    app.enqueue_middleware(naming("mine", seen))
    with app.sync_client(redis_url) as client:
        info = client.enqueue("email:send")
    assert (info.queue, dict(info.message.headers), seen) == ("mail", {"mine": "1"}, ["mine email:send mail"])


def test_enqueue_middleware_that_is_no_async_function_is_refused() -> None:
    wrong: Any = nothing
    with pytest.raises(InvalidOption, match=r"enqueue_middleware: .*not an async function of .task, call_next."):
        App().enqueue_middleware(wrong)
