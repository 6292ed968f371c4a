"""When a process that ended by itself is started again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

_FIRST = timedelta(milliseconds=500)
_LONGEST = timedelta(seconds=30)
_HEALTHY = timedelta(minutes=1)  # who lived for so long did not fail at its start


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """A decision."""

    failures: int  # in a row, this one included
    delay: timedelta  # before the next start


def decide_restart(*, failures: int, lived: timedelta) -> Restart:
    """``failures``: in a row before this one. ``lived``: how long the process ran. The delay doubles, up to 30 s."""
    count = 1 if lived >= _HEALTHY else failures + 1
    return Restart(failures=count, delay=min(_LONGEST, _FIRST * 2 ** min(count - 1, 16)))
