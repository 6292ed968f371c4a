"""What is counted, as Prometheus wants it: buckets that grow, labels that survive, nothing in place of the unknown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from longshore.metrics.distribution import Distribution
from longshore.metrics.queues import QueueReading, queue_families
from longshore.protocol.snapshots import QueueSnapshot
from longshore_operator.measures import Distributions, Tally


def test_a_bucket_counts_all_that_took_at_most_as_long() -> None:
    seen = Distribution(bounds=(0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 1.0, 7.0):
        seen.observe(seconds)
    assert seen.buckets == [("0.1", 2.0), ("1.0", 4.0), ("+Inf", 5.0)]
    assert seen.sum == 8.65


def test_each_combination_of_labels_is_counted_by_itself() -> None:
    tally, durations = Tally(), Distributions()
    tally.add("get", "200")
    tally.add("get", "200")
    tally.add("get", "409", by=0.5)
    durations.observe(0.5, "Queue")
    durations.observe(0.5, "Broker")
    assert dict(tally) == {("get", "200"): 2, ("get", "409"): 0.5}
    assert tally.get("list", "200") == 0
    assert {labels: seen.sum for labels, seen in durations} == {("Queue",): 0.5, ("Broker",): 0.5}


NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Fixed(CollectorRegistry):
    """Families as they are."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> list[Metric]:  # type: ignore[override]
        return self._families


def series(*readings: QueueReading) -> dict[tuple[str, str], float]:
    """Values by metric and queue, after a way through text and back."""
    text = generate_latest(Fixed(queue_families(readings))).decode()
    families = text_string_to_metric_families(text)
    return {(sample.name, sample.labels["queue"]): sample.value for family in families for sample in family.samples}


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "two\nlines", "{brace}", "Ünïcödé 😀", "x" * 65536])
def test_any_name_of_a_queue_survives(name: str) -> None:
    found = series(QueueReading(snapshot=QueueSnapshot(name=name, pending=7), read_at=NOW))
    assert found["asynq_queue_size", name] == 7


def test_what_is_not_known_has_no_series() -> None:
    unrecorded = QueueReading(snapshot=QueueSnapshot(name="a", pending=1), read_at=NOW)
    broken = QueueReading(snapshot=QueueSnapshot(name="b", problem="a string"), read_at=NOW, memory_bytes=1)
    found = series(unrecorded, broken)
    assert {queue for _, queue in found} == {"a"}
    assert {"asynq_queue_latency_seconds", "asynq_queue_memory_usage_approx_bytes"}.isdisjoint(
        name for name, _ in found
    )
