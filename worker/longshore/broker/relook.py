"""Finding out again where Redis is: by one caller at a time, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from longshore.broker.connection import NotReached
from longshore.errors import BrokerUnavailable

# After a look that failed, others get its answer for so long: thousands of callers ask for it while Redis is away.
_PAUSE_S = 0.2


class Relook:
    """Runs ``look`` when what was last found is in doubt.

    Callers that come while one looks wait for its answer. A caller that is cancelled leaves the looking to the next.
    """

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._lock = asyncio.Lock()
        self._doubts = 1
        self._settled = 0  # so many doubts are over
        self._failure: str | None = None
        self._failed_at = 0.0

    def doubt(self) -> None:
        """What was found may be wrong by now."""
        self._doubts += 1

    async def settle(self) -> None:
        """Return once it is not in doubt. Raises NotReached when it cannot be found out."""
        if self._settled == self._doubts:
            return
        asked = self._doubts
        async with self._lock:
            if self._settled >= asked:
                return
            now = asyncio.get_running_loop().time
            if self._failure is not None and now() - self._failed_at < _PAUSE_S:
                raise NotReached(self._failure)
            doubts = self._doubts  # those that come while it looks may be about what it finds
            try:
                await self._look()
            except BrokerUnavailable as error:
                self._failure, self._failed_at = str(error), now()
                raise NotReached(self._failure) from error
            self._settled, self._failure = doubts, None
