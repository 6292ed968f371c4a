"""Which of several schedulers of one scope is active: the one that holds the lease in Redis.

For economy and quiet only. That a tick creates one task at most is the tick script's promise, not the lease's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from longshore.broker.periodic_base import PeriodicStore
from longshore.runtime.timing import Clock


class SchedulerLease:
    """One process' side of the lease."""

    def __init__(
        self,
        store: PeriodicStore,
        *,
        scope: str,
        holder: str,
        lifetime: timedelta,
        renewal: timedelta,
        clock: Clock,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        """``renewal``: how long a renewal is good for before the next, well below ``lifetime``."""
        self._store = store
        self._scope = scope
        self._holder = holder
        self._lifetime = lifetime
        self._renewal_s = renewal.total_seconds()
        self._clock = clock
        self._monotonic = monotonic or asyncio.get_running_loop().time
        self._renew_at = 0.0  # on the monotonic clock
        self.held = False

    async def hold(self) -> bool:
        """Take the lease, or renew it when that is due; whether this process is active. Raises BrokerUnavailable."""
        now = self._monotonic()
        if self.held and now < self._renew_at:
            return True
        self.held = await self._store.hold_lease(self._scope, self._holder, now=self._clock(), lifetime=self._lifetime)
        self._renew_at = now + self._renewal_s
        return self.held

    def doubt(self) -> None:
        """Redis was away: ask it before the next step."""
        self._renew_at = 0.0

    async def release(self) -> None:
        """Give it up, so that a standby takes over at its next look. Raises BrokerUnavailable."""
        if self.held:
            self.held = False
            await self._store.release_lease(self._scope, self._holder)
