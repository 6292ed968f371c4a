"""What a schedule's text may say: the dialect of robfig/cron v3's standard parser, as values.

Whether robfig agrees is asked of itself in test_against_robfig.py.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from longshore.errors import InvalidOption
from longshore.policy.cron_dialect import CronFields, EveryInterval, read_schedule
from longshore.policy.periodic import Schedule
from longshore.protocol.go_duration import format_go_duration, parse_go_duration_ns


def cron(
    minutes: object = range(60),
    hours: object = range(24),
    days: object = range(1, 32),
    months: object = range(1, 13),
    weekdays: object = range(7),
    *,
    either_day: bool = False,
) -> CronFields:
    """Fields of which all but the given are full."""
    return CronFields(
        minutes=frozenset(minutes),  # type: ignore[call-overload]
        hours=frozenset(hours),  # type: ignore[call-overload]
        days_of_month=frozenset(days),  # type: ignore[call-overload]
        months=frozenset(months),  # type: ignore[call-overload]
        days_of_week=frozenset(weekdays),  # type: ignore[call-overload]
        either_day=either_day,
    )


UNDERSTOOD = {
    "a star is every value": ("* * * * *", cron()),
    "a question mark is a star in any field": ("? ? ? ? ?", cron()),
    "a number is itself": ("5 4 * * *", cron([5], [4])),
    "leading zeros and a plus sign change nothing": ("05 +4 * * *", cron([5], [4])),
    "a list holds each of its items": ("1,3,5 * * * *", cron([1, 3, 5])),
    "empty items of a list are ignored": (",1,,3, * * * *", cron([1, 3])),
    "a range holds both of its ends": ("10-13 * * * *", cron([10, 11, 12, 13])),
    "a range takes a step": ("10-20/4 * * * *", cron([10, 14, 18])),
    "a star takes a step": ("*/20 * * * *", cron([0, 20, 40])),
    "a number with a step runs to the field's maximum": ("50/3 * * * *", cron([50, 53, 56, 59])),
    "a step beyond the range leaves its first value": ("10-20/99 * * * *", cron([10])),
    "months have names in any case": ("0 0 1 JAN,feb,Mar *", cron([0], [0], [1], [1, 2, 3])),
    "weekdays have names, in ranges too": ("0 0 * * Mon-FRI", cron([0], [0], weekdays=[1, 2, 3, 4, 5])),
    "Sunday is 0": ("0 0 * * 0", cron([0], [0], weekdays=[0])),
    "blanks of any width part the fields": (" 0\t0   1 1 * ", cron([0], [0], [1], [1])),
    "with both day fields restricted either one is enough": (
        "0 0 13 * 5",
        cron([0], [0], [13], weekdays=[5], either_day=True),
    ),
    "a star with a step above 1 restricts the day": (
        "0 0 */2 * 5",
        cron([0], [0], range(1, 32, 2), weekdays=[5], either_day=True),
    ),
    "a star with the step 1 does not": ("0 0 */1 * 5", cron([0], [0], weekdays=[5])),
    "a full range restricts the day": ("0 0 1-31 * 5", cron([0], [0], weekdays=[5], either_day=True)),
    "a star in a list makes the field a star": ("0 0 1,* * 5", cron([0], [0], weekdays=[5])),
    "@yearly is 1 January": ("@yearly", cron([0], [0], [1], [1])),
    "@annually is @yearly": ("@annually", cron([0], [0], [1], [1])),
    "@monthly is the first": ("@monthly", cron([0], [0], [1])),
    "@weekly is Sunday": ("@weekly", cron([0], [0], weekdays=[0])),
    "@daily is midnight": ("@daily", cron([0], [0])),
    "@midnight is @daily": ("@midnight", cron([0], [0])),
    "@hourly is the full hour": ("@hourly", cron([0])),
    "@every takes a Go duration": ("@every 1h30m", EveryInterval(seconds=5400)),
    "@every cuts fractions of a second": ("@every 2.9s", EveryInterval(seconds=2)),
    "@every is at least a second": ("@every 10ms", EveryInterval(seconds=1)),
    "@every of nothing is a second": ("@every 0", EveryInterval(seconds=1)),
    "@every below nothing is a second": ("@every -5m", EveryInterval(seconds=1)),
}


@pytest.mark.parametrize(("text", "rule"), UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_the_text_names_these_values(text: str, rule: CronFields | EveryInterval) -> None:
    read = read_schedule(text)
    assert (read.rule, read.zone) == (rule, None)


REFUSED = {
    "no text": ("", "is empty"),
    "blanks alone": ("   ", "is empty"),
    "four fields": ("* * * *", "expected 5 fields (minute hour day-of-month month day-of-week), found 4"),
    "six fields, as with seconds": ("0 * * * * *", "found 6"),
    "a minute of 60": ("60 * * * *", "minute: 60 in '60' is outside 0–59"),
    "an hour of 24": ("0 24 * * *", "hour: 24 in '24' is outside 0–23"),
    "a day 0": ("0 0 0 * *", "day-of-month: 0 in '0' is outside 1–31"),
    "a month 13": ("0 0 1 13 *", "month: 13 in '13' is outside 1–12"),
    "Sunday as 7": ("0 0 * * 7", "day-of-week: 7 in '7' is outside 0–6; Sunday is 0"),
    "a range that ends before it begins": ("0 22-2 * * *", "hour: the range '22-2' ends before it begins"),
    "a step of 0": ("*/0 * * * *", "minute: the step of '*/0' must be at least 1"),
    "two steps": ("*/2/3 * * * *", "minute: '*/2/3' is none of"),
    "two hyphens": ("1-2-3 * * * *", "minute: '1-2-3' is none of"),
    "a star with an end": ("*-5 * * * *", "minute: '*-5' is none of"),
    "a field of commas": (",, * * * *", "minute: ',,' names no value"),
    "a word that is no name": ("0 0 1 foo *", "month: 'foo' in 'foo' is not a number or a name"),
    "a name in a field without names": ("mon * * * *", "minute: 'mon' in 'mon' is not a number"),
    "a long month name": ("0 0 1 january *", "month: 'january'"),
    "a negative number": ("-5 * * * *", "minute: ''"),
    "a fraction": ("1.5 * * * *", "minute: '1.5'"),
    "digits that are not ASCII": ("٣ * * * *", "minute: '٣'"),
    "L, the last day": ("0 0 L * *", "day-of-month: 'L'"),
    "W, the nearest weekday": ("0 0 15W * *", "day-of-month: '15W'"),
    "#, the nth weekday": ("0 0 * * 5#2", "day-of-week: '5#2'"),
    "a descriptor in upper case": ("@Daily", "'@Daily' is not known; lower case"),
    "@reboot": ("@reboot", "'@reboot' is not known"),
    "@every without a duration": ("@every", "'@every' is not known"),
    "@every without a unit": ("@every 30", "'30' is not a duration"),
    "@every with a word": ("@every day", "'day' is not a duration"),
    "@every beyond what Go can hold": ("@every 3000000h", "longer than the longest duration"),
    "a zone prefix and nothing more": ("TZ=UTC", "nothing follows the zone of TZ="),
    "a zone prefix without a blank": ("CRON_TZ=UTC@daily", "nothing follows the zone of CRON_TZ="),
    "a zone prefix and blanks": ("TZ=UTC   ", "nothing follows the zone of TZ="),
    "an unknown zone in the prefix": ("TZ=Mars/Base * * * * *", "unknown time zone 'Mars/Base'"),
    "an empty zone in the prefix": ("TZ= * * * * *", "unknown time zone ''"),
    "a text without end": ("0" * 1001, "is longer than 1000 characters"),
    "a prefix in lower case": ("tz=UTC * * * * *", "found 6"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_schedule_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        Schedule.parse(text)
    assert caught.value.field == "schedule"
    assert reason in caught.value.problem


@pytest.mark.parametrize(
    "zone", ["Mars/Base", "", "Local", "localtime", "Europe", "../etc/passwd", "/etc/localtime", "right/UTC", "a\0b"]
)
def test_what_is_no_zone_is_refused_for_its_own_field(zone: str) -> None:
    with pytest.raises(InvalidOption, match="unknown time zone") as caught:
        Schedule.parse("@daily", zone)
    assert caught.value.field == "timeZone"


SPECS = {
    "a zone given beside becomes a prefix": ("0 4 * * *", "Europe/Berlin", "CRON_TZ=Europe/Berlin 0 4 * * *"),
    "the text's own prefix wins": ("TZ=Asia/Tokyo 0 4 * * *", "Europe/Berlin", "TZ=Asia/Tokyo 0 4 * * *"),
    "without a zone the text stays": ("@every 30s", None, "@every 30s"),
}


@pytest.mark.parametrize(("text", "zone", "spec"), SPECS.values(), ids=SPECS)
def test_readers_are_shown_the_schedule_with_its_zone(text: str, zone: str | None, spec: str) -> None:
    assert Schedule.parse(text, zone).spec == spec


DURATIONS = {
    "0s": timedelta(),
    "1µs": timedelta(microseconds=1),
    "300ms": timedelta(milliseconds=300),
    "1.5s": timedelta(seconds=1.5),
    "30s": timedelta(seconds=30),
    "5m0s": timedelta(minutes=5),
    "1h0m0s": timedelta(hours=1),
    "24h0m0s": timedelta(days=1),
    "1h1m1.000001s": timedelta(hours=1, minutes=1, seconds=1, microseconds=1),
    "-1m30s": timedelta(seconds=-90),
}


@pytest.mark.parametrize(("text", "duration"), DURATIONS.items(), ids=DURATIONS)
def test_a_duration_is_written_as_go_writes_it_and_read_back(text: str, duration: timedelta) -> None:
    assert format_go_duration(duration) == text
    assert parse_go_duration_ns(text) == duration // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    ("text", "nanoseconds"), [("+5s", 5_000_000_000), (".5s", 500_000_000), ("5.s", 5_000_000_000), ("1us1ns", 1001)]
)
def test_a_duration_is_read_in_every_form_that_go_reads(text: str, nanoseconds: int) -> None:
    assert parse_go_duration_ns(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", ".s", "5 s", "5S", "1d", "--5s", "1h-5m", "5s ", "٣s"])
def test_what_go_does_not_read_as_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_go_duration_ns(text)
