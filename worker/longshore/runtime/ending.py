"""How an attempt ended, turned into what the broker shall carry out."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import assert_never

from longshore.broker.base import Archive, Complete, Done, Outcome, Retry
from longshore.errors import HandlerSignal, LongshoreError, RevokeTask, SkipRetry
from longshore.handler import Handler
from longshore.policy.retry import Decision, Failure, Step, Weight

_logger = logging.getLogger("longshore.server")


def outcome_for(decision: Decision, *, result: bytes | None = None) -> Outcome:
    """The broker's operation for a decision. ``result`` is stored when the task is kept."""
    match decision.step:
        case Step.DONE:
            return Done(message=decision.message)
        case Step.COMPLETE:
            return Complete(message=decision.message, result=result)
        case Step.RETRY:
            assert decision.retry_at is not None
            return Retry(message=decision.message, retry_at=decision.retry_at, is_failure=decision.counts_as_failure)
        case Step.ARCHIVE:
            return Archive(message=decision.message)
        case never:
            assert_never(never)


def failure_from(error: BaseException, *, handler: Handler | None, retried: int) -> Failure:
    """What a handler's error asks for. Signals count also as the cause of another error (``raise … from``)."""
    signal = _signal_in(error)
    if isinstance(signal, RevokeTask):
        return Failure(error=_text(error), weight=Weight.REVOKED)
    if isinstance(signal, SkipRetry):
        return Failure(error=_text(error), weight=Weight.FINAL)
    if handler is None:
        return Failure(error=_text(error))
    return Failure(
        error=_text(error),
        weight=Weight.FAILURE if _is_failure(error, handler) else Weight.POSTPONED,
        delay=_delay(error, handler, retried),
    )


def _signal_in(error: BaseException) -> HandlerSignal | None:
    seen: BaseException | None = error
    for _ in range(100):  # a chain may be a ring
        if seen is None or isinstance(seen, HandlerSignal):
            return seen
        seen = seen.__cause__
    return None


def _text(error: BaseException) -> str:
    if isinstance(error, LongshoreError):
        return str(error)
    if isinstance(error, asyncio.CancelledError):
        return "CancelledError: the handler cancelled itself"
    try:
        text = str(error)
    except Exception:  # a broken __str__ must not cost the task its retry
        text = "(its text cannot be read)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_failure(error: BaseException, handler: Handler) -> bool:
    if handler.is_failure is None:
        return True
    try:
        return bool(handler.is_failure(error))
    except Exception:
        _logger.exception("is_failure raised; counted as a failure", extra={"action": "is_failure_broken"})
        return True


def _delay(error: BaseException, handler: Handler, retried: int) -> timedelta | None:
    if handler.retry_delay is None:
        return None
    try:
        delay = handler.retry_delay(retried, error)
        return delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
    except Exception:
        _logger.exception("retry_delay raised; Asynq's delay is used", extra={"action": "retry_delay_broken"})
        return None
