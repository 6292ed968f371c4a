"""When a periodic entry runs: its schedule's ticks, and which of them are due.

Ticks are whole seconds and the same for whoever computes them: cron ticks follow the wall clock of their zone
(:mod:`longshore.policy.cron_ticks`), ``@every`` ticks lie at ``since + k·interval``. So two schedulers agree on which
ticks there are, and the guarantee of at most one task a tick rests on that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from longshore.errors import InvalidOption
from longshore.policy.cron_dialect import EveryInterval, read_schedule
from longshore.policy.cron_ticks import CronTicks
from longshore.policy.jitter import NO_JITTER, Jitter
from longshore.protocol.periodic import CatchUp

MAX_CATCH_UP = 100  # ticks that CatchUp.ALL runs at most; the older ones count as missed
ON_TIME = timedelta(seconds=10)  # how late a tick may be without counting as made up: a standby's takeover fits in it


class _Ticks(Protocol):
    """The ticks of one rule, in Unix seconds."""

    def after(self, time: int) -> int | None: ...
    def count(self, low: int, high: int) -> int: ...
    def newest(self, low: int, high: int, limit: int) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that was understood."""

    text: str  # as given
    time_zone: str | None  # that holds: the text's own prefix, else the one given beside it; None: UTC
    spec: str  # the text with its zone as a prefix, as Asynq's readers show it
    _rule: CronTicks | int = field(repr=False, compare=False)  # an int: @every so many seconds

    @classmethod
    def parse(cls, text: str, time_zone: str | None = None) -> Schedule:
        """Understand a schedule. A TZ= or CRON_TZ= prefix in ``text`` wins over ``time_zone``.

        Raises InvalidOption for the field ``schedule`` or ``timeZone``.
        """
        return _parse(text, time_zone)

    def next_after(self, time: datetime, since: datetime) -> datetime | None:
        """The first tick later than both ``time`` and ``since``; None when none comes for five years."""
        found = self._ticks(since).after(max(math.floor(time.timestamp()), _whole_second(since)))
        return None if found is None else _at(found)

    def enqueued_after(self, time: datetime, since: datetime, jitter: Jitter) -> datetime | None:
        """When the first tick is enqueued that is not yet at ``time``, its delay included; None as in next_after."""
        ticks, moment = self._ticks(since), math.floor(time.timestamp())
        oldest = max(_whole_second(since), moment - jitter.most_s)
        for tick in ticks.newest(oldest, moment, 1) if jitter.most_s else []:
            if (at := _enqueued_at(ticks, tick, jitter)) > moment:
                return _at(at)
        following = ticks.after(max(moment, _whole_second(since)))
        return None if following is None else _at(_enqueued_at(ticks, following, jitter))

    def first_enqueued(self, last_tick: datetime, since: datetime, jitter: Jitter) -> datetime | None:
        """When the first tick later than both times is enqueued, its delay included; None as in next_after."""
        ticks = self._ticks(since)
        first = ticks.after(max(math.floor(last_tick.timestamp()), _whole_second(since)))
        return None if first is None else _at(_enqueued_at(ticks, first, jitter))

    def last_until(self, time: datetime, *, later_than: datetime) -> datetime | None:
        """The newest tick not later than ``time``; None when there is none later than ``later_than``.

        ``@every`` counts from ``later_than``.
        """
        newest = self._ticks(later_than).newest(_whole_second(later_than), _whole_second(time), 1)
        return _at(newest[0]) if newest else None

    def _ticks(self, since: datetime) -> _Ticks:
        if isinstance(self._rule, int):
            return _EveryTicks(since=_whole_second(since), interval=self._rule)
        return self._rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """What is to be done about an entry's ticks now."""

    run: tuple[datetime, ...] = ()  # ticks to enqueue, oldest first
    missed: int = 0  # ticks to give up; all are older than those of ``run``
    newest: datetime | None = None  # the newest tick until now, run or missed; None: none since the last one recorded
    next_at: datetime | None  # the first tick that lies ahead; None: none within five years


