"""What the operator counts of itself, as plain numbers in memory. :mod:`longshore_operator.metrics` reads them.

Whoever does the work keeps its own counts: counting is an addition, and nothing is computed before somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

# Upper bounds in seconds. Reconciliations are pure judgement and some requests; requests and polls are round trips.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Tally:
    """How often each of several things happened, by the values of its labels, of which there must be few."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], float] = {}

    def add(self, *labels: str, by: float = 1) -> None:
        """It happened."""
        self._counts[labels] = self._counts.get(labels, 0) + by

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Labels and count of all that ever happened."""
        return iter(list(self._counts.items()))

    def get(self, *labels: str) -> float:
        """How often so far."""
        return self._counts.get(labels, 0)


class Distribution:
    """How long something took, as a histogram."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.sum += seconds

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and how many took at most as long, the last one of all: as Prometheus has it."""
        found, below = [], 0
        for bound, count in zip((*self._bounds, None), self._counts, strict=True):
            below += count
            found.append(("+Inf" if bound is None else repr(bound), float(below)))
        return found


class Distributions:
    """One distribution for each value of the labels, of which there must be few."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, ...], Distribution] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """It took so long."""
        member = self._members.get(labels)
        if member is None:
            member = self._members[labels] = Distribution()
        member.observe(seconds)

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], Distribution]]:
        """Labels and distribution of all that ever happened."""
        return iter(list(self._members.items()))
