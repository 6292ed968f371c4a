"""When a group is ready, how long a failed one is left alone, and which settings are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from longshore.errors import InvalidOption
from longshore.policy.grouping import LARGEST_SET, GroupingRule, Readiness, checked_rule, hold_after, readiness

_NOW = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
_S = timedelta(seconds=1)
_RULE = GroupingRule(grace_period=10 * _S, max_delay=60 * _S, max_size=5)


@pytest.mark.parametrize(
    ("size", "first_s", "last_s", "expected"),
    [
        pytest.param(1, 0, 0, None, id="one that has just begun waits"),
        pytest.param(4, 59, 9, None, id="one short of every limit waits"),
        pytest.param(5, 0, 0, Readiness.SIZE, id="as many as the largest size"),
        pytest.param(9, 99, 99, Readiness.SIZE, id="the size is asked first"),
        pytest.param(2, 60, 0, Readiness.DELAY, id="somebody has waited for the longest delay"),
        pytest.param(2, 60, 10, Readiness.DELAY, id="the delay is asked before the grace period"),
        pytest.param(2, 10, 10, Readiness.GRACE, id="nobody joined for the grace period"),
        pytest.param(2, -5, -5, None, id="one that joined in the future, by another clock, waits"),
    ],
)
def test_a_group_is_ready_when_it_reaches_a_limit(
    size: int, first_s: int, last_s: int, expected: Readiness | None
) -> None:
    found = readiness(
        size=size, first_joined_at=_NOW - first_s * _S, last_joined_at=_NOW - last_s * _S, rule=_RULE, now=_NOW
    )
    assert found is expected


def test_without_a_size_as_many_as_fit_into_a_set_are_enough() -> None:
    rule = GroupingRule()
    assert rule.limit == LARGEST_SET
    assert readiness(size=LARGEST_SET, first_joined_at=_NOW, last_joined_at=_NOW, rule=rule, now=_NOW)
    assert not readiness(size=LARGEST_SET - 1, first_joined_at=_NOW, last_joined_at=_NOW, rule=rule, now=_NOW)


def test_a_failing_group_is_left_alone_for_longer_each_time() -> None:
    assert [hold_after(failures, first=5 * _S) // _S for failures in (1, 2, 3, 4, 5, 6, 7, 10**6)] == [
        5,
        10,
        20,
        40,
        80,
        120,
        120,
        120,
    ]


def test_settings_may_be_seconds_or_durations_and_zero_turns_a_limit_off() -> None:
    assert checked_rule(grace_period=1.5, max_delay=timedelta(minutes=1), max_size=7) == GroupingRule(
        grace_period=1.5 * _S, max_delay=60 * _S, max_size=7
    )
    assert checked_rule(grace_period=60, max_delay=0, max_size=0) == GroupingRule()
    assert checked_rule(grace_period=60, max_delay=None, max_size=None) == GroupingRule()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"grace_period": 0}, "grace period"),
        ({"grace_period": None}, "grace period"),
        ({"grace_period": 0.5}, "grace period"),
        ({"grace_period": float("nan")}, "grace period"),
        ({"grace_period": 1e30}, "grace period"),
        ({"grace_period": "1m"}, "grace period"),
        ({"max_delay": 0.2}, "max delay"),
        ({"max_delay": -1}, "max delay"),
        ({"max_delay": True}, "max delay"),
        ({"max_size": -1}, "max size"),
        ({"max_size": LARGEST_SET + 1}, "max size"),
        ({"max_size": 2.0}, "max size"),
        ({"max_size": True}, "max size"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_is_named(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidOption, match=problem):
        checked_rule(**({"grace_period": 60, "max_delay": None, "max_size": None} | changes))
