"""A token bucket: so many a second on average, so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class TokenBucket:
    """Not thread-safe; one event loop. Waiters are served in no particular order, but each gets its turn."""

    def __init__(self, *, rate: float, burst: int, clock: Callable[[], float]) -> None:
        """``rate`` tokens a second flow in, at most ``burst`` are kept; ``clock`` counts seconds."""
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()

    def take_nowait(self) -> bool:
        """Take a token if there is one."""
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def wait_s(self) -> float:
        """Seconds until there is a token; 0 when there is one."""
        self._fill()
        return max(0.0, (1 - self._tokens) / self._rate)

    async def take(self) -> None:
        """Wait for a token and take it."""
        # A debt makes each later waiter wait longer, so that nobody is overtaken for ever.
        self._fill()
        self._tokens -= 1
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate)

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
