"""A metric family as a row of a table: what it is called, what it means, and its labels."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One family. ``name`` is that of its samples, as people write it in PromQL; of a histogram, without the suffix."""

    name: str
    type: str  # gauge | counter | histogram
    help: str
    labels: tuple[str, ...] = ()

    def empty(self, *more_labels: str) -> GaugeMetricFamily | CounterMetricFamily:
        """The family of a gauge or counter without a sample, to be filled; ``more_labels`` come first."""
        kind = CounterMetricFamily if self.type == "counter" else GaugeMetricFamily
        return kind(self.name, self.help, labels=(*more_labels, *self.labels))

    def empty_histogram(self, *more_labels: str) -> HistogramMetricFamily:
        """The family of a histogram without a sample, to be filled; ``more_labels`` come first."""
        return HistogramMetricFamily(self.name, self.help, labels=(*more_labels, *self.labels))
