"""When a cron expression runs, in whole Unix seconds.

Two halves. The wall: which local times match, on a calendar without daylight saving (croniter walks its days). And the
zone: a row of spans of constant offset from UTC, each of which shows a piece of the wall. A local time that no span
shows does not run; one that two spans show runs twice. Those are robfig/cron's rules, and through it the Kubernetes
CronJob controller's.

The work is bounded whatever is asked: linear in days, not in ticks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from longshore.policy.cron_dialect import CronFields

_DAY = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
_HORIZON_YEARS = 5  # robfig/cron gives up when five years pass without a match
_STEP = _DAY // 2  # how far apart offsets are looked at: no zone changes twice within it


class Wall:
    """The local times of an expression, as seconds since 1970-01-01 00:00 on the wall; day 0 is that date."""

    def __init__(self, fields: CronFields) -> None:
        # An expression's seconds are always zero, so a day's times are hours × minutes.
        self._times = tuple(sorted(h * 3600 + m * 60 for h in fields.hours for m in fields.minutes))
        self._days = croniter(
            _expression_of_days(fields), _midnight(0), ret_type=datetime, max_years_between_matches=_HORIZON_YEARS
        )
        # The last answers of day_from: nothing matches from [0] up to [1]; and nothing from a day on for five years.
        self._run: tuple[int, int] | None = None
        self._barren_from: int | None = None

    def day_from(self, day: int) -> int | None:
        """The first day that matches, ``day`` or later; None when none does for five years."""
        if self._run is not None and self._run[0] <= day <= self._run[1]:
            return self._run[1]
        # croniter looks five years of the calendar ahead, so that the answer holds for the rest of the year.
        if self._barren_from is not None and self._barren_from <= day and _same_year(self._barren_from, day):
            return None
        before = _midnight(day) - timedelta(minutes=1)
        try:
            found: datetime = self._days.get_next(start_time=before)
        except CroniterBadDateError:
            self._barren_from = day
            return None
        self._run = day, found.toordinal() - _EPOCH
        return self._run[1]

    def day_until(self, day: int) -> int | None:
        """The last day that matches, ``day`` or earlier."""
        try:
            found: datetime = self._days.get_prev(start_time=_midnight(day) + timedelta(minutes=1))
        except CroniterBadDateError:
            return None
        return found.toordinal() - _EPOCH

    def after(self, wall: int) -> int | None:
        """The first time later than ``wall``."""
        day, second = divmod(wall, _DAY)
        if self.day_from(day) == day and (at := bisect_right(self._times, second)) < len(self._times):
            return day * _DAY + self._times[at]
        following = self.day_from(day + 1)
        return None if following is None else following * _DAY + self._times[0]

    def backwards(self, wall: int, low: int) -> Iterator[int]:
        """The times of ``low < time ≤ wall``, newest first."""
        day, second = divmod(wall, _DAY)
        at = bisect_right(self._times, second)
        while (found := self.day_until(day)) is not None and found >= low // _DAY:
            for time in reversed(self._times[: at if found == day else None]):
                if found * _DAY + time <= low:
                    return
                yield found * _DAY + time
            day, at = found - 1, len(self._times)

    def count(self, low: int, high: int) -> int:
        """How many times there are of ``low < time ≤ high``."""
        (low_day, low_second), (high_day, high_second) = divmod(low, _DAY), divmod(high, _DAY)
        total = 0
        day = self.day_from(low_day)
        while day is not None and day <= high_day:
            first = bisect_right(self._times, low_second) if day == low_day else 0
            last = bisect_right(self._times, high_second) if day == high_day else len(self._times)
            total += last - first
            day = self.day_from(day + 1)
        return total


class CronTicks:
    """The ticks of an expression in a zone. Times are Unix seconds."""

    def __init__(self, fields: CronFields, zone: ZoneInfo) -> None:
        self._wall = Wall(fields)
        self._zone = zone

    def after(self, time: int) -> int | None:
        """The first tick later than ``time``; None when none comes for five years."""
        last_year = datetime.fromtimestamp(time, self._zone).year + _HORIZON_YEARS
        while True:
            offset = self._offset(time)
            wall = self._wall.after(time + offset)
            if wall is None or _midnight(wall // _DAY).year > last_year:
                return None
            end = self._span_end(time, wall - offset)
            if wall - offset <= end:
                return wall - offset
            time = end

    def count(self, low: int, high: int) -> int:
        """How many ticks there are of ``low < tick ≤ high``."""
        return sum(self._wall.count(start + offset, end + offset) for start, end, offset in self._spans(low, high))

    def newest(self, low: int, high: int, limit: int) -> list[int]:
        """Up to ``limit`` ticks of ``low < tick ≤ high``, the newest of them, oldest first."""
        found: list[int] = []
        for start, end, offset in reversed(list(self._spans(low, high))):
            for wall in self._wall.backwards(end + offset, start + offset):
                if len(found) == limit:
                    return found[::-1]
                found.append(wall - offset)
        return found[::-1]

    def _spans(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """``(start, end, offset)`` of constant offset that together make up ``low < time ≤ high``, in order."""
        while low < high:
            end = self._span_end(low, high)
            yield low, end, self._offset(low)
            low = end

    def _span_end(self, low: int, high: int) -> int:
        """The last second until ``high`` up to which every second after ``low`` has the offset of ``low + 1``."""
        for year in range(_year(low), _year(high) + 1):
            changes = _clock_changes(self._zone, year)
            if (at := bisect_right(changes, low + 1)) < len(changes):
                return min(high, changes[at] - 1)
        return high

    def _offset(self, time: int) -> int:
        """Seconds east of UTC in the second after ``time``: ticks of a span are those later than its start."""
        return _offset(self._zone, time + 1)


# Kept, because the same zones and years come up again and again, and finding them takes a millisecond each.
@lru_cache(maxsize=4096)
def _clock_changes(zone: ZoneInfo, year: int) -> tuple[int, ...]:
    """The seconds within a year of UTC from which a new offset holds."""
    changes = []
    low, end = (int(datetime(y, 1, 1, tzinfo=UTC).timestamp()) - 1 for y in (year, year + 1))
    offset = _offset(zone, low)
    while low < end:
        high = min(low + _STEP, end)
        if (following := _offset(zone, high)) != offset:
            changes.append(_first_with(zone, following, low, high))
            offset = following
        low = high
    return tuple(changes)


def _first_with(zone: ZoneInfo, offset: int, low: int, high: int) -> int:
    """The first second of ``low … high`` that has the offset, which the zone has taken on once in between."""
    return low + bisect_left(range(low, high), True, key=lambda second: _offset(zone, second) == offset)


def _offset(zone: ZoneInfo, time: int) -> int:
    """Seconds east of UTC."""
    utcoffset = datetime.fromtimestamp(time, zone).utcoffset()
    assert utcoffset is not None  # a ZoneInfo always knows
    return int(utcoffset.total_seconds())


def _year(time: int) -> int:
    return datetime.fromtimestamp(time, UTC).year


def _expression_of_days(fields: CronFields) -> str:
    """croniter's input for the days alone, at their midnight.

    Numbers only, and a star for a full field: the day rule is decided here, because croniter sees any full field as a
    star (``1-31``) where robfig counts it as restricted.
    """
    days, weekdays = (_numbers(fields.days_of_month, 31), _numbers(fields.days_of_week, 7))
    if fields.either_day and "*" in (days, weekdays):
        days = weekdays = "*"  # one of the two matches on every day
    return f"0 0 {days} {_numbers(fields.months, 12)} {weekdays}"


def _numbers(values: frozenset[int], full: int) -> str:
    return "*" if len(values) == full else ",".join(map(str, sorted(values)))


def _midnight(day: int) -> datetime:
    return datetime.fromordinal(_EPOCH + day)


def _same_year(one: int, other: int) -> bool:
    return _midnight(one).year == _midnight(other).year
