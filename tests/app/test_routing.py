"""Which handler a task type has."""

from __future__ import annotations

import pytest

from longshore import App, HandlerNotFound, InvalidOption


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


def test_a_refused_pattern_leaves_the_app_as_it_was() -> None:
    app = App()
    with pytest.raises(InvalidOption):
        app.task("a")(lambda x, y, z: None)
    assert app.patterns == ()
