"""The pauses between tries: growing, bounded, and never the same for all clients."""

from __future__ import annotations

from datetime import timedelta

import pytest

from longshore.policy.backoff import pause_before


@pytest.mark.parametrize(
    ("tries", "jitter", "milliseconds"),
    [
        (1, 0.0, 50),
        (2, 0.0, 100),
        (3, 0.0, 200),
        (5, 0.0, 800),
        (6, 0.0, 1000),
        (10_000, 0.0, 1000),
        (1, 0.5, 37.5),
        (6, 0.5, 750),
    ],
)
def test_the_pause_doubles_up_to_a_second_less_up_to_half_of_it(tries: int, jitter: float, milliseconds: float) -> None:
    assert pause_before(tries, jitter=jitter) == timedelta(milliseconds=milliseconds)
