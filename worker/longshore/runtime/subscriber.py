"""Hears cancellations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

from longshore.broker.base import Broker
from longshore.errors import LongshoreError
from longshore.runtime.outage import Outage, backoff_s
from longshore.runtime.timing import Timing

_logger = logging.getLogger("longshore.server")


class Subscriber:
    """Hands each cancelled task id to ``cancel``. What is published while Redis is away is lost, as in Asynq."""

    def __init__(
        self, broker: Broker, *, cancel: Callable[[str], None], timing: Timing, outage: Outage, random: Random
    ) -> None:
        self._broker = broker
        self._cancel = cancel
        self._longest_s = timing.backoff.total_seconds()
        self._outage = outage
        self._random = random

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            try:
                async for task_id in self._broker.cancellations():
                    failures = 0
                    self._cancel(task_id)
            except LongshoreError as error:
                self._outage.refused("subscriber", error)
            except Exception:
                _logger.exception("Cancellations are not heard", extra={"action": "subscriber_failed"})
            failures += 1
            await asyncio.sleep(backoff_s(failures, longest_s=self._longest_s, random=self._random))
