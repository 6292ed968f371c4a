"""A memory of what the API server said a moment ago: it forgets by itself, whatever became of the objects."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values that are known for so long after they were set."""

    def __init__(self, lifetime_s: float, *, clock: Callable[[], float]) -> None:
        """``clock`` counts seconds."""
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._values: dict[K, tuple[float, V]] = {}  # until when; the first ends first

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value, if it was set lately."""
        self._sweep()
        known = self._values.get(key)
        return None if known is None else known[1]

    def set(self, key: K, value: V) -> None:
        """Know it from now on."""
        self._sweep()
        self.forget(key)  # so that it comes last
        self._values[key] = (self._clock() + self._lifetime_s, value)

    def forget(self, key: K) -> None:
        """It is not so any more."""
        self._values.pop(key, None)

    def _sweep(self) -> None:
        now = self._clock()
        while self._values:
            key = next(iter(self._values))
            if self._values[key][0] > now:
                return
            del self._values[key]
