"""The text of a schedule, as Asynq and the Kubernetes CronJob controller read it (robfig/cron v3, standard parser).

Only reading happens here; :mod:`longshore.policy.cron_ticks` says when a cron runs. The dialect in short: five fields
of ``*``, ``?``, numbers, names, lists, ranges and steps; ``@hourly`` and its kin; ``@every <Go duration>``; before any
of them a ``TZ=<zone>`` or ``CRON_TZ=<zone>`` prefix. Where robfig/cron panics or takes text that can only be a slip
(``*-5``, a field of commas alone), this raises ValueError. ``docs/periodic.md`` lists the differences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from longshore.protocol.go_duration import parse_go_duration_ns


@dataclass(frozen=True, kw_only=True, slots=True)
class CronFields:
    """A cron expression as the sets of numbers it names."""

    minutes: frozenset[int]  # 0–59
    hours: frozenset[int]  # 0–23
    days_of_month: frozenset[int]  # 1–31
    months: frozenset[int]  # 1–12
    days_of_week: frozenset[int]  # 0–6, 0 is Sunday
    either_day: bool  # both day fields are restricted: a day that matches one of them is enough


@dataclass(frozen=True, kw_only=True, slots=True)
class EveryInterval:
    """``@every``: a constant interval."""

    seconds: int  # ≥ 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleText:
    """What a schedule's text says."""

    rule: CronFields | EveryInterval
    zone: str | None  # of the TZ= or CRON_TZ= prefix; None: no prefix


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: Mapping[str, int]


_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day-of-month", 1, 31, {}),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}),
    _Field("day-of-week", 0, 6, {name: number for number, name in enumerate(_WEEKDAY_NAMES)}),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_LONGEST_TEXT = 1000  # every value of every field spelled out takes some 400
_PREFIX = re.compile(r"(?:CRON_)?TZ=")
_NUMBER = re.compile(r"\+?[0-9]{1,18}")
_SECOND_NS = 1_000_000_000


def read_schedule(text: str) -> ScheduleText:
    """Read a schedule. Raises ValueError with a reason a person can act on; the zone's name is not looked up."""
    if not text.strip():
        raise ValueError("is empty; write five fields like '*/5 * * * *', or '@every 30s'")
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"is longer than {_LONGEST_TEXT} characters")
    zone = None
    if (prefix := _PREFIX.match(text)) is not None:
        zone, blank, text = text[prefix.end() :].partition(" ")
        text = text.strip()
        if not blank or not text:
            raise ValueError(f"nothing follows the zone of {prefix[0]}; write '{prefix[0]}<zone> <schedule>'")
    if text.startswith("@"):
        return ScheduleText(rule=_read_descriptor(text), zone=zone)
    return ScheduleText(rule=_read_fields(text), zone=zone)


def _read_descriptor(text: str) -> CronFields | EveryInterval:
    if text in _DESCRIPTORS:
        return _read_fields(_DESCRIPTORS[text])
    if text.startswith(_EVERY):
        # Whole seconds, at least one: Go cuts the fraction and raises anything shorter, negative ones included.
        return EveryInterval(seconds=max(1, parse_go_duration_ns(text[len(_EVERY) :]) // _SECOND_NS))
    known = ", ".join(_DESCRIPTORS)
    raise ValueError(f"{text!r} is not known; lower case and one of {known}, or '@every <duration>'")


def _read_fields(text: str) -> CronFields:
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"expected 5 fields (minute hour day-of-month month day-of-week), found {len(parts)} in {text!r}"
        )
    (minutes, _), (hours, _), (days, any_day), (months, _), (weekdays, any_weekday) = (
        _read_field(part, field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    return CronFields(
        minutes=minutes,
        hours=hours,
        days_of_month=days,
        months=months,
        days_of_week=weekdays,
        either_day=not (any_day or any_weekday),
    )


def _read_field(text: str, field: _Field) -> tuple[frozenset[int], bool]:
    """The numbers of a field, and whether it counts as a star for the day rule."""
    values: set[int] = set()
    star = False
    for item in text.split(","):
        if item:  # Go ignores empty items: `1,,2`
            numbers, is_star = _read_item(item, field)
            values.update(numbers)
            star = star or is_star
    if not values:
        raise ValueError(f"{field.name}: {text!r} names no value")
    return frozenset(values), star


def _read_item(item: str, field: _Field) -> tuple[range, bool]:
    """``*`` | ``?`` | ``a`` | ``a-b``, each with an optional ``/step``; ``a/step`` runs to the maximum."""
    span, *steps = item.split("/")
    ends = span.split("-")
    if len(steps) > 1 or len(ends) > 2 or (ends[0] in ("*", "?") and len(ends) > 1):
        raise ValueError(f"{field.name}: {item!r} is none of *, a, a-b, */step, a/step and a-b/step")
    step = _read_number(steps[0], item, field, {}) if steps else 1
    if step == 0:
        raise ValueError(f"{field.name}: the step of {item!r} must be at least 1")
    if ends[0] in ("*", "?"):
        # `*/2` restricts the day, `*/1` does not: robfig's rule, which differs from Vixie cron's.
        return range(field.low, field.high + 1, step), step == 1
    first = _read_number(ends[0], item, field, field.names)
    last = _read_number(ends[1], item, field, field.names) if len(ends) == 2 else field.high if steps else first
    for number in (first, last):
        if not field.low <= number <= field.high:
            hint = "; Sunday is 0" if field.name == "day-of-week" and number == 7 else ""
            raise ValueError(f"{field.name}: {number} in {item!r} is outside {field.low}–{field.high}{hint}")
    if first > last:
        raise ValueError(f"{field.name}: the range {item!r} ends before it begins; write it as a list of two ranges")
    return range(first, last + 1, step), False


def _read_number(text: str, item: str, field: _Field, names: Mapping[str, int]) -> int:
    if (named := names.get(text.lower())) is not None:
        return named
    if not _NUMBER.fullmatch(text):
        what = "a number or a name" if names else "a number"
        raise ValueError(f"{field.name}: {text!r} in {item!r} is not {what}")
    return int(text)
