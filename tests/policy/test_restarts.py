"""When a process that ended by itself starts again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from longshore.policy.restarts import Restart, decide_restart


@pytest.mark.parametrize(
    ("failures", "lived_s", "after", "delay_s"),
    [
        (0, 0, 1, 0.5),
        (1, 5, 2, 1),
        (4, 59, 5, 8),
        (6, 0, 7, 30),  # 32
        (10_000, 0, 10_001, 30),
        (9, 60, 1, 0.5),
    ],
    ids=["the first", "again", "and again", "the longest delay", "for ever", "after a healthy minute it begins anew"],
)
def test_the_delay_doubles_with_each_failure_in_a_row(failures: int, lived_s: int, after: int, delay_s: float) -> None:
    decided = decide_restart(failures=failures, lived=timedelta(seconds=lived_s))
    assert decided == Restart(failures=after, delay=timedelta(seconds=delay_s))
