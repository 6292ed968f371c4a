"""Whether the server's loops are alive: which duty has been at one step for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta


class Pulse:
    """Duties say when they work; a duty that waits for its next turn cannot be stuck.

    A blocked event loop is not seen from here: then nobody answers the probe at all.
    """

    def __init__(self, *, limit: timedelta, monotonic: Callable[[], float] | None = None) -> None:
        self._limit_s = limit.total_seconds()
        self._monotonic = monotonic or asyncio.get_running_loop().time
        self._since: dict[str, float] = {}

    @contextmanager
    def working(self, duty: str) -> Iterator[None]:
        """Around one step of a duty."""
        self._since[duty] = self._monotonic()
        try:
            yield
        finally:
            self._since.pop(duty, None)

    def stuck(self) -> list[str]:
        """The duties that have been at their step for longer than the limit, by name."""
        now = self._monotonic()
        return sorted(duty for duty, since in self._since.items() if now - since > self._limit_s)
