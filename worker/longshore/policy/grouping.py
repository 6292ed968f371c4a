"""When a group is ready to be aggregated, and how long to leave one alone whose aggregation failed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from longshore.errors import InvalidOption

DEFAULT_GRACE_PERIOD = timedelta(seconds=60)  # Asynq's
SHORTEST = timedelta(seconds=1)  # the times of members are whole seconds, as in Asynq

LARGEST_SET = 10_000
"""Tasks handed over at once at most: they are read, held in memory and deleted together. Asynq has no such limit."""

_LONGEST_HOLD = timedelta(minutes=2)  # for so long Asynq leaves a set alone that was not finished


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupingRule:
    """When a group's tasks have waited long enough. Whichever comes first."""

    grace_period: timedelta = DEFAULT_GRACE_PERIOD  # nobody joined for so long; ≥ 1 s
    max_delay: timedelta | None = None  # somebody has waited for so long; ≥ 1 s. None: however long it takes
    max_size: int | None = None  # so many wait; 1 to 10,000. None: however many there are

    @property
    def limit(self) -> int:
        """Tasks handed over at once at most."""
        return self.max_size or LARGEST_SET


class Readiness(Enum):
    """Why a group is ready, in the order in which Asynq asks."""

    SIZE = "max_size"
    DELAY = "max_delay"
    GRACE = "grace_period"


def readiness(
    *, size: int, first_joined_at: datetime, last_joined_at: datetime, rule: GroupingRule, now: datetime
) -> Readiness | None:
    """Why a group of ``size`` ≥ 1 tasks is ready now; None when it is not."""
    if size >= rule.limit:
        return Readiness.SIZE
    if rule.max_delay is not None and now - first_joined_at >= rule.max_delay:
        return Readiness.DELAY
    if now - last_joined_at >= rule.grace_period:
        return Readiness.GRACE
    return None


def hold_after(failures: int, *, first: timedelta) -> timedelta:
    """How long to leave a group's set alone after so many failures in a row, from 1: doubling, up to 2 minutes."""
    doubled: int = 2 ** min(failures - 1, 16)
    return min(_LONGEST_HOLD, first * doubled)


def checked_rule(*, grace_period: Any, max_delay: Any, max_size: Any) -> GroupingRule:
    """The rule for these settings: durations as timedelta or seconds; zero or None turns the two limits off.

    Raises InvalidOption naming the one that cannot be used.
    """
    grace = checked_duration("group grace period", grace_period)
    if not grace:
        raise InvalidOption("group grace period", "must be at least 1 second")
    return GroupingRule(
        grace_period=grace, max_delay=checked_duration("group max delay", max_delay), max_size=checked_size(max_size)
    )


def checked_duration(name: str, value: Any) -> timedelta | None:
    """The duration; None for None and zero. Raises InvalidOption below a second."""
    if value is None:
        return None
    duration = value
    if not isinstance(value, timedelta):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidOption(name, f"is {value!r}; give a timedelta or seconds")
        try:
            duration = timedelta(seconds=value)
        except OverflowError as error:
            raise InvalidOption(name, f"is {value!r} seconds, which is too long") from error
    if duration and duration < SHORTEST:
        raise InvalidOption(name, "must be at least 1 second: when a task joined its group is known to the second")
    return duration or None


def checked_size(value: Any) -> int | None:
    """The size; None for None and zero. Raises InvalidOption."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_SET:
        raise InvalidOption("group max size", f"is {value!r}; give a whole number up to {LARGEST_SET}, or 0 for none")
    return value or None
