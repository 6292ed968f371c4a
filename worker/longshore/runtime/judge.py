"""Chooses the outcome of each attempt, once, and hands it over; tells what people should know of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from random import Random
from typing import Any

from longshore.broker.base import Done, Requeue
from longshore.errors import ForeignError, LongshoreError
from longshore.handler import Handler
from longshore.policy.retry import Failure, Step, decide, storable
from longshore.runtime.acknowledger import Acknowledger
from longshore.runtime.attempt import Attempt, InFlight, Interruption
from longshore.runtime.ending import failure_from, outcome_for
from longshore.runtime.timing import Clock
from longshore.task import encode_payload

_logger = logging.getLogger("longshore.server")


class Judge:
    """``judge`` never raises and never waits."""

    def __init__(self, *, in_flight: InFlight, acknowledger: Acknowledger, clock: Clock, random: Random) -> None:
        self._in_flight = in_flight
        self._acknowledger = acknowledger
        self._clock = clock
        self._random = random

    def judge(
        self,
        attempt: Attempt,
        *,
        handler: Handler | None = None,
        result: Any = None,
        error: BaseException | None = None,
    ) -> None:
        """Answer for an attempt whose handler returned ``result`` or raised ``error``, or that is given up.

        The attempt's interruption outranks both. ``handler``: None when there is none to ask about the error.
        """
        attempt.answered = True
        message = attempt.message
        if error is None and attempt.interruption is None and message.retention is None:
            self._acknowledger.submit(attempt, Done(message=message))  # what decide() would say, for nearly every task
            return
        try:
            self._judge(attempt, handler, result, error)
        except Exception:
            # Nothing known leads here. But without an outcome the task's lease would be extended for ever; like this
            # it runs out, and the task is retried.
            self._in_flight.discard(attempt)
            with contextlib.suppress(Exception):
                _logger.exception("An attempt could not be judged", extra={"action": "judging_failed"})

    def _judge(self, attempt: Attempt, handler: Handler | None, result: Any, error: BaseException | None) -> None:
        message = attempt.message
        failure: Failure | None = None
        interruption = attempt.interruption
        if interruption is Interruption.LEASE_LOST:
            self._in_flight.discard(attempt)
            return
        if interruption is Interruption.SHUTDOWN and error is not None:
            self._acknowledger.submit(attempt, Requeue(message=message))
            report("A task was put back", "task_requeued", attempt, logging.INFO)
            return
        if interruption is Interruption.DEADLINE or interruption is Interruption.CANCELLED:
            failure = Failure(error=interruption.value)  # whatever the handler made of it, as in Asynq
        elif error is not None:
            failure = failure_from(error, handler=handler, retried=message.retried)
        kept = None if failure is not None or message.retention is None else _encoded(attempt, result)
        decision = decide(message, failure, now=self._clock(), jitter=self._random.random())
        self._acknowledger.submit(attempt, outcome_for(decision, result=kept))
        if failure is not None:
            level = logging.ERROR if decision.step is Step.ARCHIVE else logging.WARNING
            # A traceback where there is something to trace: not for our own errors, whose text says it all.
            ours = isinstance(error, LongshoreError | asyncio.CancelledError) and not isinstance(error, ForeignError)
            traced = error is not None and not ours
            report(
                "A task failed",
                "task_failed",
                attempt,
                level,
                raised=error if traced else None,
                error=storable(failure.error),
                step=decision.step.value,
                reason=decision.reason,
            )


def _encoded(attempt: Attempt, result: Any) -> bytes | None:
    try:
        return encode_payload(result)
    except Exception as error:  # the work is done: a result nobody can store is no reason to do it again
        report("A task's result cannot be stored", "result_unusable", attempt, logging.ERROR, error=str(error))
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
