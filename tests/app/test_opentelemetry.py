"""Traces through tasks: which spans there are, how they hang together, and what they tell."""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
from typing import Any

import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from go_peer import GoPeer
from longshore import App, CallNext, Client, Context, DuplicateTask, RetryLater, RevokeTask
from longshore.opentelemetry import instrument, trace_enqueueing, trace_handlers
from runtime.harness import serving, state, until

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def ids(context: SpanContext | None) -> tuple[int, int]:
    assert context is not None
    return context.trace_id, context.span_id


async def run(app: App, url: str, client: redis.Redis, kind: str, payload: Any = None, **options: Any) -> str:
    async with app.client(url) as producer, serving(app, url, queues={"mail": 1}):
        task_id = (await producer.enqueue(kind, payload, **options)).id
        await until(lambda: state(client, task_id, "mail") not in ("pending", "active"))
    return task_id


@pytest.mark.parametrize("plain", [False, True], ids=["async", "thread"])
async def test_an_attempt_is_a_child_of_the_enqueueing_and_a_parent_of_what_its_handler_does(
    redis_url: str, redis_client: redis.Redis, exporter: InMemorySpanExporter, provider: TracerProvider, plain: bool
) -> None:
    app = App()
    instrument(app, tracer_provider=provider)
    tracer = provider.get_tracer("test")

    def work() -> None:
        with tracer.start_as_current_span("within"):
            pass

    if plain:
        app.task("email:send", queue="mail")(work)
    else:

        @app.task("email:send", queue="mail")
        async def send() -> None:
            work()

    with tracer.start_as_current_span("request"):
        task_id = await run(app, redis_url, redis_client, "email:send", max_retry=3)
    found = spans(exporter)
    names = ["request", "enqueue email:send", "process email:send", "within"]
    assert set(found) == set(names)
    for parent, child in itertools.pairwise(names):
        assert ids(found[child].parent) == ids(found[parent].context)
    sent, processed = found["enqueue email:send"], found["process email:send"]
    assert (sent.kind, processed.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    common = {
        "messaging.system": "asynq",
        "messaging.destination.name": "mail",
        "messaging.message.id": task_id,
        "messaging.message.body.size": 0,
        "asynq.task.type": "email:send",
    }
    assert sent.attributes == common | {"messaging.operation.type": "send", "messaging.operation.name": "enqueue"}
    assert processed.attributes == common | {
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "asynq.task.retried": 0,
        "asynq.task.max_retry": 3,
    }
    assert (sent.status.status_code, processed.status.status_code) == (StatusCode.UNSET, StatusCode.UNSET)


async def test_a_linked_attempt_is_a_trace_of_its_own(
    redis_url: str, redis_client: redis.Redis, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    app = App()
    instrument(app, tracer_provider=provider, linked=True)
    app.task("a", queue="mail")(lambda: None)
    await run(app, redis_url, redis_client, "a")
    sent, processed = spans(exporter)["enqueue a"], spans(exporter)["process a"]
    assert processed.parent is None
    assert [ids(link.context) for link in processed.links] == [ids(sent.context)]


async def _value_error() -> None:
    raise ValueError("secret")


async def _revoke() -> None:
    raise RevokeTask


async def _later() -> None:
    raise RetryLater(after=60)


async def _sleep() -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("handler", "status", "error_type"),
    [
        (_value_error, StatusCode.ERROR, "ValueError"),
        (_sleep, StatusCode.ERROR, "CancelledError"),
        (_revoke, StatusCode.UNSET, None),
        (_later, StatusCode.UNSET, None),
    ],
    ids=["an error", "a deadline", "revoked", "put off"],
)
async def test_a_failed_attempt_is_marked(
    redis_url: str,
    redis_client: redis.Redis,
    exporter: InMemorySpanExporter,
    provider: TracerProvider,
    handler: Any,
    status: StatusCode,
    error_type: str | None,
) -> None:
    app = App()
    instrument(app, tracer_provider=provider)
    app.task("a", queue="mail")(handler)
    await run(app, redis_url, redis_client, "a", timeout=1)
    span = spans(exporter)["process a"]
    assert span.status.status_code is status
    assert (span.attributes or {}).get("error.type") == error_type
    assert "secret" not in str(span.status.description)
    assert len(span.events) == (error_type is not None)


async def test_a_refused_task_is_marked(
    redis_url: str, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    async with Client(redis_url, middleware=[trace_enqueueing(tracer_provider=provider)]) as client:
        await client.enqueue("a", unique_for=60)
        with pytest.raises(DuplicateTask):
            await client.enqueue("a", unique_for=60)
    statuses = [
        (span.status.status_code, (span.attributes or {}).get("error.type")) for span in exporter.get_finished_spans()
    ]
    assert statuses == [(StatusCode.UNSET, None), (StatusCode.ERROR, "DuplicateTask")]


@pytest.mark.go
@pytest.mark.parametrize("name", ["traceparent", "Traceparent"])
async def test_a_trace_begun_in_go_goes_on(
    redis_url: str,
    redis_client: redis.Redis,
    go_peer: GoPeer,
    exporter: InMemorySpanExporter,
    provider: TracerProvider,
    name: str,
) -> None:
    app = App(middleware=[trace_handlers(tracer_provider=provider)])
    app.task("email:send")(lambda: None)
    port = redis_client.connection_pool.connection_kwargs["port"]
    go_peer.enqueue(port, type="email:send", payload="x", headers=f'{{"{name}":"{PARENT}"}}')
    async with serving(app, redis_url):
        await until(lambda: spans(exporter))
    parent = spans(exporter)["process email:send"].parent
    assert parent is not None
    assert trace.format_trace_id(parent.trace_id) == PARENT.split("-")[1]
    assert trace.format_span_id(parent.span_id) == PARENT.split("-")[2]


async def test_the_headers_of_a_task_of_ours_carry_w3cs_form(redis_url: str, provider: TracerProvider) -> None:
    async with Client(redis_url, middleware=[trace_enqueueing(tracer_provider=provider)]) as client:
        info = await client.enqueue("a", headers={"mine": "1"})
    headers = dict(info.message.headers)
    assert headers["mine"] == "1"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", headers["traceparent"])


async def test_middleware_added_later_is_inside_the_span(
    redis_url: str, redis_client: redis.Redis, provider: TracerProvider
) -> None:
    app = App()
    instrument(app, tracer_provider=provider)
    seen: list[bool] = []

    @app.middleware
    async def look(ctx: Context, call_next: CallNext) -> Any:
        seen.append(trace.get_current_span().get_span_context().is_valid)
        return await call_next(ctx)

    app.task("a", queue="mail")(lambda: None)
    await run(app, redis_url, redis_client, "a")
    assert seen == [True]


async def test_without_an_sdk_nothing_is_added(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    instrument(app, tracer_provider=trace.NoOpTracerProvider())
    app.task("a", queue="mail")(lambda: None)
    async with app.client(redis_url) as client:
        assert dict((await client.enqueue("a")).message.headers) == {}
    task_id = await run(app, redis_url, redis_client, "a")
    assert state(redis_client, task_id, "mail") is None


def test_it_is_imported_only_when_asked_for() -> None:
    code = "import sys, longshore; sys.exit('longshore.opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
