"""Takes tasks from servers that died: whose lease ran out is retried, or archived when no retry is left."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from random import Random

from longshore.broker.base import Broker
from longshore.policy.retry import LEASE_EXPIRED, Failure, decide, lease_expired_delay
from longshore.protocol.messages import TaskMessage
from longshore.runtime.duties import Duties
from longshore.runtime.ending import outcome_for
from longshore.runtime.rounds import visit_each
from longshore.runtime.timing import Clock, Timing

_NO_LEASE_ENDS = datetime(1970, 1, 1, tzinfo=UTC)  # a cutoff that leaves only tasks without any lease

_logger = logging.getLogger("longshore.server")


class Recoverer:
    """One tick looks at each of the queues whose duties are this server's.

    Racing another server's recovery, or a worker that was only slow, is settled by Redis: a task leaves active once.
    """

    def __init__(self, broker: Broker, *, duties: Duties, timing: Timing, clock: Clock, random: Random) -> None:
        self._broker = broker
        self._duties = duties
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
        decisions = []
        for message in expired:
            jitter = self._random.random()
            delay = lease_expired_delay(message.retried, jitter=jitter)
            decisions.append(decide(message, Failure(error=LEASE_EXPIRED, delay=delay), now=now, jitter=jitter))
        owned = await self._broker.settle(queue, [outcome_for(decision) for decision in decisions], now=now)
        for decision, was_ours in zip(decisions, owned, strict=True):
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
