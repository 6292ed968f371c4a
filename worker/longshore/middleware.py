"""Middleware: code around handlers, written once for many of them.

A middleware is an async function of the context and of what comes next. It may look at the task before, at the result
or the error after, replace either, or not go on at all:

    @app.middleware
    async def timed(ctx: Context, call_next: CallNext) -> Any:
        started = monotonic()
        try:
            return await call_next(ctx)
        finally:
            ctx.logger.info("took %.3f s", monotonic() - started)

The one registered first is outermost, as in Asynq's ServeMux. It runs on the event loop, whatever the handler runs on.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

from longshore.context import Context
from longshore.errors import InvalidOption

M = TypeVar("M")


class CallNext(Protocol):
    """The rest: the middleware further in, and at last the handler. Its result is theirs; it raises what they raise.

    To be given the context the middleware was given. Called again, it runs the handler again, within the same attempt.
    """

    def __call__(self, context: Context[Any], /) -> Awaitable[Any]: ...


class Middleware(Protocol):
    """What it returns is the attempt's result; what it raises, the attempt's error."""

    def __call__(self, context: Context[Any], call_next: CallNext, /) -> Awaitable[Any]: ...


def checked_middleware(middleware: M, *, name: str = "middleware", takes: str = "ctx, call_next") -> M:
    """The middleware, when it is an async function. Raises InvalidOption."""
    if inspect.iscoroutinefunction(middleware) or inspect.iscoroutinefunction(getattr(middleware, "__call__", None)):  # noqa: B004  # which of the two kinds of async callable
        return middleware
    raise InvalidOption(name, f"{middleware!r} is not an async function of ({takes})")


def checked_chain(middleware: Any) -> tuple[Middleware, ...]:
    """Several, the first outermost. Raises InvalidOption for what is no sequence, and for each that is none."""
    if not isinstance(middleware, Sequence) or isinstance(middleware, str):
        raise InvalidOption("middleware", f"is {middleware!r}; give a list of them")
    return tuple(checked_middleware(one) for one in middleware)


def compose(middleware: Sequence[Middleware]) -> Middleware | None:
    """One middleware that is all of them, the first outermost; None when there are none."""
    if not middleware:
        return None
    first, *others = middleware
    rest = compose(others)
    if rest is None:
        return first
    inner = rest

    def both(context: Context[Any], call_next: CallNext) -> Awaitable[Any]:
        return first(context, lambda given: inner(given, call_next))

    return both
