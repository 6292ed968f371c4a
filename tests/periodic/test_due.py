"""Which ticks run now and which are given up: startingDeadline and catchUp, as values.

Times are seconds after `since`; a schedule of @every 10s has its ticks at 10, 20, 30, …
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from longshore.policy.periodic import Due, Schedule, due
from longshore.protocol.periodic import CatchUp

SINCE = datetime(2026, 3, 10, 12, 0, 0, tzinfo=UTC)


def at(second: float) -> datetime:
    return SINCE + timedelta(seconds=second)


@dataclass(frozen=True, kw_only=True)
class Case:
    now: float
    last: float | None = None
    deadline: float | None = 60
    catch_up: CatchUp = CatchUp.LATEST
    run: tuple[float, ...] = ()
    missed: int = 0
    newest: float | None = None
    next_at: float


CASES = {
    "before the first tick nothing is due": Case(now=9.99, next_at=10),
    "a tick is due at its second": Case(now=10, run=(10,), newest=10, next_at=20),
    "a tick that was recorded is not due again": Case(now=15, last=10, next_at=20),
    "a tick a little late runs": Case(now=13.7, run=(10,), newest=10, next_at=20),
    "of two ticks the latest runs, the other is missed": Case(now=25, run=(20,), missed=1, newest=20, next_at=30),
    "with All both run, the oldest first": Case(
        now=25, catch_up=CatchUp.ALL, run=(10, 20), newest=20, next_at=30),
    "a tick exactly as late as the deadline runs": Case(
        now=15, deadline=5, run=(10,), newest=10, next_at=20),
    "a tick later than the deadline is missed": Case(
        now=15.001, deadline=5, missed=1, newest=10, next_at=20),
    "All stops at the deadline": Case(
        now=105, deadline=30, catch_up=CatchUp.ALL, run=(80, 90, 100), missed=7, newest=100, next_at=110),
    "Latest counts what it leaves out": Case(now=105, run=(100,), missed=9, newest=100, next_at=110),
    "recorded ticks are not counted as missed": Case(now=105, last=70, run=(100,), missed=2, newest=100, next_at=110),
    "without a deadline the latest runs however late": Case(
        now=109, last=0, deadline=None, run=(100,), missed=9, newest=100, next_at=110),
    "None runs a tick that is on time": Case(now=12, catch_up=CatchUp.NONE, run=(10,), newest=10, next_at=20),
    "None runs the latest that is on time, not the ones before": Case(
        now=25, catch_up=CatchUp.NONE, run=(20,), missed=1, newest=20, next_at=30),
    "None still keeps a deadline shorter than on time": Case(
        now=14, deadline=3, catch_up=CatchUp.NONE, missed=1, newest=10, next_at=20),
    "a last tick of another schedule that lies off the grid is respected": Case(
        now=25, last=12, run=(20,), newest=20, next_at=30),
    "a last tick ahead of the clock stops everything before it": Case(now=25, last=40, next_at=50),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_due(case: Case) -> None:
    decided = due(
        Schedule.parse("@every 10s"),
        since=SINCE,
        last_tick=None if case.last is None else at(case.last),
        now=at(case.now),
        starting_deadline=None if case.deadline is None else timedelta(seconds=case.deadline),
        catch_up=case.catch_up,
    )
    assert decided == Due(
        run=tuple(map(at, case.run)),
        missed=case.missed,
        newest=None if case.newest is None else at(case.newest),
        next_at=at(case.next_at),
    )


def test_none_gives_up_a_tick_that_is_no_longer_on_time() -> None:
    decided = decide("@every 1m", CatchUp.NONE, now=at(71))
    assert decided == Due(missed=1, newest=at(60), next_at=at(120))


def test_all_runs_at_most_a_hundred_and_counts_the_rest() -> None:
    decided = decide("@every 1s", CatchUp.ALL, now=at(1000))
    assert decided == Due(
        run=tuple(at(second) for second in range(901, 1001)), missed=900, newest=at(1000), next_at=at(1001)
    )


LONG_OUTAGES = {
    "@every 1s": 365 * 86_400,
    "* * * * *": 365 * 1440,
    "*/5 8-17 * * 1-5": 261 * 120,
    "0 0 1 * *": 12,
}


@pytest.mark.parametrize(("text", "ticks"), LONG_OUTAGES.items())
@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_year_of_ticks_is_counted_exactly(text: str, ticks: int, catch_up: CatchUp) -> None:
    # 2026-03-10 12:00 to 2027-03-10 12:00 in UTC: 261 weekdays, Tuesday afternoon to Wednesday noon.
    decided = decide(text, catch_up, now=SINCE + timedelta(days=365), deadline=None)
    assert len(decided.run) + decided.missed == ticks
    assert len(decided.run) <= 100


def test_an_entry_from_the_future_waits() -> None:
    decided = decide("* * * * *", CatchUp.LATEST, now=at(-3600))
    assert decided == Due(next_at=at(60))


def test_a_date_that_never_comes_is_never_due() -> None:
    assert decide("0 0 30 2 *", CatchUp.ALL, now=SINCE + timedelta(days=1000)) == Due(next_at=None)


def test_the_last_tick_that_will_ever_come_is_due_and_has_no_next() -> None:
    # 29 February 2096 is followed by 2104, beyond the horizon of five years.
    since, tick = datetime(2096, 1, 1, tzinfo=UTC), datetime(2096, 2, 29, tzinfo=UTC)
    decided = due(
        Schedule.parse("0 0 29 2 *"),
        since=since,
        last_tick=None,
        now=tick,
        starting_deadline=None,
        catch_up=CatchUp.LATEST,
    )
    assert decided == Due(run=(tick,), newest=tick, next_at=None)


def decide(text: str, catch_up: CatchUp, *, now: datetime, deadline: timedelta | None = None) -> Due:
    return due(
        Schedule.parse(text), since=SINCE, last_tick=None, now=now, starting_deadline=deadline, catch_up=catch_up
    )
