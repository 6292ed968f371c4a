"""The loop of the periodic duties: what a failed tick changes, and that nothing ends it but cancellation."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random

import pytest

from longshore.errors import BrokerUnavailable, InvalidData
from longshore.runtime.outage import Outage
from longshore.runtime.pulse import Pulse
from longshore.runtime.ticker import Ticker
from runtime.harness import until


class Duty:
    """Fails with each of these once, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.ticks = 0

    async def tick(self) -> None:
        self.ticks += 1
        if self.failures:
            raise self.failures.pop(0)


def ticker(duty: Duty, period: timedelta) -> Ticker:
    return Ticker("duty", duty.tick, period=period, outage=Outage(), pulse=Pulse(limit=timedelta(1)), random=Random(1))


@pytest.mark.parametrize("failure", [BrokerUnavailable("away"), InvalidData("odd"), RuntimeError("a mistake")])
async def test_a_slow_duty_that_failed_is_tried_again_soon_and_then_waits_for_its_period(failure: Exception) -> None:
    duty = Duty(failure)
    running = asyncio.ensure_future(ticker(duty, timedelta(hours=1)).run())
    await until(lambda: duty.ticks == 2)
    await asyncio.sleep(1.5)
    assert duty.ticks == 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
