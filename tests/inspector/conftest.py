"""An inspector with a clock that stands still, on the test's Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from longshore import Inspector


@pytest.fixture
def now() -> datetime:
    return datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def inspector(redis_url: str, now: datetime) -> AsyncIterator[Inspector]:
    async with Inspector(redis_url, clock=lambda: now) as inspector:
        yield inspector
