"""When a pool's scheduled windows are open: to the second, through daylight saving, and with few looks at the calendar.

Left out: the dialect and the ticks (tests/policy); what an open window does to the count (test_decisions.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from longshore_operator.api.worker_pool import ScheduledMinimum
from longshore_operator.plan import windows
from longshore_operator.plan.windows import Windows, windows_at

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(
    cron: str, duration: str = "10h", minimum: int = 5, zone: str | None = "Europe/Berlin"
) -> ScheduledMinimum:
    return ScheduledMinimum(cron=cron, time_zone=zone, duration=duration, min_replicas=minimum)  # type: ignore[arg-type]


def wall(text: str, *, fold: int = 0) -> datetime:
    """The moment at which a clock in Berlin shows this; ``fold`` 1: the second time."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(UTC)


def openings(schedules: tuple[ScheduledMinimum, ...], start: datetime, end: datetime) -> list[tuple[datetime, int]]:
    """Each change of the minimum, found by nothing but the answers' own ends."""
    now, known, found = start.astimezone(UTC), None, []
    while now < end:
        known = windows_at(schedules, now, known)
        if not found or found[-1][1] != known.min_replicas:
            found.append((now, known.min_replicas))
        now = known.until
    return found


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        pytest.param("2026-01-15", "08:00", "18:00", id="in winter"),
        pytest.param("2026-07-15", "08:00", "18:00", id="in summer"),
        pytest.param("2026-03-29", "08:00", "18:00", id="on the day that is an hour short"),
        pytest.param("2026-10-25", "08:00", "18:00", id="on the day that is an hour long"),
    ],
)
def test_a_window_follows_the_clock_on_the_wall(day: str, opens: str, closes: str) -> None:
    changes = openings((schedule("0 8 * * *"),), wall(f"{day} 04:00"), wall(f"{day} 23:59"))
    assert changes[1:] == [(wall(f"{day} {opens}"), 5), (wall(f"{day} {closes}"), 0)]


def test_a_duration_is_elapsed_time_through_the_night_that_is_an_hour_short() -> None:
    changes = openings((schedule("0 22 * * *", "6h"),), wall("2026-03-28 12:00"), wall("2026-03-29 12:00"))
    assert changes[1:] == [(wall("2026-03-28 22:00"), 5), (wall("2026-03-29 05:00"), 0)]


def test_a_duration_is_elapsed_time_through_the_night_that_is_an_hour_long() -> None:
    changes = openings((schedule("0 22 * * *", "6h"),), wall("2026-10-24 12:00"), wall("2026-10-25 12:00"))
    assert changes[1:] == [(wall("2026-10-24 22:00"), 5), (wall("2026-10-25 03:00"), 0)]


def test_a_time_that_is_skipped_opens_nothing_that_day() -> None:
    changes = openings((schedule("30 2 * * *", "1h"),), wall("2026-03-28 12:00"), wall("2026-03-30 12:00"))
    assert changes[1:] == [(wall("2026-03-30 02:30"), 5), (wall("2026-03-30 03:30"), 0)]


def test_a_time_that_comes_twice_opens_twice() -> None:
    changes = openings((schedule("30 2 * * *", "10m"),), wall("2026-10-24 12:00"), wall("2026-10-25 12:00"))
    assert changes[1:] == [
        (wall("2026-10-25 02:30"), 5),
        (wall("2026-10-25 02:40"), 0),
        (wall("2026-10-25 02:30", fold=1), 5),
        (wall("2026-10-25 02:40", fold=1), 0),
    ]


def test_ticks_closer_than_the_duration_make_one_window() -> None:
    hourly = (schedule("0 8-17 * * *", "1h"),)
    changes = openings(hourly, wall("2026-01-15 04:00"), wall("2026-01-15 23:00"))
    assert changes[1:] == [(wall("2026-01-15 08:00"), 5), (wall("2026-01-15 18:00"), 0)]


def test_windows_within_windows_change_the_minimum_at_each_edge() -> None:
    nested = (schedule("0 8 * * *", "10h", 2), schedule("0 12 * * *", "1h", 9), schedule("30 12 * * *", "2h", 4))
    changes = openings(nested, wall("2026-01-15 04:00"), wall("2026-01-15 23:00"))
    assert [(each.astimezone(BERLIN).strftime("%H:%M"), minimum) for each, minimum in changes[1:]] == [
        ("08:00", 2),
        ("12:00", 9),
        ("13:00", 4),
        ("14:30", 2),
        ("18:00", 0),
    ]


def test_without_a_zone_it_is_utc() -> None:
    found = windows_at((schedule("0 8 * * *", zone=None),), datetime(2026, 7, 1, 8, 0, tzinfo=UTC), None)
    assert found.min_replicas == 5


def test_a_schedule_that_has_no_tick_for_years_opens_nothing_and_is_no_problem() -> None:
    found = windows_at((schedule("0 0 30 2 *"),), wall("2026-01-15 04:00"), None)
    assert (found.min_replicas, found.problem) == (0, None)


@pytest.mark.parametrize(
    ("bad", "reason", "message"),
    [
        (schedule("0 99 * * *"), "InvalidSchedule", "spec.autoscaling.schedules[1].cron: "),
        (schedule("0 8 * * *", zone="Europe/Atlantis"), "InvalidTimeZone", "spec.autoscaling.schedules[1].timeZone: "),
    ],
)
def test_one_that_cannot_be_understood_is_named_and_the_others_go_on(
    bad: ScheduledMinimum, reason: str, message: str
) -> None:
    found = windows_at((schedule("0 8 * * *", minimum=2), bad), wall("2026-01-15 09:00"), None)
    assert found.min_replicas == 2
    assert found.problem is not None
    assert found.problem.reason == reason
    assert found.problem.message.startswith(message)


def test_the_calendar_is_asked_only_when_an_answer_ends_or_schedules_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0
    real = windows.Schedule.parse

    def parse(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return real(*arguments)

    monkeypatch.setattr(windows.Schedule, "parse", parse)
    schedules = (schedule("0 8 * * *"), schedule("0 99 * * *"))
    known: Windows | None = None
    for second in range(3600):
        known = windows_at(schedules, wall("2026-01-15 08:00") + timedelta(seconds=second), known)
    assert asked == 2
    known = windows_at(schedules[:1], wall("2026-01-15 09:00"), known)
    assert asked == 3
    windows_at(schedules[:1], wall("2026-01-15 07:00"), known)  # a clock that was set back
    assert asked == 4
