"""A task to enqueue, and the options it may carry: one table, with defaults and checks."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Self, TypedDict, Unpack
from uuid import UUID

from longshore.errors import InvalidOption

NO_TIMEOUT: Final = timedelta.max
"""As ``timeout``: an attempt may take as long as it likes.

Asynq reads a message without timeout and deadline as 30 minutes, so it is stored as a deadline in the year 9999.
"""

# The last year that every reader can say, asynqmon's JSON in any time zone included.
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


class TaskOptions(TypedDict, total=False):
    """How a task is to be enqueued. ``None`` is the same as not given. Durations: timedelta, or seconds as a number.

    Asynq keeps timeout, unique_for and retention in whole seconds: parts of one are rounded up, so that none vanishes.
    """

    queue: str | None
    max_retry: int | None
    timeout: timedelta | float | None
    deadline: datetime | None
    process_at: datetime | None
    process_in: timedelta | float | None
    unique_for: timedelta | float | None
    task_id: str | None
    retention: timedelta | float | None
    group: str | None
    headers: Mapping[str, str] | None


class Task:
    """What to run, without saying when or where: a type, a payload, and options that a call may override.

    ``payload``: None is an absent payload, bytes stay as they are, anything else becomes JSON. Raises InvalidOption
    for a blank type, a payload that JSON cannot say and an option that cannot be used.
    """

    __slots__ = ("_options", "_payload", "_type")

    def __init__(self, type: str, payload: Any = None, **options: Any) -> None:  # noqa: A002
        self._type = checked_type(type)
        self._payload = encode_payload(payload)
        self._options = MappingProxyType(checked_options(options))

    @property
    def type(self) -> str:
        """The task's type, by which its handler is found."""
        return self._type

    @property
    def payload(self) -> bytes | None:
        """The payload's bytes; None when there is none."""
        return self._payload

    @property
    def options(self) -> Mapping[str, Any]:
        """The options given, checked and converted; those not given are absent."""
        return self._options

    def with_options(self, **options: Unpack[TaskOptions]) -> Self:
        """The same task with other options besides its own; headers are joined. Raises InvalidOption."""
        return self.with_checked(merged_options(self._options, checked_options(options)))

    def with_payload(self, payload: Any) -> Self:
        """The same task with another payload. Raises InvalidOption when JSON cannot say it."""
        other = self.with_checked(self._options)
        other._payload = encode_payload(payload)
        return other

    def with_checked(self, options: Mapping[str, Any]) -> Self:
        """The same task with these options only, which are checked already."""
        other = object.__new__(type(self))
        other._type, other._payload, other._options = self._type, self._payload, MappingProxyType(dict(options))
        return other

    def __repr__(self) -> str:
        # without the payload: it may be secret, and reprs end up in logs
        options = "".join(f", {name}={value!r}" for name, value in self._options.items())
        return f"Task({self._type!r}{options})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One row of the table."""

    default: Any  # None: nothing, or as ``meaning`` says
    convert: Callable[[str, Any], Any]  # (name, value given) to the value used; raises InvalidOption
    meaning: str


def checked_type(task_type: Any) -> str:
    """The type as it is stored. Raises InvalidOption for one that is blank or not text."""
    return _name("task type", task_type)


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, converted. Raises InvalidOption naming the one that cannot be used."""
    checked: dict[str, Any] = {}
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None:
            raise InvalidOption(name, f"is not a task option; there are {', '.join(OPTIONS)}")
        if value is not None:
            checked[name] = option.convert(name, value)
    if "process_at" in checked and "process_in" in checked:
        raise InvalidOption("process_in", "give either process_at or process_in, not both")
    return checked


def merged_options(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Checked options of a task and of a call: the call's win. Headers are joined, name by name."""
    merged = {**earlier, **later}
    # two words for one thing: the later one replaces the earlier, whichever it is
    if "process_at" in later:
        merged.pop("process_in", None)
    elif "process_in" in later:
        merged.pop("process_at", None)
    if "headers" in earlier and "headers" in later:
        merged["headers"] = {**earlier["headers"], **later["headers"]}
    return merged


def time_limits(options: Mapping[str, Any]) -> tuple[timedelta | None, datetime | None]:
    """Timeout and deadline as a message carries them, from checked options."""
    timeout: timedelta | None = options.get("timeout")
    deadline: datetime | None = options.get("deadline")
    if timeout is None:
        return (OPTIONS["timeout"].default if deadline is None else None), deadline
    if timeout == NO_TIMEOUT:
        return None, deadline or _NEVER
    return timeout, deadline


def encode_payload(payload: Any) -> bytes | None:
    """The bytes of a payload. Raises InvalidOption when JSON cannot say it.

    Besides what JSON knows: dataclasses, pydantic models, enums (their value), dates and times (ISO 8601), UUIDs,
    decimals (text), sets (arrays).
    """
    if payload is None:
        return None
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    try:
        try:
            return "".join(_QUICK(payload, 0)).encode()
        except Exception:  # the other tries it again, for the error's text
            return _JSON.encode(payload).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption("payload", f"cannot be written as JSON: {error}") from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    # nobody can have made a model without importing pydantic, so it is looked up, not imported
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