def due(
    schedule: Schedule,
    *,
    since: datetime,
    last_tick: datetime | None,
    now: datetime,
    starting_deadline: timedelta | None,
    catch_up: CatchUp,
    jitter: Jitter = NO_JITTER,
) -> Due:
    """Which ticks later than ``since`` and ``last_tick`` run at ``now``, and how many are given up.

    No tick later than ``starting_deadline`` after its time, and its delay, runs. Of the others ``CatchUp.LATEST`` runs
    the newest, ``ALL`` the newest 100, and ``NONE`` the newest if it is on time, that is not later than 10 seconds.
    """
    ticks = schedule._ticks(since)
    start = _whole_second(since if last_tick is None else max(since, last_tick))
    moment = math.floor(now.timestamp())
    first = ticks.after(start)
    if first is None or first > moment:
        return Due(next_at=None if first is None else _at(first))
    [latest] = ticks.newest(start, moment, 1)
    if _enqueued_at(ticks, latest, jitter) > moment:
        if latest == first:
            return Due(next_at=_at(first))
        moment = latest - 1  # every tick before it is due: no delay reaches to the next tick

    lateness = starting_deadline
    if catch_up is CatchUp.NONE:
        lateness = ON_TIME if lateness is None else min(lateness, ON_TIME)
    # The oldest second that may still run. Counted from `now` with its fraction: a deadline of 5 s ends 5.0 s later.
    oldest = start if lateness is None else max(start, math.ceil(now.timestamp() - lateness.total_seconds()) - 1)
    # The last tick before that second may still run for having been delayed; those before it were due before its time.
    for delayed in ticks.newest(max(start, oldest - jitter.most_s), oldest, 1) if jitter.most_s else []:
        if _enqueued_at(ticks, delayed, jitter) > oldest:
            oldest = delayed - 1
    run = ticks.newest(oldest, moment, MAX_CATCH_UP if catch_up is CatchUp.ALL else 1)
    newest = run[-1] if run else ticks.newest(start, moment, 1)[0]
    upcoming = ticks.after(moment)
    return Due(
        run=tuple(_at(tick) for tick in run),
        missed=ticks.count(start, moment) - len(run),
        newest=_at(newest),
        next_at=None if upcoming is None else _at(upcoming),
    )


def _enqueued_at(ticks: _Ticks, tick: int, jitter: Jitter) -> int:
    return tick + jitter.delay_s(tick, ticks.after(tick)) if jitter.most_s else tick


@dataclass(frozen=True, kw_only=True, slots=True)
class _EveryTicks:
    """The ticks of ``@every``: since + k·interval, k ≥ 1."""

    since: int
    interval: int

    def after(self, time: int) -> int | None:
        return self.since + self.interval * (self._number(time) + 1)

    def count(self, low: int, high: int) -> int:
        return max(0, self._number(high) - self._number(low))

    def newest(self, low: int, high: int, limit: int) -> list[int]:
        last, count = self._number(high), min(limit, self.count(low, high))
        return [self.since + self.interval * number for number in range(last - count + 1, last + 1)]

    def _number(self, time: int) -> int:
        """How many ticks there are until ``time``."""
        return max(0, (time - self.since) // self.interval)


_UTC = ZoneInfo("UTC")


# The operator asks for every PeriodicTask at every look; reading one and finding its place in the calendar costs more
# than the question. What a schedule keeps beside its fields are answers that stay true.
@lru_cache(maxsize=4096)
def _parse(text: str, time_zone: str | None) -> Schedule:
    try:
        read = read_schedule(text)
    except ValueError as error:
        raise InvalidOption("schedule", str(error)) from error
    zones = [("timeZone", time_zone), ("schedule", read.zone)]
    loaded = {name: _load_zone(name, where) for where, name in zones if name is not None}
    name = time_zone if read.zone is None else read.zone
    return Schedule(
        text=text,
        time_zone=name,
        spec=text if name is None or read.zone is not None else f"CRON_TZ={name} {text}",
        _rule=read.rule.seconds
        if isinstance(read.rule, EveryInterval)
        else CronTicks(read.rule, _UTC if name is None else loaded[name]),
    )


def _load_zone(name: str, field: str) -> ZoneInfo:
    # "Local" would be the zone of whichever machine runs the scheduler; the other two are no zones but files.
    if name and name not in ("Local", "localtime", "posixrules") and not name.startswith(("posix/", "right/")):
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, LookupError):  # an unknown name, a directory, a path that leads outside
            pass
    raise InvalidOption(
        field, f"unknown time zone {name[:100]!r}; write an IANA name like 'Europe/Berlin' or 'Etc/UTC'"
    )


def _whole_second(time: datetime) -> int:
    return math.floor(time.timestamp())


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
