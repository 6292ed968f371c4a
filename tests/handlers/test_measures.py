"""What is counted, as Prometheus wants it: histograms whose buckets grow, up to the number of all."""

from __future__ import annotations

from longshore_operator.measures import Distribution, Distributions, Tally


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
