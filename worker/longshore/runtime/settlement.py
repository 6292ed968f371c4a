"""Carries outcomes to Redis, and says which could not be carried."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from longshore.broker.base import Broker, Dequeued, Outcome, Requeue
from longshore.errors import BrokerUnavailable, InvalidData, LongshoreError
from longshore.runtime.attempt import Attempt, InFlight
from longshore.runtime.measures import Measures
from longshore.runtime.outage import Outage
from longshore.runtime.timing import Clock

_logger = logging.getLogger("longshore.server")


class Answer(NamedTuple):
    """What shall become of an attempt's task. A tuple: one is made for every task."""

    attempt: Attempt
    outcome: Outcome


class Settlement:
    """Shared by the acknowledger and the syncer.

    An outcome is dropped once the lease of its task is over: the task may run elsewhere then, and is no longer ours to
    judge. A requeue is tried once: repeated after a lost reply, it could take the task from the next worker.
    """

    def __init__(
        self, broker: Broker, *, in_flight: InFlight, outage: Outage, clock: Clock, measures: Measures | None = None
    ) -> None:
        self.on_settled: Callable[[], None] = lambda: None  # fewer tasks are in flight
        self._broker = broker
        self._in_flight = in_flight
        self._outage = outage
        self._clock = clock
        self._measures = measures

    async def settle(self, queue: str, answers: Sequence[Answer]) -> list[Answer]:
        """Carry out the answers of one queue in one call; those to try again. Never raises for Redis' sake."""
        now = self._clock()
        valid = self._still_ours(answers, now)
        left: list[Answer] = []
        if valid:
            try:
                owned = await self._broker.settle(queue, [answer.outcome for answer in valid], now=now)
            except BrokerUnavailable as error:
                self._outage.failed(f"queue {queue}", error)
                left = self._to_try_again(valid)
            except LongshoreError as error:
                self._outage.refused(f"queue {queue}", error)
                left = self._to_try_again(valid)
            except Exception:
                _logger.exception("Outcomes could not be written", extra={"action": "settle_failed", "queue": queue})
                left = self._to_try_again(valid)
            else:
                self._outage.succeeded(f"queue {queue}")
                self._conclude(queue, valid, owned)
        self.on_settled()
        return left

    async def settle_and_take(
        self,
        queue: str,
        answers: Sequence[Answer],
        *,
        limit: int,
        lease: timedelta,
        leave: Callable[[list[Answer]], None],
    ) -> Dequeued:
        """Carry out the answers and take up to ``limit`` tasks of their queue in one call.

        ``leave`` is given the answers to try again. Raises what the broker raises about the taking.
        """
        now = self._clock()
        valid = self._still_ours(answers, now)
        outcomes = [answer.outcome for answer in valid]
        try:
            owned, taken = await self._broker.settle_and_dequeue(queue, outcomes, limit=limit, now=now, lease=lease)
        except BaseException:
            leave(self._to_try_again(valid))
            raise
        if isinstance(owned, InvalidData):
            self._outage.refused(f"queue {queue}", owned)
            leave(self._to_try_again(valid))
        else:
            self._conclude(queue, valid, owned)
        if isinstance(taken, InvalidData):
            raise taken
        return taken

    def _still_ours(self, answers: Sequence[Answer], now: datetime) -> list[Answer]:
        valid = []
        for answer in answers:
            if answer.attempt.lease_expires_at > now:
                valid.append(answer)
            else:
                self._forget(answer, "Its lease ran out before the outcome of a task was written", "outcome_too_late")
                if self._measures is not None:
                    self._measures.lost(answer.attempt)
        return valid

    def _conclude(self, queue: str, answers: Sequence[Answer], owned: Sequence[bool]) -> None:
        for answer, was_ours in zip(answers, owned, strict=True):
            if was_ours:
                self._in_flight.discard(answer.attempt)
            else:
                self._forget(answer, "A task was no longer ours when it ended", "outcome_not_owned")
        if self._measures is not None and answers:
            self._measures.settled(queue, answers, owned)

    def _to_try_again(self, answers: Sequence[Answer]) -> list[Answer]:
        again = []
        for answer in answers:
            if isinstance(answer.outcome, Requeue):
                self._forget(answer, "A task could not be put back; its lease will run out", "requeue_failed")
            else:
                again.append(answer)
        return again

    def _forget(self, answer: Answer, sentence: str, action: str) -> None:
        self._in_flight.discard(answer.attempt)
        message = answer.attempt.message
        _logger.warning(
            sentence,
            extra={
                "action": action,
                "queue": message.queue,
                "task_id": message.id,
                "outcome": type(answer.outcome).__name__,
            },
        )
