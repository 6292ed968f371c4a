"""Which handler a task type has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from longshore import App, HandlerNotFound, InvalidOption, RateLimit, RetryDecision, RetryLater


def test_the_exact_type_wins_over_the_longest_prefix_over_shorter_ones() -> None:
    app = App()
    for pattern in ("email:", "email:welcome", "email:welcome:big"):
        app.task(pattern)(lambda: None)
    found = {
        kind: app.handler(kind).pattern
        for kind in ("email:welcome", "email:welcome:b", "email:x", "email:welcome:big2")
    }
    assert found == {
        "email:welcome": "email:welcome",
        "email:welcome:b": "email:welcome",
        "email:x": "email:",
        "email:welcome:big2": "email:welcome:big",
    }


def test_a_type_without_handler_is_told_by_name() -> None:
    app = App()
    app.task("email:")(lambda: None)
    with pytest.raises(HandlerNotFound, match="handler not found for task 'emai'"):
        app.handler("emai")


def test_a_blank_or_repeated_pattern_is_refused() -> None:
    app = App()
    app.task("a")(lambda: None)
    with pytest.raises(InvalidOption, match=r"pattern: 'a' is already handled by .*lambda"):
        app.task("a")(lambda: None)
    with pytest.raises(InvalidOption, match="pattern: is blank"):
        app.task(" ")(lambda: None)


def test_a_decorator_without_parentheses_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"pattern: is <function .*give the task type, as in @app.task\('"):

        @App().task  # type: ignore[arg-type]
        def handler() -> None: ...


@pytest.mark.parametrize(
    ("misuse", "problem"),
    [
        (lambda app: app.include("mail:app"), "app: 'mail:app' is not an App"),
        (lambda app: app.include(App(), prefix=5), "prefix: is 5; give the beginning of task types"),
        (lambda app: app.limit_queue(5, rate_limit="1/s"), "limit_queue: 5 is not the name of a queue"),
        (lambda app: app.task("a", middleware=5), "middleware: is 5; give a list of them"),
        (lambda app: RateLimit(count=1, per=5), "rate_limit: its period is 5; give a timedelta"),  # type: ignore[arg-type]
        (lambda app: RetryDecision.retry(after=float("nan")), "after: is not a duration"),
        (lambda app: RetryLater(after=float("inf")), "after: is inf; give a timedelta or seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(misuse: Callable[[App], Any], problem: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        misuse(App())
    assert str(refused.value).startswith(problem)


def test_a_refused_pattern_leaves_the_app_as_it_was() -> None:
    app = App()
    with pytest.raises(InvalidOption):
        app.task("a")(lambda x, y, z: None)
    assert app.patterns == ()
