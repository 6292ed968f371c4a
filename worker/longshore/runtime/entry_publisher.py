"""Shows the active scheduler's entries: to Asynq's readers in their own form, and what is wrong to the operator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta

from longshore.broker.base import Broker
from longshore.broker.periodic_base import PeriodicStore
from longshore.policy.agenda import Agenda, Planned
from longshore.protocol.messages import SchedulerEntry
from longshore.protocol.periodic import scheduler_entry_id
from longshore.runtime.timing import Clock

_logger = logging.getLogger("longshore.scheduler")


class EntryPublisher:
    """Publishes on every change, and before what it published expires."""

    def __init__(
        self,
        broker: Broker,
        store: PeriodicStore,
        *,
        scope: str,
        scheduler_id: str,
        agenda: Agenda,
        period: timedelta,
        lifetime: timedelta,
        clock: Clock,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._broker = broker
        self._store = store
        self._scope = scope
        self._scheduler_id = scheduler_id
        self._agenda = agenda
        self._period_s = period.total_seconds()
        self._lifetime = lifetime
        self._clock = clock
        self._monotonic = monotonic or asyncio.get_running_loop().time
        self._next_at = 0.0  # on the monotonic clock
        self._reported: dict[str, str] | None = None  # None: whatever a predecessor left

    async def publish(self, *, changed: bool, tick_errors: Mapping[str, str]) -> None:
        """Publish what is due. Raises BrokerUnavailable."""
        errors = {**tick_errors, **self._agenda.errors}
        if errors != self._reported:
            self._log(errors)
            await self._store.write_errors(self._scope, errors)
            self._reported = errors
        now = self._monotonic()
        if changed or now >= self._next_at:
            entries = [_published(planned) for planned in self._agenda]
            await self._broker.publish_scheduler(
                self._scheduler_id, entries, now=self._clock(), lifetime=self._lifetime
            )
            self._next_at = now + self._period_s

    def forget(self) -> None:
        """Another scheduler may have written since: publish everything at the next turn."""
        self._next_at = 0.0
        self._reported = None

    async def clear(self) -> None:
        """Take the entries back. Raises BrokerUnavailable."""
        self.forget()
        await self._broker.clear_scheduler(self._scheduler_id)

    def _log(self, errors: Mapping[str, str]) -> None:
        for name, reason in self._agenda.errors.items():
            if (self._reported or {}).get(name) != reason:
                _logger.error(
                    "An entry cannot be used; the others go on",
                    extra={"action": "entry_refused", "scope": self._scope, "entry": name, "error": reason},
                )
        for name in (self._reported or {}).keys() - errors.keys():
            _logger.info(
                "An entry can be used again, or is gone",
                extra={"action": "entry_mended", "scope": self._scope, "entry": name},
            )


def _published(planned: Planned) -> SchedulerEntry:
    return SchedulerEntry(
        id=scheduler_entry_id(planned.id),
        spec=planned.schedule.spec,
        task_type=planned.task.type,
        payload=planned.task.payload or b"",
        options=planned.options,
        next_at=planned.next_at,
        previous_at=planned.last_tick,
    )
