"""What an application says about failed attempts, for one task type or for all. Values only: who asks guards itself."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from longshore.errors import InvalidOption
from longshore.policy.failed_attempt import FailedAttempt, RetryDecision

RetryFunction = Callable[[FailedAttempt], "RetryDecision | None"]
"""A failed attempt to what shall become of its task; None: whatever would be done without the function."""

RetryDelay = Callable[[int, BaseException], "timedelta | float"]
"""(failed attempts before this one, the error) to the wait before the next; a number is seconds."""

IsFailure = Callable[[BaseException], bool]
"""Whether an error counts as a failure; when not, the task waits like after one, but loses no retry."""

ErrorCallback = Callable[[FailedAttempt, RetryDecision], "Awaitable[object] | object"]
"""Told of a failed attempt and of what becomes of its task. Async or plain; plain ones run in a thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailurePolicy:
    """The functions of a task type, or of a whole application."""

    retry: RetryFunction | None = None  # asked first
    retry_delay: RetryDelay | None = None  # None: Asynq's default delays
    is_failure: IsFailure | None = None  # None: every error is a failure
    on_error: tuple[ErrorCallback, ...] = ()  # all are called

    def within(self, outer: FailurePolicy) -> FailurePolicy:
        """This one, completed by what holds around it. The outer callbacks are called first."""
        return FailurePolicy(
            retry=self.retry or outer.retry,
            retry_delay=self.retry_delay or outer.retry_delay,
            is_failure=self.is_failure or outer.is_failure,
            on_error=outer.on_error + self.on_error,
        )


def checked_policy(
    *,
    retry: Any = None,
    retry_delay: Any = None,
    is_failure: Any = None,
    on_error: tuple[Any, ...] = (),
) -> FailurePolicy:
    """The policy of these functions. Raises InvalidOption for what cannot be called, or would have to be awaited."""
    for name, function in (("retry", retry), ("retry_delay", retry_delay), ("is_failure", is_failure)):
        if function is None:
            continue
        _check_callable(name, function)
        # It is asked between two tasks: nothing may be waited for there.
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004  # which of the two kinds of async callable
            raise InvalidOption(name, f"{function!r} is async; give a plain function that answers at once")
    for function in on_error:
        _check_callable("on_error", function)
    return FailurePolicy(retry=retry, retry_delay=retry_delay, is_failure=is_failure, on_error=on_error)


def _check_callable(name: str, function: Any) -> None:
    if not callable(function):
        raise InvalidOption(name, f"{function!r} is not a function")
