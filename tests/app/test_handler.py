"""From a function to what the server calls: which parameter gets what, and which functions are refused."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from longshore import Context, InvalidOption
from longshore.handler import handler_for

CONTEXT: Any = object()


def nothing() -> str:
    return "called"


def payload_only(payload: int) -> int:
    return payload


def context_only(ctx: Context) -> object:
    return ctx


def context_first(ctx: Context, payload: int) -> tuple[object, int]:
    return ctx, payload


def payload_first(payload: int, the_context: Context) -> tuple[object, int]:
    return the_context, payload


def bare(ctx, payload):  # type: ignore[no-untyped-def]
    return ctx, payload


def bare_other_names(a, b):  # type: ignore[no-untyped-def]
    return a, b


def half_bare(a, b: int):  # type: ignore[no-untyped-def]
    return a, b


def keyword_only(*, payload: int, ctx: Context) -> tuple[object, int]:
    return ctx, payload


def positional_only(ctx: Context, payload: int, /) -> tuple[object, int]:
    return ctx, payload


def positional_only_payload_first(payload: int, the_context: Context, /) -> tuple[object, int]:
    return the_context, payload


def with_defaults(payload: int = 5, ctx: Context = CONTEXT, /) -> tuple[object, int]:
    return ctx, payload


def with_default(ctx: Context, payload: int = 5) -> tuple[object, int]:
    return ctx, payload


class Callee:
    def __call__(self, ctx: Context, payload: int) -> tuple[object, int]:
        return ctx, payload

    def method(self, payload: int) -> int:
        return payload


def configured(settings: str, ctx: Context, payload: int) -> tuple[object, int]:
    return ctx, payload


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (nothing, "called"),
        (payload_only, 7),
        (context_only, CONTEXT),
        (context_first, (CONTEXT, 7)),
        (payload_first, (CONTEXT, 7)),
        (bare, (CONTEXT, 7)),
        (bare_other_names, (CONTEXT, 7)),
        (half_bare, (CONTEXT, 7)),
        (keyword_only, (CONTEXT, 7)),
        (positional_only, (CONTEXT, 7)),
        (positional_only_payload_first, (CONTEXT, 7)),
        (with_defaults, (CONTEXT, 7)),
        (with_default, (CONTEXT, 7)),
        (Callee(), (CONTEXT, 7)),
        (Callee().method, 7),
        (functools.partial(configured, "s"), (CONTEXT, 7)),
    ],
)
def test_context_and_payload_reach_the_parameters_that_ask_for_them(function: Any, result: Any) -> None:
    handler = handler_for("a", function)
    positional, named = handler.arguments(CONTEXT, b"7")
    assert handler.function(*positional, **named) == result


@pytest.mark.parametrize("function", [with_default, with_defaults])
def test_an_empty_payload_leaves_a_parameter_to_its_default(function: Any) -> None:
    handler = handler_for("a", function)
    positional, named = handler.arguments(CONTEXT, None)
    assert function(*positional, **named) == (CONTEXT, 5)


async def coroutine() -> None: ...


class AsyncCallee:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (nothing, False),
        (coroutine, True),
        (AsyncCallee(), True),
        (functools.partial(coroutine), True),
        (Callee(), False),
    ],
)
def test_async_functions_are_told_from_plain_ones(function: Any, is_async: bool) -> None:
    assert handler_for("a", function).is_async is is_async


def yields() -> Iterator[int]:
    yield 1


async def yields_later() -> AsyncIterator[int]:
    yield 1


def too_many(ctx: Context, payload: int, more: int) -> None: ...


def unreadable(payload: complex) -> None: ...


def unresolvable(payload: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (too_many, "handler: too_many takes payload, more; a handler takes a context and one payload at most"),
        (unreadable, "handler: unreadable, parameter payload: <class 'complex'> cannot be read from JSON"),
        (unresolvable, "handler: unresolvable: an annotation cannot be resolved at run time: name 'Missing' is not"),
        (7, "handler: 7 is not a function"),
        (yields, "handler: yields yields, and nobody would take what it yields"),
        (yields_later, "handler: yields_later yields, and nobody would take what it yields"),
    ],
)
def test_a_function_no_task_can_be_given_to_is_refused(function: Any, problem: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        handler_for("a", function)
    assert str(refused.value).startswith(problem)
