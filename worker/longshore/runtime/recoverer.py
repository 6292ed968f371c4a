"""Takes tasks from servers that died: whose lease ran out is retried, or archived when no retry is left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

from longshore.broker.base import Broker
from longshore.errors import LeaseExpired
from longshore.policy.failed_attempt import FailedAttempt
from longshore.policy.failure_policy import FailurePolicy
from longshore.policy.retry import Decision, decide, lease_expired_delay, told
from longshore.protocol.messages import TaskMessage
from longshore.runtime.duties import Duties
from longshore.runtime.ending import failed_attempt, failure_from, outcome_for
from longshore.runtime.error_callbacks import ErrorCallbacks
from longshore.runtime.rounds import visit_each
from longshore.runtime.timing import Clock, Timing

_NO_LEASE_ENDS = datetime(1970, 1, 1, tzinfo=UTC)  # a cutoff that leaves only tasks without any lease

_logger = logging.getLogger("longshore.server")


class Recoverer:
    """One tick looks at each of the queues whose duties are this server's.

    Racing another server's recovery, or a worker that was only slow, is settled by Redis: a task leaves active once.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        duties: Duties,
        policy_for: Callable[[str], FailurePolicy],
        error_callbacks: ErrorCallbacks,
        timing: Timing,
        clock: Clock,
        random: Random,
    ) -> None:
        """``policy_for``: what the application says about failed attempts at tasks of a type."""
        self._broker = broker
        self._duties = duties
        self._policy_for = policy_for
        self._error_callbacks = error_callbacks
        self._skew = timing.skew
        self._clock = clock
        self._random = random
        self._suspects: dict[str, frozenset[str]] = {}  # ids without a lease at the last tick, by queue

    async def tick(self) -> None:
        held = self._duties.held()
        # What another server has looked after meanwhile was not seen by this one a tick ago.
        self._suspects = {queue: ids for queue, ids in self._suspects.items() if queue in held}
        if held:
            await visit_each(await self._broker.look_for_active(held), self._look_at)

    async def _look_at(self, queue: str, active: bool) -> None:
        if not active:
            self._suspects.pop(queue, None)
            return
        expired = await self._broker.lease_expired(queue, cutoff=self._clock() - self._skew)
        if expired or self._suspects.get(queue):
            expired = await self._without_newly_leaseless(queue, expired)
        if expired:
            await self._recover(queue, expired)

    async def _without_newly_leaseless(self, queue: str, expired: list[TaskMessage]) -> list[TaskMessage]:
        """Leave out tasks that have no lease at all and had one, or were not there, a tick ago.

        Nothing grants or takes a lease apart from the task in two steps, as far as we know; but a task that runs is
        worth a second look before it is given to another worker.
        """
        leaseless = {message.id for message in await self._broker.lease_expired(queue, cutoff=_NO_LEASE_ENDS)}
        newly = leaseless - self._suspects.get(queue, frozenset())
        self._suspects[queue] = frozenset(leaseless)
        return [message for message in expired if message.id not in newly]

    async def _recover(self, queue: str, expired: list[TaskMessage]) -> None:
        now = self._clock()
        judged = [self._judge(message, now) for message in expired]
        owned = await self._broker.settle(queue, [outcome_for(decision) for _, decision in judged], now=now)
        for (failed, decision), was_ours in zip(judged, owned, strict=True):
            if was_ours:
                _logger.warning(
                    "A task whose worker died was recovered",
                    extra={
                        "action": "task_recovered",
                        "queue": queue,
                        "task_id": decision.message.id,
                        "task_type": decision.message.type,
                        "step": decision.step.value,
                    },
                )
                if callbacks := self._policy_for(failed.type).on_error:
                    self._error_callbacks.tell(callbacks, failed, told(decision, now=now))

    def _judge(self, message: TaskMessage, now: datetime) -> tuple[FailedAttempt, Decision]:
        chance = self._random.random()
        failed = failed_attempt(message, LeaseExpired(), chance=chance)
        failure = failure_from(failed, policy=self._policy_for(message.type))
        if failure.delay is None:
            failure = replace(failure, delay=lease_expired_delay(message.retried, jitter=chance))
        return failed, decide(message, failure, now=now, jitter=chance)
