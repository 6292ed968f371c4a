"""Waiting for what happens elsewhere: bounded generously, so that no test fails because the machine is busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], wanted: Callable[[T], bool] | T, *, within_s: float = 60.0) -> T:
    """Look until it is as wanted; fails with what was seen last."""
    give_up_at = time.monotonic() + within_s
    while True:
        seen = look()
        if wanted(seen) if callable(wanted) else seen == wanted:
            return seen
        if time.monotonic() > give_up_at:
            what = "as wanted" if callable(wanted) else repr(wanted)
            raise AssertionError(f"not {what} within {within_s:g} s; last seen: {seen!r}")
        time.sleep(0.1)


def stays(look: Callable[[], T], wanted: T, *, for_s: float) -> None:
    """Look for so long; fails when it is ever otherwise."""
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        seen = look()
        assert seen == wanted, f"{seen!r} instead of {wanted!r}"
        time.sleep(0.2)


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until the condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of the test
            await asyncio.sleep(0.01)
