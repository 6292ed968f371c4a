"""A broker on the test's Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from longshore.broker.base import RedisSettings
from longshore.broker.redis_broker import RedisBroker


@pytest_asyncio.fixture
async def broker(redis_url: str) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker.connect(RedisSettings(url=redis_url))
    yield broker
    await broker.aclose()
