"""How an attempt ended, turned into what the broker shall carry out."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import assert_never

from longshore.broker.base import Archive, Complete, Done, Outcome, Retry
from longshore.errors import HandlerSignal, LongshoreError, RetryLater, RevokeTask, SkipRetry
from longshore.policy.failed_attempt import FailedAttempt, RetryAction, RetryDecision
from longshore.policy.failure_policy import FailurePolicy, RetryFunction
from longshore.policy.retry import Decision, Failure, Step, Weight
from longshore.protocol.messages import TaskMessage

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


def failure_from(failed: FailedAttempt, *, policy: FailurePolicy) -> Failure:
    """What becomes of a failed attempt."""
    error = failed.error
    signal = signal_in(error)
    if isinstance(signal, RevokeTask):
        return Failure(error=text_of(error), weight=Weight.REVOKED)
    if isinstance(signal, SkipRetry):
        return Failure(error=text_of(error), weight=Weight.FINAL)
    if isinstance(signal, RetryLater):
        weight = Weight.FAILURE if signal.counts else Weight.UNCOUNTED
        return Failure(error=text_of(error), weight=weight, delay=signal.after, reason="put off by its handler")
    decision = None if policy.retry is None else _decision(failed, policy.retry)
    if decision is None:
        weight = Weight.FAILURE if _is_failure(error, policy) else Weight.POSTPONED
        return Failure(error=text_of(error), weight=weight, delay=_delay(failed, policy))
    return Failure(error=text_of(error), weight=_weight(decision), delay=decision.after, reason=decision.reason)


def failed_attempt(message: TaskMessage, error: BaseException, *, chance: float) -> FailedAttempt:
    """An attempt at a task, as policies and callbacks see it. ``chance`` is uniform in [0, 1)."""
    return FailedAttempt(
        error=error,
        type=message.type,
        task_id=message.id,
        queue=message.queue,
        payload=message.payload or b"",
        headers=message.headers,
        retried=message.retried,
        max_retry=message.max_retry,
        chance=chance,
    )


def _weight(decision: RetryDecision) -> Weight:
    match decision.action:
        case RetryAction.RETRY:
            return Weight.FAILURE if decision.counts else Weight.UNCOUNTED
        case RetryAction.ARCHIVE:
            return Weight.FINAL
        case RetryAction.DROP:
            return Weight.REVOKED
        case never:
            assert_never(never)


def signal_in(error: BaseException) -> HandlerSignal | None:
    """What an error says of its task: itself, or one that it was raised from."""
    seen: BaseException | None = error
    for _ in range(100):  # a chain may be a ring
        if seen is None or isinstance(seen, HandlerSignal):
            return seen
        seen = seen.__cause__
    return None


def text_of(error: BaseException) -> str:
    """What a task keeps of an error, whatever its ``__str__`` does."""
    if isinstance(error, asyncio.CancelledError):
        return "CancelledError: the handler cancelled itself"
    try:
        text = str(error)
    except BaseException:  # a broken __str__ must not cost the task its retry
        text = "(its text cannot be read)"
    if isinstance(error, LongshoreError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# The application's functions may do anything, also raise SystemExit: none of it may end the server, or cost the task.


def _decision(failed: FailedAttempt, retry: RetryFunction) -> RetryDecision | None:
    try:
        decision = retry(failed)
        if decision is None:
            return None
        if not isinstance(decision, RetryDecision) or not isinstance(decision.after, timedelta | None):
            raise TypeError(f"retry returned {decision!r}, not a RetryDecision or None")
        return decision
    except BaseException:
        _logger.exception("retry raised; the usual is done", extra={"action": "retry_broken"})
        return None


def _is_failure(error: BaseException, policy: FailurePolicy) -> bool:
    if policy.is_failure is None:
        return True
    try:
        return bool(policy.is_failure(error))
    except BaseException:
        _logger.exception("is_failure raised; counted as a failure", extra={"action": "is_failure_broken"})
        return True


def _delay(failed: FailedAttempt, policy: FailurePolicy) -> timedelta | None:
    if policy.retry_delay is None:
        return None
    try:
        delay = policy.retry_delay(failed.retried, failed.error)
        return delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
    except BaseException:
        _logger.exception("retry_delay raised; Asynq's delay is used", extra={"action": "retry_delay_broken"})
        return None
