"""The inspector's connection: made, or borrowed, and closed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from longshore.broker.base import RedisSettings
from longshore.broker.opening import opened
from longshore.broker.redis_broker import RedisBroker


class Connected:
    """What every part of the inspector stands on."""

    def __init__(
        self,
        redis: str | RedisSettings | None = None,
        *,
        broker: RedisBroker | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``redis``: a URL, or settings; the default is a local Redis. Or a ``broker``, which the caller closes."""
        self._broker, self._owns_broker = opened(redis, broker)
        self._redis = self._broker.connection
        self._clock = clock

    async def ping(self) -> None:
        """Raise BrokerUnavailable, with Redis' own reason, unless Redis answers and accepts the credentials."""
        await self._broker.ping()

    async def aclose(self) -> None:
        """Close the connections the inspector made. Idempotent."""
        if self._owns_broker:
            await self._broker.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
