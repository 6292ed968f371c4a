"""Applications within applications: whose handlers they are, and what holds for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from longshore import App, InvalidOption


def nothing() -> None: ...


def other() -> None: ...


def test_patterns_are_led_by_the_prefix_at_any_depth() -> None:
    outer, middle, inner = App(), App(), App()
    inner.task("send")(nothing)
    middle.include(inner, prefix="email:")
    outer.include(middle, prefix="shop:")
    inner.task("bounce")(other)
    assert outer.patterns == ("shop:email:send", "shop:email:bounce")
    assert outer.handler("shop:email:send").function is nothing
    assert outer.handler("shop:email:bounce").function is other
    assert middle.patterns == ("email:send", "email:bounce")


def test_without_a_prefix_the_patterns_are_as_they_were() -> None:
    outer, inner = App(), App()
    outer.task("a")(nothing)
    inner.task("b")(other)
    outer.include(inner)
    assert outer.patterns == ("a", "b")


def test_one_application_can_be_included_twice() -> None:
    outer, inner = App(), App()
    inner.task("send")(nothing)
    outer.include(inner, prefix="a:")
    outer.include(inner, prefix="b:")
    assert outer.patterns == ("a:send", "b:send")


def test_the_included_ones_own_settings_come_first() -> None:
    mine: Any = lambda retried, error: timedelta(seconds=1)  # noqa: E731
    theirs: Any = lambda retried, error: timedelta(seconds=2)  # noqa: E731
    outer, own, bare = App(retry_delay=mine), App(retry_delay=theirs), App()
    own.task("a")(nothing)
    bare.task("b")(nothing)
    outer.include(own)
    outer.include(bare)
    assert outer.handler("a").failure_policy.retry_delay is theirs
    assert outer.handler("b").failure_policy.retry_delay is mine
    assert bare.handler("b").failure_policy.retry_delay is None


def test_a_pattern_handled_twice_is_refused_whichever_comes_first() -> None:
    outer, inner = App(), App()
    inner.task("send")(nothing)
    outer.task("email:send")(other)
    with pytest.raises(InvalidOption, match=r"pattern: 'email:send' is already handled by other"):
        outer.include(inner, prefix="email:")
    assert outer.patterns == ("email:send",)
    outer.include(inner, prefix="mail:")
    with pytest.raises(InvalidOption, match=r"pattern: 'mail:send' is already handled by nothing"):
        outer.task("mail:send")(other)
    outer.task("mail:bounce")(other)
    with pytest.raises(InvalidOption, match=r"pattern: 'mail:bounce' is already handled by other"):
        inner.task("bounce")(nothing)
    assert inner.patterns == ("send",)


def test_no_application_includes_itself() -> None:
    outer, inner = App(), App()
    outer.include(inner)
    for one, another in ((outer, outer), (inner, outer)):
        with pytest.raises(InvalidOption, match="app: an application cannot include itself"):
            one.include(another)