# json.dumps would make one for each payload, which costs as much as a small payload does
_JSON = json.JSONEncoder(default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _quick_encoder() -> Callable[[Any, int], Iterable[str]]:
    """What ``_JSON`` makes anew for each payload, in C, made once: that is most of the time a small payload takes.

    Unlike there, a payload that contains itself ends as a RecursionError. ``_JSON`` where the interpreter has none.
    """
    try:
        make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]  # not documented
        quick: Callable[[Any, int], Iterable[str]] = make(
            None, _plain, json.encoder.encode_basestring, None, ":", ",", False, False, False
        )
        if "".join(quick({"a": [1, "b"]}, 0)) == '{"a":[1,"b"]}':
            return quick
    except Exception:  # another interpreter, or a later one
        pass
    return lambda payload, indent: _JSON.encode(payload)


_QUICK = _quick_encoder()


# -- checks ------------------------------------------------------------------------------------------------------------


def _name(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidOption(name, f"must be text, not {type(value).__name__}")
    if not value.strip():
        raise InvalidOption(name, "must not be blank")
    return _utf8(name, value)


def _utf8(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidOption(name, f"is not valid Unicode: {error.reason}") from error
    return value


def _queue(name: str, value: Any) -> str:
    queue = _name(name, value)
    if queue.startswith("}"):
        raise InvalidOption(name, "must not begin with '}': its keys would have no hash tag")
    return queue


def _retries(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidOption(name, f"must be a whole number, not {type(value).__name__}")
    if value < 0:
        raise InvalidOption(name, "must not be negative; 0 means no retry")
    if value > _INT32_MAX:
        raise InvalidOption(name, f"must be at most {_INT32_MAX}")
    return value


def duration_of(name: str, value: Any) -> timedelta:
    """The duration that a timedelta or a number of seconds means. Raises InvalidOption for the field ``name``."""
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidOption(name, f"must be a timedelta or a number of seconds, not {type(value).__name__}")
    else:
        try:
            if math.isnan(value):
                raise ValueError("not a number")
            duration = timedelta(seconds=value)
        except (OverflowError, ValueError) as error:
            raise InvalidOption(name, f"is not a duration: {error}") from error
    if abs(duration) > _LONGEST:
        raise InvalidOption(name, "must be at most 292 years, the longest duration Go knows")
    return duration


def _whole_seconds(name: str, value: Any) -> timedelta:
    """Asynq keeps whole seconds: parts of one are rounded up, since what is cut may be all there is."""
    duration = duration_of(name, value)
    if duration <= _NOTHING:
        raise InvalidOption(name, "must be more than zero")
    return min(timedelta(seconds=-(-duration // _SECOND)), _LONGEST_SECONDS)


def _timeout(name: str, value: Any) -> timedelta:
    if value == NO_TIMEOUT:
        return NO_TIMEOUT
    duration = duration_of(name, value)
    if not duration:
        raise InvalidOption(name, "must be more than zero; for no time limit give NO_TIMEOUT")
    return _whole_seconds(name, duration)


def _retention(name: str, value: Any) -> timedelta:
    duration = duration_of(name, value)
    if duration < _NOTHING:
        raise InvalidOption(name, "must not be negative; 0 deletes the task at once")
    return duration if not duration else _whole_seconds(name, duration)


def _moment(name: str, value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidOption(name, f"must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidOption(name, "must have a time zone, such as datetime.now(UTC)")
    return value


def _deadline(name: str, value: Any) -> datetime:
    deadline = _moment(name, value)
    if deadline.timestamp() < 1:
        raise InvalidOption(name, "must be later than the beginning of 1970, which Asynq reads as no deadline")
    return deadline


def _headers(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidOption(name, f"must be a mapping of text to text, not {type(value).__name__}")
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise InvalidOption(name, f"must be a mapping of text to text; {key!r} is not")
        _utf8(name, key)
        _utf8(name, text)
    return dict(value)


_INT32_MAX = 2**31 - 1
# Go's time.Duration is an int64 of nanoseconds. A longer timeout is negative to a Go server: over before it begins.
_LONGEST = timedelta(microseconds=(2**63 - 1) // 1000)
_SECOND = timedelta(seconds=1)
_LONGEST_SECONDS = _LONGEST // _SECOND * _SECOND
_NOTHING = timedelta()

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "queue": Option(default="default", convert=_queue, meaning="the queue's name"),
        "max_retry": Option(default=25, convert=_retries, meaning="retries after the first attempt; 0: none"),
        "timeout": Option(
            default=timedelta(minutes=30),
            convert=_timeout,
            meaning="time limit of one attempt, or NO_TIMEOUT; the default holds only when there is no deadline",
        ),
        "deadline": Option(default=None, convert=_deadline, meaning="no attempt runs beyond this time"),
        "process_at": Option(default=None, convert=_moment, meaning="do not run before this time"),
        "process_in": Option(default=None, convert=duration_of, meaning="do not run before so long from now"),
        "unique_for": Option(
            default=None,
            convert=_whole_seconds,
            meaning="refuse another task of the same queue, type and payload until this one has succeeded, "
            "or for so long after it is due",
        ),
        "task_id": Option(default=None, convert=_name, meaning="the task's id; a random UUID when not given"),
        "retention": Option(
            default=None, convert=_retention, meaning="how long to keep the task and its result after success"
        ),
        "group": Option(default=None, convert=_name, meaning="wait in this group to be aggregated with others"),
        "headers": Option(default=MappingProxyType({}), convert=_headers, meaning="text that travels with the task"),
    }
)
"""Every option, in the order people read them. Later ones win: defaults, then the task's own, then the call's."""
