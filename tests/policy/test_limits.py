"""Rates as they are written, and the promise of the arithmetic: what no window may exceed, and what is not lost.

Left out: that the script in Redis does the same (tests/scripts/test_permits.py).
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.errors import InvalidOption
from longshore.policy.limits import Limit, RateLimit
from policy.rate_reference import next_start

RATES = st.builds(
    lambda count, per_ms, burst: RateLimit(count=count, per=timedelta(milliseconds=per_ms), burst=min(burst, count)),
    st.integers(1, 50),
    st.integers(10, 100_000),
    st.integers(1, 50),
)


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [
        ("100/s", 100, 1),
        ("5/m", 5, 60),
        ("1000/h", 1000, 3600),
        ("1/d", 1, 86400),
        ("10/30s", 10, 30),
        (" 3 / 2m ", 3, 120),
    ],
)
def test_a_rate_is_read_as_it_is_written(text: str, count: int, seconds: int) -> None:
    assert RateLimit.of(text) == RateLimit(count=count, per=timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "100/",
        "/s",
        "0/s",
        "-1/s",
        "1.5/s",
        "10/0s",
        "10/y",
        "10001/s",
        "1/367d",
        "1/99999999999999d",
        "٣/s",
        5,
        b"1/s",
    ],
)
def test_what_is_no_rate_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"^rate_limit: "):
        RateLimit.of(text)


@pytest.mark.parametrize("burst", [0, 11, True, 1.0])
def test_a_burst_is_from_one_to_the_count(burst: int) -> None:
    with pytest.raises(InvalidOption, match="burst"):
        RateLimit(count=10, per=timedelta(seconds=1), burst=burst)


@pytest.mark.parametrize("most", [0, -1, True, 2.0, "5"])
def test_a_concurrency_is_a_whole_number_from_one(most: int) -> None:
    with pytest.raises(InvalidOption, match=r"^max_concurrency: "):
        Limit.of(rate_limit=None, max_concurrency=most)


def test_a_limit_says_what_it_is() -> None:
    assert Limit.of(rate_limit=None, max_concurrency=None) is None
    assert str(Limit.of(rate_limit="10/30s", max_concurrency=5)) == "10/30s, 5 at once"
    burst = RateLimit(count=100, per=timedelta(minutes=1), burst=7)
    assert str(Limit.of(rate_limit=burst, max_concurrency=None)) == "100/60s with bursts of 7"


def _starts(rate: RateLimit, gaps_us: list[int]) -> tuple[list[int], list[int]]:
    """Tasks that come with these gaps: when each came, and when it may start."""
    now_us, pace_us, came, starts = 1_700_000_000_000_000, 0, [], []
    for gap in gaps_us:
        now_us += gap
        start = next_start(rate, pace_us=pace_us, now_us=now_us)
        pace_us = start.pace_us
        came.append(now_us)
        starts.append(start.at_us)
    return came, starts


@given(rate=RATES, gaps_us=st.lists(st.integers(0, 2_000_000), min_size=1, max_size=80))
def test_no_window_sees_more_starts_than_promised_and_none_is_early(rate: RateLimit, gaps_us: list[int]) -> None:
    came, starts = _starts(rate, gaps_us)
    assert starts == sorted(starts)
    assert all(start >= when for start, when in zip(starts, came, strict=True))
    per_us = rate.per // timedelta(microseconds=1)
    promised = rate.count + rate.burst - 1
    for first in range(len(starts) - promised):
        assert starts[first + promised] - starts[first] >= per_us


@given(rate=RATES, tasks=st.integers(1, 200))
def test_a_backlog_is_worked_off_at_the_rate(rate: RateLimit, tasks: int) -> None:
    came, starts = _starts(rate, [0] * tasks)
    assert starts[-1] - came[0] == max(0, tasks - rate.burst) * rate.step_us


@given(rate=RATES)
def test_a_burst_is_regained_after_a_quiet_time(rate: RateLimit) -> None:
    quiet_us = rate.burst * rate.step_us
    came, starts = _starts(rate, [0] * rate.burst + [quiet_us] + [0] * (rate.burst - 1))
    assert starts == came
