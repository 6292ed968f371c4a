"""Go's text form of durations: ``1h30m``, ``1.5s``, ``300ms``. Asynq's cron specs and option strings carry it."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "μs": 1_000,  # U+03BC, the Greek letter; Go takes both
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_MAX_NS = 2**63 - 1  # Go's time.Duration is an int64 of nanoseconds, some 292 years


def parse_go_duration_ns(text: str) -> int:
    """Read what Go's ``time.ParseDuration`` reads, in nanoseconds; a fraction of one is cut.

    Raises ValueError, whose message is meant for the person who wrote the text.
    """
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]):
            break
        unit = _UNITS_NS[part[3]]
        fraction = part[2] or ""
        total += int(part[1] or "0") * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        at = part.end()
    if at == 0 or at < len(rest):
        raise ValueError(f"{text!r} is not a duration; write numbers with a unit, like 30s, 5m or 1h30m")
    if total > _MAX_NS:
        raise ValueError(f"{text!r} is longer than the longest duration, 292 years")
    return sign * total


def format_go_duration(value: timedelta) -> str:
    """Write a duration as Go's ``Duration.String`` does: ``30s``, ``5m0s``, ``1h0m0s``, ``1.5s``, ``300ms``, ``0s``."""
    total_us = value // timedelta(microseconds=1)
    if total_us < 0:
        return "-" + format_go_duration(-value)
    if total_us == 0:
        return "0s"
    if total_us < 1_000:
        return f"{total_us}µs"
    if total_us < 1_000_000:
        return f"{_decimal(total_us, 1_000)}ms"
    minutes, seconds_us = divmod(total_us, 60_000_000)
    seconds = f"{_decimal(seconds_us, 1_000_000)}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(amount: int, unit: int) -> str:
    whole, fraction = divmod(amount, unit)
    return f"{whole}.{fraction:0{len(str(unit)) - 1}d}".rstrip("0").rstrip(".")
