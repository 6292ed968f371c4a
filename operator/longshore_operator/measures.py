"""What the operator counts of itself, as plain numbers in memory. :mod:`longshore_operator.metrics` reads them.

Whoever does the work keeps its own counts: counting is an addition, and nothing is computed before somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator

from longshore.metrics.distribution import Distribution


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
