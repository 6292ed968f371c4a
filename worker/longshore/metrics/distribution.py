"""How long something took, as a histogram of plain numbers: counting is an addition, whoever asks does the rest."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

# Upper bounds in seconds, for what is a matter of round trips and of turns of an event loop.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Distribution:
    """How long something took, as a histogram."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = tuple(bounds)
        self.counts = [0] * (len(self._bounds) + 1)  # between one bound and the next; the last beyond all
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.sum += seconds

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and how many took at most as long, the last one of all: as Prometheus has it."""
        return buckets(self._bounds, self.counts)


def buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Upper bound and how many took at most as long, the last one of all: as Prometheus has it."""
    found, below = [], 0
    for bound, count in zip((*bounds, None), counts, strict=True):
        below += count
        found.append(("+Inf" if bound is None else repr(bound), float(below)))
    return found
