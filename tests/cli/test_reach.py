"""The wait for Redis at the start: a SIGTERM ends it whenever it comes, also while Redis answers at last."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta

from longshore.broker.base import RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.cli.worker import reach


class TerminatedMeanwhile(RedisBroker):
    """Gets SIGTERM while it asks Redis, which answers."""

    async def ping(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        await super().ping()


async def test_a_redis_that_answers_is_reached(redis_url: str) -> None:
    broker = RedisBroker.connect(RedisSettings(url=redis_url))
    assert await reach(broker, wait=timedelta(0))
    await broker.aclose()


async def test_a_signal_while_redis_answers_is_not_lost(redis_url: str) -> None:
    broker = TerminatedMeanwhile.connect(RedisSettings(url=redis_url))
    assert not await reach(broker, wait=timedelta(0))
    await broker.aclose()
