"""A ready-made answer to failed attempts: delays that grow, and errors told apart by their type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from longshore.errors import Interrupted, InvalidOption
from longshore.policy.failed_attempt import FailedAttempt, RetryDecision
from longshore.policy.retry import MAX_DELAY

_ErrorTypes = tuple[type[BaseException], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Give it as ``retry`` to an application or a task. Raises InvalidOption for values that make no sense.

    The wait is ``delay · backoff^retried``, at most ``max_delay``, then up to ``jitter`` of it more or less.
    How often is the task's own ``max_retry``.
    """

    delay: timedelta | float = 15.0  # before the first retry; a number is seconds
    backoff: float = 2.0  # each wait is so many times the one before; 1: always the same
    jitter: float = 0.1  # 0…1: the part of a wait that is left to chance, so that tasks do not return in step
    max_delay: timedelta | float = 86400.0  # no wait is longer, but for jitter; a number is seconds
    retry_for: _ErrorTypes = (BaseException,)  # a handler's other errors archive the task at once
    give_up_for: _ErrorTypes = ()  # these archive the task at once; also Interrupted, when named here
    uncounted_for: _ErrorTypes = ()  # these are retried and use up no retry, such as LeaseExpired

    def __post_init__(self) -> None:
        for name in ("delay", "max_delay"):
            _seconds(name, getattr(self, name))
        _number("backoff", self.backoff, least=1.0)
        if _number("jitter", self.jitter, least=0.0) > 1:
            raise InvalidOption("jitter", f"is {self.jitter!r}; give a number from 0 to 1")
        for name in ("retry_for", "give_up_for", "uncounted_for"):
            object.__setattr__(self, name, _error_types(name, getattr(self, name)))

    def __call__(self, failed: FailedAttempt) -> RetryDecision:
        """What shall become of the task."""
        error = failed.error
        if isinstance(error, self.uncounted_for):
            return RetryDecision.retry(after=self._wait(failed), counts=False, reason="retried without being counted")
        if isinstance(error, self.give_up_for):
            return RetryDecision.archive(reason="not to be retried")
        # What ended an attempt from outside says nothing about its handler: only give_up_for can mean it.
        if not isinstance(error, (*self.retry_for, Interrupted)):
            return RetryDecision.archive(reason="not among the errors to retry")
        return RetryDecision.retry(after=self._wait(failed))

    def _wait(self, failed: FailedAttempt) -> timedelta:
        longest_s = min(_seconds("max_delay", self.max_delay), MAX_DELAY.total_seconds())
        try:
            wait_s = min(_seconds("delay", self.delay) * self.backoff**failed.retried, longest_s)
        except OverflowError:
            wait_s = longest_s
        return timedelta(seconds=wait_s * (1 + self.jitter * (2 * failed.chance - 1)))


def _seconds(name: str, value: Any) -> float:
    return _number(name, value.total_seconds() if isinstance(value, timedelta) else value, least=0.0)


def _number(name: str, value: Any, *, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        raise InvalidOption(name, f"is {value!r}; give a number from {least:g}")
    return float(value)


def _error_types(name: str, value: Any) -> _ErrorTypes:
    types = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(one, type) and issubclass(one, BaseException) for one in types):
        raise InvalidOption(name, f"is {value!r}; give error classes, such as (ConnectionError, TimeoutError)")
    return types
