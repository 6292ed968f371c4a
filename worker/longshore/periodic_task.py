"""A task that is enqueued again and again: what applications and providers declare, turned into an entry for Redis."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, TypedDict

from longshore.errors import InvalidOption
from longshore.policy.periodic import Schedule
from longshore.protocol.periodic import CatchUp, Overlap, PeriodicEntry, PeriodicTaskTemplate, encode_entry
from longshore.task import NO_TIMEOUT, Task, merged_options

_OPTIONS = ("queue", "max_retry", "timeout", "unique_for", "retention", "headers")
_MOST_JITTER = timedelta(hours=1)
_NOWHEN = datetime.fromtimestamp(0, UTC)


class PeriodicOptions(TypedDict, total=False):
    """The task options that a periodic task may have. ``None`` is the same as not given."""

    queue: str | None
    max_retry: int | None
    timeout: timedelta | float | None
    unique_for: timedelta | float | None
    retention: timedelta | float | None
    headers: Mapping[str, str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodicTask:
    """When a task is enqueued, and which. A plain value: what cannot be used is told when it is declared or read."""

    schedule: str  # five fields, a descriptor or @every; docs/periodic.md
    task: Task  # with queue, max_retry, timeout, unique_for, retention, headers at most
    name: str | None = None  # unique in its scope; None: made of all the rest, so that any change is another entry
    time_zone: str | None = None  # IANA name; None: UTC, or the schedule's own prefix
    catch_up: CatchUp = CatchUp.LATEST  # which of several missed ticks run
    starting_deadline: timedelta | float | None = None  # how late a tick may still run; None: no limit
    suspend: bool = False  # no ticks while True
    overlap: Overlap = Overlap.ALLOW  # whether a tick runs while the task of an earlier one has not ended
    jitter: timedelta | float = 0  # how far a tick is delayed at most; it never reaches the next one

    def checked(self, defaults: Mapping[str, Any] = MappingProxyType({})) -> tuple[str, PeriodicEntry]:
        """Its name and its entry, for now without the time it counts from. ``defaults``: checked options of its type.

        Raises InvalidOption naming what cannot be used.
        """
        if not isinstance(self.task, Task):
            raise InvalidOption("task", f"must be a Task, not {type(self.task).__name__}")
        if not isinstance(self.catch_up, CatchUp):
            raise InvalidOption("catch_up", f"is {self.catch_up!r}; give one of {', '.join(map(str, CatchUp))}")
        if not isinstance(self.overlap, Overlap):
            raise InvalidOption("overlap", f"is {self.overlap!r}; give one of {', '.join(map(str, Overlap))}")
        if not isinstance(self.schedule, str):
            raise InvalidOption("schedule", f"must be text, not {type(self.schedule).__name__}")
        if not isinstance(self.time_zone, str | None):
            raise InvalidOption("time_zone", f"must be an IANA name, not {type(self.time_zone).__name__}")
        Schedule.parse(self.schedule, self.time_zone)
        entry = PeriodicEntry(
            schedule=self.schedule,
            time_zone=self.time_zone,
            since=_NOWHEN,
            suspend=self.suspend,
            starting_deadline=_deadline(self.starting_deadline),
            catch_up=self.catch_up,
            overlap=self.overlap,
            jitter=_jitter(self.jitter),
            task=_template(self.task, merged_options(defaults, self.task.options)),
        )
        # The whole entry, so that options count too, and bytes with boundaries: two entries are never taken for one.
        name = hashlib.sha256(encode_entry(entry)).hexdigest()[:32] if self.name is None else checked_name(self.name)
        return name, entry


EntryProvider = Callable[[], Iterable[PeriodicTask] | Awaitable[Iterable[PeriodicTask]]]
"""Gives all periodic tasks there are now. Async functions run on the event loop, plain ones in a thread."""


def checked_name(name: Any) -> str:
    """The name, when it can be one. Raises InvalidOption."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidOption("name", f"is {name!r}; give a text that is not blank")
    if "/" in name:
        raise InvalidOption("name", f"{name!r} has a slash, which asynqmon cannot show in the ids of its tasks")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidOption("name", f"is not valid Unicode: {error.reason}") from error
    return name


def _deadline(value: Any) -> timedelta | None:
    deadline = None if value is None else _duration("starting_deadline", value)
    if deadline is not None and deadline < timedelta(seconds=1):
        raise InvalidOption("starting_deadline", "must be at least 1 second; schedulers look once a second")
    return deadline


def _jitter(value: Any) -> timedelta:
    jitter = _duration("jitter", value)
    if not timedelta() <= jitter <= _MOST_JITTER:
        raise InvalidOption("jitter", f"is {value!r}; give from 0 seconds to one hour")
    return timedelta(seconds=int(jitter.total_seconds()))


def _duration(field: str, value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidOption(field, f"is {value!r}; give a timedelta or seconds") from error


def _template(task: Task, options: Mapping[str, Any]) -> PeriodicTaskTemplate:
    for option in options:
        if option not in _OPTIONS:
            raise InvalidOption(
                option, f"is not for periodic tasks, whose ticks decide on it; they may have {', '.join(_OPTIONS)}"
            )
    if options.get("timeout") == NO_TIMEOUT:
        raise InvalidOption("timeout", "a periodic task needs a time limit; a very long one will do")
    return PeriodicTaskTemplate(
        type=task.type,
        payload=task.payload or b"",
        queue=options.get("queue", "default"),
        max_retry=options.get("max_retry"),
        timeout=options.get("timeout"),
        retention=options.get("retention"),
        unique_for=options.get("unique_for"),
        headers=dict(options.get("headers", {})),
    )
