"""When a schedule runs: next times, the calendar's corners, and clocks that change.

Tables hold the rule's meaning; a brute-force search over every minute checks the rest in zones that make trouble.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from longshore.policy.cron_dialect import CronFields, read_schedule
from longshore.policy.cron_ticks import CronTicks
from longshore.policy.periodic import Schedule


def local_times(text: str, zone: str, start: str, count: int) -> list[str]:
    """The next ``count`` ticks after a local time, as local times with their offset."""
    schedule = Schedule.parse(text, zone)
    at = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    found = []
    for _ in range(count):
        upcoming = schedule.next_after(at, at)
        assert upcoming is not None
        at = upcoming
        found.append(at.astimezone(ZoneInfo(zone)).strftime("%a %Y-%m-%d %H:%M%z"))
    return found


CALENDAR = {
    "a tick is later than the time, not at it": (
        "0 * * * *", "2026-03-10 12:00", ["Tue 2026-03-10 13:00+0000", "Tue 2026-03-10 14:00+0000"]),
    "seconds are always zero": ("* * * * *", "2026-03-10 12:00:59", ["Tue 2026-03-10 12:01+0000"]),
    "months without the day are left out": (
        "0 0 31 * *", "2026-03-31 00:00", ["Sun 2026-05-31 00:00+0000", "Fri 2026-07-31 00:00+0000"]),
    "29 February waits for a leap year": ("0 0 29 2 *", "2026-03-01 00:00", ["Tue 2028-02-29 00:00+0000"]),
    "either day field is enough when both restrict": (
        "0 0 13 * 5", "2026-03-10 00:00",
        ["Fri 2026-03-13 00:00+0000", "Fri 2026-03-20 00:00+0000", "Fri 2026-03-27 00:00+0000",
         "Fri 2026-04-03 00:00+0000", "Fri 2026-04-10 00:00+0000", "Mon 2026-04-13 00:00+0000"]),
    "*/2 restricts the day: odd days or Fridays": (
        "0 0 */2 * 5", "2026-03-11 00:00",
        ["Fri 2026-03-13 00:00+0000", "Sun 2026-03-15 00:00+0000", "Tue 2026-03-17 00:00+0000",
         "Thu 2026-03-19 00:00+0000", "Fri 2026-03-20 00:00+0000"]),
    "a full range and a weekday are every day": (
        "0 0 1-31 * 5", "2026-03-11 00:00", ["Thu 2026-03-12 00:00+0000", "Fri 2026-03-13 00:00+0000"]),
    "a star and a weekday are that weekday": ("0 0 * * 5", "2026-03-11 00:00", ["Fri 2026-03-13 00:00+0000"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "start", "times"), CALENDAR.values(), ids=CALENDAR)
def test_the_next_ticks_on_the_calendar(text: str, start: str, times: list[str]) -> None:
    assert local_times(text, "UTC", start, len(times)) == times


# Berlin: 2026-03-29 02:00 → 03:00, 2026-10-25 03:00 → 02:00. São Paulo: 2018-11-04 00:00 → 01:00.
# Lord Howe: 2026-10-04 02:00 → 02:30, 2026-04-05 02:00 → 01:30.
CLOCK_CHANGES = {
    "a local time that is skipped does not run that day": (
        "30 2 * * *", "Europe/Berlin", "2026-03-28 00:00",
        ["Sat 2026-03-28 02:30+0100", "Mon 2026-03-30 02:30+0200"]),
    "a local time that repeats runs twice": (
        "30 2 * * *", "Europe/Berlin", "2026-10-25 00:00",
        ["Sun 2026-10-25 02:30+0200", "Sun 2026-10-25 02:30+0100", "Mon 2026-10-26 02:30+0100"]),
    "an hourly tick runs each real hour of the long day": (
        "0 * * * *", "Europe/Berlin", "2026-10-25 01:00",
        ["Sun 2026-10-25 02:00+0200", "Sun 2026-10-25 02:00+0100", "Sun 2026-10-25 03:00+0100"]),
    "an hourly tick runs each real hour of the short day": (
        "0 * * * *", "Europe/Berlin", "2026-03-29 00:30",
        ["Sun 2026-03-29 01:00+0100", "Sun 2026-03-29 03:00+0200", "Sun 2026-03-29 04:00+0200"]),
    "the hour after the gap runs once": (
        "0 3 * * *", "Europe/Berlin", "2026-03-28 12:00",
        ["Sun 2026-03-29 03:00+0200", "Mon 2026-03-30 03:00+0200"]),
    "the hour before the repeated one runs once": (
        "59 1 * * *", "Europe/Berlin", "2026-10-24 12:00",
        ["Sun 2026-10-25 01:59+0200", "Mon 2026-10-26 01:59+0100"]),
    "a midnight that does not exist does not run": (
        "0 0 * * *", "America/Sao_Paulo", "2018-11-03 00:00",
        ["Mon 2018-11-05 00:00-0200", "Tue 2018-11-06 00:00-0200"]),
    "a day without a midnight keeps its other hours": (
        "0 5 4 11 *", "America/Sao_Paulo", "2018-11-01 00:00", ["Sun 2018-11-04 05:00-0200"]),
    "a gap of half an hour skips half an hour": (
        "*/15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00",
        ["Sun 2026-10-04 02:30+1100", "Sun 2026-10-04 02:45+1100", "Mon 2026-10-05 02:00+1100"]),
    "half an hour that repeats runs twice": (
        "45 1 * * *", "Australia/Lord_Howe", "2026-04-05 00:00",
        ["Sun 2026-04-05 01:45+1100", "Sun 2026-04-05 01:45+1030", "Mon 2026-04-06 01:45+1030"]),
    "a day that a zone leaves out does not run": (  # Samoa crossed the date line
        "0 12 * * *", "Pacific/Apia", "2011-12-29 00:00",
        ["Thu 2011-12-29 12:00-1000", "Sat 2011-12-31 12:00+1400"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "zone", "start", "times"), CLOCK_CHANGES.values(), ids=CLOCK_CHANGES)
def test_ticks_follow_the_wall_clock(text: str, zone: str, start: str, times: list[str]) -> None:
    assert local_times(text, zone, start, len(times)) == times


def test_between_the_two_runs_of_a_repeated_time_the_second_is_next() -> None:
    schedule = Schedule.parse("30 2 * * *", "Europe/Berlin")
    between = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)  # 02:45 of the first pass
    assert schedule.next_after(between, between) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 4,6,9,11 *"])
def test_a_date_that_never_comes_has_no_next_tick(text: str) -> None:
    now = datetime(2026, 3, 10, tzinfo=UTC)
    assert Schedule.parse(text, "Europe/Berlin").next_after(now, now) is None


def test_a_tick_more_than_five_years_ahead_counts_as_never() -> None:
    schedule = Schedule.parse("0 0 29 2 *")
    after_2096 = datetime(2096, 3, 1, tzinfo=UTC)  # 2100 is no leap year
    assert schedule.next_after(after_2096, after_2096) is None


EVERY = {
    "the first tick is one interval after since": (0, 30),
    "a tick is later than the time, not at it": (30, 60),
    "a fraction of a second does not matter": (59.999, 60),
    "long after since the ticks still lie on its grid": (86_400 * 365 + 1, 86_400 * 365 + 30),
    "a time before since gives the first tick": (-1000, 30),
}


@pytest.mark.parametrize(("after", "expected"), EVERY.values(), ids=EVERY)
def test_every_counts_from_since(after: float, expected: int) -> None:
    since = datetime(2026, 3, 10, 12, 0, 7, tzinfo=UTC)
    upcoming = Schedule.parse("@every 30s", "Europe/Berlin").next_after(since + timedelta(seconds=after), since)
    assert upcoming == since + timedelta(seconds=expected)


def test_no_tick_comes_before_since() -> None:
    schedule = Schedule.parse("0 * * * *")
    since = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
    assert schedule.next_after(since - timedelta(days=9), since) == datetime(2026, 3, 10, 13, tzinfo=UTC)


TROUBLE = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca",
    "Asia/Tehran", "Asia/Beirut", "America/Havana", "Pacific/Apia", "Asia/Kathmandu", "Asia/Gaza",
]  # fmt: skip


@pytest.mark.parametrize("zone", TROUBLE)
def test_every_minute_of_four_days_agrees_with_the_rule_read_literally(zone: str) -> None:
    generator = random.Random(zone)
    for _ in range(12):
        text = random_expression(generator)
        fields = read_schedule(text).rule
        assert isinstance(fields, CronFields)
        start = time_near_clock_change(generator, zone)
        end = start + 4 * 86_400 + generator.randrange(86_400)
        literal = [t for t in range(start + 1, end + 1) if t % 60 == 0 and matches(fields, t, ZoneInfo(zone))]

        ticks = CronTicks(fields, ZoneInfo(zone))
        walked, at = [], ticks.after(start)
        while at is not None and at <= end:
            walked.append(at)
            at = ticks.after(at)
        assert walked == literal, (text, start)
        assert ticks.count(start, end) == len(literal), (text, start)
        assert ticks.newest(start, end, 100) == literal[-100:], (text, start)
        assert ticks.newest(start, end, 1) == literal[-1:], (text, start)


def matches(fields: CronFields, time: int, zone: ZoneInfo) -> bool:
    """The rule read literally: the local clock shows what the fields name."""
    local = datetime.fromtimestamp(time, zone)
    day, weekday = local.day in fields.days_of_month, local.isoweekday() % 7 in fields.days_of_week
    return (
        local.second == 0
        and local.minute in fields.minutes
        and local.hour in fields.hours
        and local.month in fields.months
        and (day or weekday if fields.either_day else day and weekday)
    )


def random_expression(generator: random.Random) -> str:
    """Five fields of everything the dialect knows, often enough with small hours in them."""

    def field(low: int, high: int, star: float) -> str:
        if generator.random() < star:
            return generator.choice(["*", "*", "?", "*/1"])
        items = []
        for _ in range(generator.choice([1, 1, 1, 2, 3])):
            first = generator.randint(low, high)
            last, step = generator.randint(first, high), generator.randint(1, high)
            items.append(
                generator.choice(
                    [
                        f"{first}",
                        f"{first}",
                        f"{first}-{last}",
                        f"{first}/{step}",
                        f"*/{step}",
                        f"{first}-{last}/{step}",
                    ]
                )
            )
        return ",".join(items)

    hours = "0,1,2,3" if generator.random() < 0.2 else field(0, 23, 0.4)
    return f"{field(0, 59, 0.3)} {hours} {field(1, 31, 0.7)} {field(1, 12, 0.8)} {field(0, 6, 0.7)}"


def time_near_clock_change(generator: random.Random, zone_name: str) -> int:
    """A time in 2005–2036, mostly within a day of a change of the zone's offset."""
    zone = ZoneInfo(zone_name)
    first = datetime(generator.randint(2005, 2036), 1, 1, tzinfo=UTC)
    days = [first + timedelta(days=day) for day in range(367)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    changes = [day for day, here, there in zip(days, offsets, offsets[1:], strict=False) if here != there]
    if not changes or generator.random() < 0.2:
        return int(generator.choice(days).timestamp()) + generator.randrange(86_400)
    return int(generator.choice(changes).timestamp()) + generator.randint(-86_400, 86_400)
