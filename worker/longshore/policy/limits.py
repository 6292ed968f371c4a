"""What a limit allows: rates as people write them, and their terms for GCRA, the generic cell rate algorithm.

The algorithm runs in Redis, by Redis' clock: ``broker/scripts/fragments/permits.lua``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from longshore.errors import InvalidOption

_MICROSECOND = timedelta(microseconds=1)
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_RATE = re.compile(r"\s*(\d+)\s*/\s*(\d*)\s*([smhd])\s*", re.ASCII)

# Steps are whole microseconds: above this rate, rounding them would show. Nobody limits such a thing to protect it.
_MOST_A_SECOND = 10_000
_LONGEST = timedelta(days=366)
_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimit:
    """So many starts of tasks in a period.

    With ``burst`` 1 they are spread evenly, and no window of the period's length sees more than ``count``. A burst lets
    that many start at once after a quiet time; a window then sees at most ``count + burst - 1``.
    """

    count: int  # from 1
    per: timedelta  # up to 366 days
    burst: int = 1  # from 1 to count

    def __post_init__(self) -> None:
        for name, value, most in (("count", self.count, _MOST), ("burst", self.burst, self.count)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise InvalidOption("rate_limit", f"its {name} is {value!r}; give a whole number from 1 to {most}")
        if not isinstance(self.per, timedelta):
            raise InvalidOption("rate_limit", f"its period is {self.per!r}; give a timedelta")
        if not timedelta(0) < self.per <= _LONGEST:
            raise InvalidOption("rate_limit", f"its period is {self.per}; give more than none and 366 days at most")
        if self.count > _MOST_A_SECOND * self.per.total_seconds():
            raise InvalidOption("rate_limit", f"{self} is too fast to keep; {_MOST_A_SECOND}/s is the highest rate")

    @classmethod
    def of(cls, rate: str | RateLimit) -> RateLimit:
        """Read ``100/s``, ``5/m``, ``1000/h``, ``1/d``, or with a longer period ``10/30s``. Raises InvalidOption."""
        if isinstance(rate, RateLimit):
            return rate
        found = _RATE.fullmatch(rate) if isinstance(rate, str) else None
        if found is None or len(rate) > 40:
            raise InvalidOption("rate_limit", f"{rate!r} is not a rate; write it like 100/s, 5/m, 1000/h or 10/30s")
        count, times, unit = found.groups()
        try:
            per = int(times or "1") * _UNITS[unit]
        except OverflowError as error:
            raise InvalidOption("rate_limit", f"{rate!r} has too long a period; give 366 days at most") from error
        return cls(count=int(count), per=per)

    @property
    def step_us(self) -> int:
        """Microseconds from one start to the next, rounded up."""
        return -(-(self.per // _MICROSECOND) // self.count)

    @property
    def tolerance_us(self) -> int:
        """How far ahead of an even spread a burst may be, in microseconds."""
        return (self.burst - 1) * self.step_us

    def __str__(self) -> str:
        seconds = self.per.total_seconds()
        text = f"{self.count}/{seconds:g}s"
        return text if self.burst == 1 else f"{text} with bursts of {self.burst}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """What holds for the tasks of one type, or for those of one queue, over all workers together."""

    rate: RateLimit | None = None  # None: as fast as they come
    max_concurrency: int | None = None  # tasks at once, from 1; None: as many as there are slots

    @classmethod
    def of(cls, *, rate_limit: str | RateLimit | None, max_concurrency: int | None) -> Limit | None:
        """A limit from what people pass; None when nothing is limited. Raises InvalidOption."""
        if rate_limit is None and max_concurrency is None:
            return None
        if max_concurrency is not None and (
            isinstance(max_concurrency, bool)
            or not isinstance(max_concurrency, int)
            or not 1 <= max_concurrency <= _MOST
        ):
            raise InvalidOption("max_concurrency", f"is {max_concurrency!r}; give a whole number from 1 to {_MOST}")
        return cls(rate=None if rate_limit is None else RateLimit.of(rate_limit), max_concurrency=max_concurrency)

    def __str__(self) -> str:
        parts = [] if self.rate is None else [str(self.rate)]
        if self.max_concurrency is not None:
            parts.append(f"{self.max_concurrency} at once")
        return ", ".join(parts)
