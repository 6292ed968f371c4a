"""What the scripts of limits are compared with: the starts that a rate allows, one after the other."""

from __future__ import annotations

from typing import NamedTuple

from longshore.policy.limits import RateLimit


class Start(NamedTuple):
    """A start that a rate allows, and the state after it. Microseconds of one clock."""

    at_us: int  # not before now; the task may begin then
    pace_us: int  # when the next one would be due in an even spread: the limit's whole state


def next_start(rate: RateLimit, *, pace_us: int, now_us: int) -> Start:
    """When the next task may start. ``pace_us``: of the start before; 0 at first."""
    at_us = max(now_us, pace_us - rate.tolerance_us)
    return Start(at_us=at_us, pace_us=max(pace_us, at_us) + rate.step_us)
