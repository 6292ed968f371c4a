"""OpenTelemetry traces through tasks: from who enqueues to who runs them, in whatever language.

    longshore.opentelemetry.instrument(app)

Needs the extra ``otel`` (the API alone: without an SDK nothing is traced, and nothing is sent). The trace context
travels in the task's headers, in W3C's form (``traceparent``), or in what ``OTEL_PROPAGATORS`` says.

A span of kind PRODUCER covers each enqueueing through ``app.client()``, one of kind CONSUMER each attempt, around the
handler and the middleware added later. Their attributes are those of OpenTelemetry's messaging conventions; the names
carry the task's type, where the conventions would have the queue: it is the type that people look for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, TracerProvider

from longshore.app import App
from longshore.context import Context
from longshore.errors import RetryLater, RevokeTask
from longshore.middleware import CallNext, Middleware
from longshore.producer.middleware import EnqueueMiddleware, EnqueueNext
from longshore.protocol.snapshots import TaskInfo
from longshore.task import OPTIONS, Task

_NAME = "longshore"


def instrument(app: App, *, tracer_provider: TracerProvider | None = None, linked: bool = False) -> None:
    """Trace the tasks of an application: those its client creates, and those its handlers run.

    ``tracer_provider``: the global one when not given. ``linked``: see ``trace_handlers``. To be called once, before
    other middleware is added: what comes later is inside the spans.
    """
    app.enqueue_middleware(trace_enqueueing(tracer_provider=tracer_provider))
    app.middleware(trace_handlers(tracer_provider=tracer_provider, linked=linked))


def trace_enqueueing(*, tracer_provider: TracerProvider | None = None) -> EnqueueMiddleware:
    """An enqueue middleware, for a Client of its own: ``Client(redis, middleware=[trace_enqueueing()])``."""
    tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)

    async def traced(task: Task, call_next: EnqueueNext) -> TaskInfo:
        queue = task.options.get("queue", OPTIONS["queue"].default)
        attributes = _attributes("send", "enqueue", queue=queue, task_type=task.type, size=len(task.payload or b""))
        with tracer.start_as_current_span(
            f"enqueue {task.type}", kind=SpanKind.PRODUCER, attributes=attributes, set_status_on_exception=False
        ) as span:
            headers: dict[str, str] = {}
            propagate.inject(headers)
            try:
                info = await call_next(task.with_options(headers=headers) if headers else task)
            except Exception as error:
                _fail(span, error)
                raise
            span.set_attribute("messaging.message.id", info.id)
            return info

    return traced


def trace_handlers(*, tracer_provider: TracerProvider | None = None, linked: bool = False) -> Middleware:
    """A middleware: a span for each attempt, within the trace of who enqueued the task.

    ``linked``: each attempt is a trace of its own instead, with a link to the enqueueing: for tasks that wait long, or
    are many to one request.
    """
    tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)

    async def traced(ctx: Context[Any], call_next: CallNext) -> Any:
        sender = propagate.extract(ctx.headers, getter=_HEADERS)
        links = [Link(trace.get_current_span(sender).get_span_context())] if linked else []
        with tracer.start_as_current_span(
            f"process {ctx.type}",
            context=contexts.Context() if linked else sender,
            kind=SpanKind.CONSUMER,
            links=[link for link in links if link.context.is_valid],
            attributes={
                **_attributes("process", "process", queue=ctx.queue, task_type=ctx.type, size=len(ctx.payload)),
                "messaging.message.id": ctx.task_id,
                "asynq.task.retried": ctx.retried,
                "asynq.task.max_retry": ctx.max_retry,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await call_next(ctx)
            except (RevokeTask, RetryLater):
                raise  # the handler's word that there is nothing to do, or not now
            except BaseException as error:  # a deadline is a cancellation
                span.record_exception(error)
                _fail(span, error)
                raise

    return traced


class _Headers(Getter[Mapping[str, str]]):
    """Reads headers whatever their case: Go's own carrier of HTTP headers writes ``Traceparent``."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        found = [value for name, value in carrier.items() if name.lower() == key.lower()]
        return found or None

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


_HEADERS = _Headers()


def _attributes(kind: str, operation: str, *, queue: str, task_type: str, size: int) -> dict[str, str | int]:
    return {
        "messaging.system": "asynq",
        "messaging.operation.type": kind,
        "messaging.operation.name": operation,
        "messaging.destination.name": queue,
        "messaging.message.body.size": size,
        "asynq.task.type": task_type,
    }


def _fail(span: Span, error: BaseException) -> None:
    span.set_status(StatusCode.ERROR, type(error).__name__)  # not its text: it may quote a payload
    span.set_attribute("error.type", type(error).__qualname__)
