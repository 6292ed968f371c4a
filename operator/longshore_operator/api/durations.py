"""Durations as people write them in our resources: ``500ms``, ``60s``, ``1m30s``, ``24h``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}
_PART = re.compile(r"([0-9]+)(ms|s|m|h)")
_WHOLE = re.compile(r"([0-9]+(ms|s|m|h))+")


def parse_duration(text: str) -> timedelta:
    """The sum of the parts of ``text``, each a whole number with the unit ms, s, m or h.

    Raises ValueError that shows the form.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write whole numbers with a unit, like 500ms, 60s, 1m30s or 24h")
    try:
        return sum((int(number) * _UNITS[unit] for number, unit in _PART.findall(text)), timedelta())
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long a duration") from error


def format_duration(duration: timedelta) -> str:
    """The shortest text that parses to ``duration`` (whole milliseconds, not negative); zero is ``0s``."""
    rest = duration // timedelta(milliseconds=1)
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def _read(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


# A field of a resource that holds a duration: text in the object, a timedelta in the model.
Duration = Annotated[timedelta, BeforeValidator(_read)]
