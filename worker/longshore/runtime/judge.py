"""Chooses the outcome of each attempt, once, and hands it over; tells what people should know of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from random import Random
from time import monotonic
from types import MappingProxyType
from typing import Any

from longshore.broker.base import Done, Requeue
from longshore.errors import (
    DeadlineExceeded,
    ForeignError,
    HandlerSignal,
    Interrupted,
    LongshoreError,
    RevokeTask,
    SkipRetry,
    TaskCancelled,
)
from longshore.policy.failure_policy import FailurePolicy
from longshore.policy.retry import Step, decide, storable, told
from longshore.runtime.acknowledger import Acknowledger
from longshore.runtime.attempt import Attempt, InFlight, Interruption
from longshore.runtime.ending import failed_attempt, failure_from, outcome_for, text_of
from longshore.runtime.error_callbacks import ErrorCallbacks
from longshore.runtime.measures import Measures
from longshore.runtime.timing import Clock
from longshore.task import encode_payload

_logger = logging.getLogger("longshore.server")

# What the inspector asked for beyond Asynq's cancellation, said as a handler would say it.
_SIGNALS: Mapping[Interruption, type[HandlerSignal] | None] = MappingProxyType(
    {
        Interruption.CANCELLED: None,
        Interruption.CANCELLED_FOR_GOOD: SkipRetry,
        Interruption.DELETED: RevokeTask,
    }
)


class Judge:
    """``judge`` never raises and never waits."""

    def __init__(
        self,
        *,
        in_flight: InFlight,
        acknowledger: Acknowledger,
        policy_for: Callable[[str], FailurePolicy],
        error_callbacks: ErrorCallbacks,
        clock: Clock,
        random: Random,
        measures: Measures | None = None,
    ) -> None:
        """``policy_for``: what the application says about failed attempts at tasks of a type."""
        self._in_flight = in_flight
        self._acknowledger = acknowledger
        self._policy_for = policy_for
        self._error_callbacks = error_callbacks
        self._clock = clock
        self._random = random
        self._measures = measures

    def judge(self, attempt: Attempt, *, result: Any = None, error: BaseException | None = None) -> None:
        """Answer for an attempt whose handler returned ``result`` or raised ``error``, or that is given up.

        The attempt's interruption outranks both.
        """
        attempt.answered = True
        if self._measures is not None:
            attempt.answered_s = monotonic()
        message = attempt.message
        if error is None and attempt.interruption is None and message.retention is None:
            self._acknowledger.submit(attempt, Done(message=message))  # what decide() would say, for nearly every task
            return
        try:
            self._judge(attempt, result, error)
        except Exception:
            # Nothing known leads here. But without an outcome the task's lease would be extended for ever; like this
            # it runs out, and the task is retried.
            self._in_flight.discard(attempt)
            with contextlib.suppress(Exception):
                _logger.exception("An attempt could not be judged", extra={"action": "judging_failed"})

    def _judge(self, attempt: Attempt, result: Any, error: BaseException | None) -> None:
        interruption = attempt.interruption
        if interruption is Interruption.LEASE_LOST:
            self._in_flight.discard(attempt)
            if self._measures is not None:
                self._measures.lost(attempt)
            return
        if interruption is Interruption.SHUTDOWN and error is not None:
            self._acknowledger.submit(attempt, Requeue(message=attempt.message))
            report("A task was put back", "task_requeued", attempt, logging.INFO)
            return
        if interruption is Interruption.DEADLINE:
            self._fail(attempt, _whatever(DeadlineExceeded(), error))
        elif interruption is not None and interruption in _SIGNALS:
            cancelled = TaskCancelled(interruption.value)
            signal = _SIGNALS[interruption]
            cancelled.__cause__ = None if signal is None else signal()
            self._fail(attempt, _whatever(cancelled, error))
        elif error is not None:
            self._fail(attempt, error)
        else:
            kept = None if attempt.message.retention is None else _encoded(attempt, result)
            decision = decide(attempt.message, None, now=self._clock(), jitter=0)
            self._acknowledger.submit(attempt, outcome_for(decision, result=kept))

    def _fail(self, attempt: Attempt, error: BaseException) -> None:
        message, now, chance = attempt.message, self._clock(), self._random.random()
        policy = self._policy_for(message.type)
        failed = failed_attempt(message, error, chance=chance)
        failure = failure_from(failed, policy=policy)
        decision = decide(message, failure, now=now, jitter=chance)
        self._acknowledger.submit(attempt, outcome_for(decision))
        if policy.on_error:
            self._error_callbacks.tell(policy.on_error, failed, told(decision, now=now))
        # A traceback where there is something to trace: not for our own errors, whose text says it all.
        ours = isinstance(error, LongshoreError | asyncio.CancelledError) and not isinstance(error, ForeignError)
        report(
            "A task failed",
            "task_failed",
            attempt,
            logging.ERROR if decision.step is Step.ARCHIVE else logging.WARNING,
            raised=None if ours else error,
            error=storable(failure.error),
            step=decision.step.value,
            reason=decision.reason,
        )


def _whatever(interruption: Interrupted, error: BaseException | None) -> Interrupted:
    """What counts is what ended the attempt, whatever its handler made of it, as in Asynq; that is only its context."""
    interruption.__context__ = error
    return interruption


def _encoded(attempt: Attempt, result: Any) -> bytes | None:
    try:
        return encode_payload(result)
    except BaseException as error:  # the work is done: a result nobody can store is no reason to do it again
        report("A task's result cannot be stored", "result_unusable", attempt, logging.ERROR, error=text_of(error))
        return None


def report(
    sentence: str,
    action: str,
    attempt: Attempt,
    level: int,
    *,
    raised: BaseException | None = None,
    **fields: object,
) -> None:
    """Log something about a task, which is named by the record's fields."""
    message = attempt.message
    identity = {"queue": message.queue, "task_id": message.id, "task_type": message.type}
    _logger.log(level, sentence, extra={"action": action, **identity, **fields}, exc_info=raised)
