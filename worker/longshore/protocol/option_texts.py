"""The options of a scheduler's entry, read back from the text that every Asynq scheduler publishes.

Asynq's own readers panic at a text without parentheses, lose a value with a ``)`` in it, and do not know TaskID and
Group. Nothing raises here: what cannot be read keeps its text and has no value.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from longshore.protocol.go_duration import parse_go_duration_ns

_ESCAPE = re.compile(r'\\(?:([abfnrtv\\"\'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))')
_SIMPLE = dict(zip("abfnrtv\\\"'", "\a\b\f\n\r\t\v\\\"'", strict=True))
_NUMBER = re.compile(r"-?[0-9]{1,10}")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(r"\w{3} (\w{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) UTC (\d{1,4})")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionText:
    """One option."""

    text: str  # as published
    name: str  # Asynq's: MaxRetry, Queue, …; the whole text when it has no parentheses
    # int, text, timedelta, datetime, or (header, value); None: not readable, or of a name that nobody knows
    value: int | str | timedelta | datetime | tuple[str, str] | None


def read_option(text: str) -> OptionText:
    """Never raises."""
    name, opened, rest = text.partition("(")
    inside, closed, _ = rest.rpartition(")")
    value = None
    read = _READERS.get(name)
    if opened and closed and read is not None:
        with contextlib.suppress(ValueError, OverflowError):
            value = read(inside)
    return OptionText(text=text, name=name, value=value)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number of Go's int")
    return int(text)


def _quoted(text: str) -> str:
    found = _QUOTED.fullmatch(text)
    if found is None:
        raise ValueError("not a quoted text")
    return _unescaped(found[1])


def _header(text: str) -> tuple[str, str]:
    found = _QUOTED.findall(text)
    if len(found) != 2:
        raise ValueError("not two quoted texts")
    return _unescaped(found[0]), _unescaped(found[1])


def _unescaped(text: str) -> str:
    """What Go's strconv.Quote has made of a text, undone. Bytes that are not UTF-8 are replaced."""
    out, at = bytearray(), 0
    while at < len(text):
        if text[at] != "\\":
            out += text[at].encode(errors="replace")
            at += 1
            continue
        found = _ESCAPE.match(text, at)
        if found is None:
            raise ValueError("not an escape of Go's")
        simple, byte, short, long, octal = found.groups()
        if simple:
            out += _SIMPLE[simple].encode()
        elif byte or octal:
            out.append(int(byte, 16) if byte else int(octal, 8) & 0xFF)
        else:
            out += chr(int(short or long, 16)).encode(errors="replace")
        at = found.end()
    return out.decode(errors="replace")


def _duration(text: str) -> timedelta:
    return timedelta(microseconds=parse_go_duration_ns(text) // 1000)


def _date(text: str) -> datetime:
    """Only UTC: the letters of another zone do not say which it is."""
    found = _DATE.fullmatch(text)
    if found is None or found[1] not in _MONTHS:
        raise ValueError("not a date in UTC")
    day, hour, minute, second, year = (int(found[group]) for group in range(2, 7))
    return datetime(year, _MONTHS.index(found[1]) + 1, day, hour, minute, second, tzinfo=UTC)


_READERS: dict[str, Callable[[str], Any]] = {
    "MaxRetry": _number,
    "Queue": _quoted,
    "TaskID": _quoted,
    "Group": _quoted,
    "Timeout": _duration,
    "Unique": _duration,
    "Retention": _duration,
    "ProcessIn": _duration,
    "Deadline": _date,
    "ProcessAt": _date,
    "Header": _header,
}
