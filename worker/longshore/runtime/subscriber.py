"""Hears what is published: cancellations, and what other servers and inspectors tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

from longshore.broker.base import Broker, Channel
from longshore.errors import InvalidData, LongshoreError
from longshore.protocol.notices import CancelTask, DutiesHeld, TakeTurn, decode_notice
from longshore.runtime.cancellations import Cancellations
from longshore.runtime.duties import Duties
from longshore.runtime.outage import Outage, backoff_s
from longshore.runtime.pauses import Pauses
from longshore.runtime.timing import Timing

_logger = logging.getLogger("longshore.server")


class Subscriber:
    """Hands on each message to whom it concerns. What is published while Redis is away is lost, as in Asynq."""

    def __init__(
        self,
        broker: Broker,
        *,
        cancellations: Cancellations,
        duties: Duties,
        pauses: Pauses,
        on_turn: Callable[[TakeTurn], None],
        timing: Timing,
        outage: Outage,
        random: Random,
    ) -> None:
        self._broker = broker
        self._cancellations = cancellations
        self._duties = duties
        self._pauses = pauses
        self._on_turn = on_turn
        self._longest_s = timing.backoff.total_seconds()
        self._outage = outage
        self._random = random

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            try:
                async for channel, data in self._broker.messages():
                    failures = 0
                    if channel is Channel.NOTICES:
                        self._heard(data)
                    elif data is not None:
                        self._cancellations.heard_id(data.decode("utf-8", "replace"))
            except LongshoreError as error:
                self._outage.refused("subscriber", error)
            except Exception:
                _logger.exception("Cancellations are not heard", extra={"action": "subscriber_failed"})
            self._duties.hears = self._pauses.hears = False
            failures += 1
            await asyncio.sleep(backoff_s(failures, longest_s=self._longest_s, random=self._random))

    def _heard(self, data: bytes | None) -> None:
        if data is None:
            self._duties.hears = self._pauses.hears = True
            self._pauses.missed()
            return
        try:
            notice = decode_notice(data)
        except InvalidData as error:
            self._outage.refused("subscriber", error)
            return
        if isinstance(notice, DutiesHeld):
            self._duties.heard(notice)
        elif isinstance(notice, CancelTask):
            self._cancellations.heard_notice(notice)
        elif isinstance(notice, TakeTurn):
            self._on_turn(notice)
        elif notice is not None:
            self._pauses.heard(notice)
