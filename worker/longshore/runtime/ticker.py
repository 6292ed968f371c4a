"""The one loop shape of the periodic duties: a tick, a wait, and nothing that can end it but cancellation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random

from longshore.errors import BrokerUnavailable, LongshoreError
from longshore.runtime.outage import Outage
from longshore.runtime.pulse import Pulse

_logger = logging.getLogger("longshore.server")

_SOONEST_REPEAT_S = 1.0  # after a failure a slow duty does not wait its whole period


class Ticker:
    """Runs ``tick`` again and again. A tick that fails is reported and tried again; the loop goes on."""

    def __init__(
        self,
        duty: str,
        tick: Callable[[], Awaitable[None]],
        *,
        period: timedelta,
        outage: Outage,
        pulse: Pulse,
        random: Random,
        at_once: bool = True,
    ) -> None:
        """``period`` is spread by ±10 %, so that many servers do not tick together; ``at_once``: begin with a tick."""
        self._duty = duty
        self._tick = tick
        self._period_s = period.total_seconds()
        self._outage = outage
        self._pulse = pulse
        self._random = random
        self._at_once = at_once

    async def run(self) -> None:
        """Until cancelled. Cancellation interrupts the tick or the wait, whichever it meets."""
        if not self._at_once:
            await asyncio.sleep(self._period_s * self._random.random())
        while True:
            went_well = await self.tick()
            wait_s = self._period_s if went_well else min(self._period_s, _SOONEST_REPEAT_S)
            await asyncio.sleep(wait_s * self._random.uniform(0.9, 1.1))

    async def tick(self) -> bool:
        """One tick; whether it went well."""
        try:
            with self._pulse.working(self._duty):
                await self._tick()
        except BrokerUnavailable as error:
            self._outage.failed(self._duty, error)
        except LongshoreError as error:
            self._outage.refused(self._duty, error)
        except Exception:
            _logger.exception("A duty failed; it goes on", extra={"action": "duty_failed", "duty": self._duty})
        else:
            self._outage.over(self._duty)
            return True
        return False
