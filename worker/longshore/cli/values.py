"""Types of option values: what people write on a command line or in an environment variable.

Each raises click's BadParameter with what is wrong and an example of what is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from longshore.runtime.process_pool import usable_cpus
from longshore.task import NO_TIMEOUT

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_MOST_PROCESSES = 256
_SECONDS = re.compile(r"\d+(?:\.\d+)?")


class Duration(click.ParamType[timedelta]):
    """Seconds, or as Go writes durations: 90, 90s, 1m30s, 500ms, 12h, 2d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        text = str(value).strip()
        if _SECONDS.fullmatch(text):
            seconds = float(text)
        elif text and not _PART.sub("", text):
            seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        else:
            self.fail(
                f"{text!r} is not a duration; write seconds or units, such as 90, 90s, 1m30s or 500ms", param, ctx
            )
        try:
            return timedelta(seconds=seconds)
        except OverflowError:
            self.fail(f"{text!r} is too long a duration", param, ctx)


class TimeLimit(Duration):
    """A Duration, or ``none`` for no time limit."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        return NO_TIMEOUT if str(value).strip() == "none" else super().convert(value, param, ctx)


class Moment(click.ParamType[datetime]):
    """An RFC 3339 time with its zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time; write it as 2026-01-31T18:00:00Z", param, ctx)
        if moment.utcoffset() is None:
            self.fail(f"{value!r} has no time zone; append Z for UTC, or an offset such as +01:00", param, ctx)
        return moment


class Address(click.ParamType[tuple[str, int]]):
    """host:port; without a host, every interface."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            self.fail(f"{value!r} is not an address; write host:port, or :8081 for every interface", param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


class ProcessCount(click.ParamType[int]):
    """A number, or auto for one a CPU."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if text == "auto":
            return usable_cpus()
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_PROCESSES:
            self.fail(f"{text!r} is not a number from 1 to {_MOST_PROCESSES}, nor 'auto' for one a CPU", param, ctx)
        return int(text)


class Header(click.ParamType[tuple[str, str]]):
    """name=value."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not a header; write name=value", param, ctx)
        return name, text


class QueuePriorities(click.ParamType[dict[str, int]]):
    """One or several queues with their priorities: critical=6,default=3. A name alone has priority 1."""

    name = "name=priority,…"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [rv]  # click would split it at spaces, which a queue's name may have

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        if isinstance(value, dict):
            return value
        queues: dict[str, int] = {}
        for part in str(value).split(","):
            # from the right: a queue's name may hold a "="
            queue, equals, priority = part.strip().rpartition("=")
            if not equals:
                queue, priority = part.strip(), "1"
            if not queue.strip():
                self.fail(f"{value!r} has a queue without a name; write name=priority, such as critical=6", param, ctx)
            if not priority.isascii() or not priority.isdigit() or int(priority) < 1:
                self.fail(f"the priority of queue {queue!r} is {priority!r}; write a whole number from 1", param, ctx)
            if queue in queues:
                self.fail(f"queue {queue!r} is given twice", param, ctx)
            queues[queue] = int(priority)
        return queues
