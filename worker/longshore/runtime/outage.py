"""Redis being away: told once, not by every loop at every try; and how long to wait before the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

_logger = logging.getLogger("longshore.server")

_REPEAT_S = 30.0  # while it lasts, one line per so many seconds


class Outage:
    """Shared by all loops of a server. Also remembers whether Redis was ever reached."""

    def __init__(self, *, monotonic: Callable[[], float] | None = None) -> None:
        self._monotonic = monotonic or asyncio.get_running_loop().time
        self._without: set[str] = set()  # duties that got no answer at their last try
        self._since = 0.0
        self._told: dict[str, float] = {}
        self.ever_reached = False

    def failed(self, duty: str, error: BaseException) -> None:
        """A duty met BrokerUnavailable."""
        now = self._monotonic()
        if not self._without:
            self._since = now
        self._without.add(duty)
        if self._due("redis", now):
            _logger.warning(
                "Redis is unavailable; trying again until it is back",
                extra={"action": "redis_unavailable", "duty": duty, "error": str(error)},
            )

    def succeeded(self, duty: str) -> None:
        """A duty got its answer."""
        self.ever_reached = True
        self.over(duty)

    def over(self, duty: str) -> None:
        """A duty needs no answer any more, or got one. Redis is back when no duty is without.

        Not when any duty succeeds: Redis may answer some and refuse others, for want of a permission.
        """
        if duty in self._without:
            self._without.discard(duty)
            if not self._without:
                self._told.pop("redis", None)
                seconds = round(self._monotonic() - self._since, 1)
                _logger.info("Redis is back", extra={"action": "redis_back", "seconds": seconds})

    def refused(self, duty: str, error: BaseException) -> None:
        """Redis answered a duty with an error that waiting will not mend, such as a key of another type."""
        if self._due(f"{duty}: {error}", self._monotonic()):
            _logger.error(
                "Redis refused a step; it is tried again",
                extra={"action": "redis_refused", "duty": duty, "error": f"{type(error).__name__}: {error}"},
            )

    def _due(self, subject: str, now: float) -> bool:
        last = self._told.get(subject)
        if last is not None and now - last < _REPEAT_S:
            return False
        if len(self._told) > 1000:
            self._told.clear()
        self._told[subject] = now
        return True


def backoff_s(failures: int, *, longest_s: float, random: Random) -> float:
    """The pause after so many failures in a row (from 1), in seconds: doubling from 0.1, spread over its upper half."""
    return min(longest_s, 0.1 * 2.0 ** min(failures - 1, 16)) * random.uniform(0.5, 1.0)
