"""Periodic entries as they lie in Redis: written by whoever declares them, read by the scheduler, and back again.

These keys are ours, not Asynq's: :func:`longshore.protocol.keys.periodic_entries` and
:func:`longshore.protocol.keys.tick_record`. An entry is JSON in camel case, as in the PeriodicTask resource.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar

from longshore.errors import InvalidData

T = TypeVar("T")
U = TypeVar("U")

# Schedules look some years ahead of a time, and the calendar ends with the year 9999.
_LATEST_S = int(datetime(9000, 1, 1, tzinfo=UTC).timestamp())


class CatchUp(Enum):
    """Which of several missed ticks run, of those not later than the starting deadline allows."""

    NONE = "None"  # none: only a tick met on time
    LATEST = "Latest"  # the last one
    ALL = "All"  # each, at most 100


class Overlap(Enum):
    """Whether a tick becomes a task while the task of an earlier one has not ended."""

    ALLOW = "Allow"
    FORBID = "Forbid"  # it is skipped while that task waits, waits for another attempt, or runs


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodicTaskTemplate:
    """The task a tick creates. ``None`` leaves an option at the client's default."""

    type: str
    payload: bytes = b""
    queue: str = "default"
    max_retry: int | None = None
    timeout: timedelta | None = None  # whole seconds
    retention: timedelta | None = None  # whole seconds
    unique_for: timedelta | None = None  # whole seconds ≥ 1
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodicEntry:
    """One periodic task: when, and what."""

    schedule: str  # 5 fields, a descriptor or @every, as policy.periodic reads it
    time_zone: str | None = None  # IANA name; None: UTC, or the schedule's own prefix
    since: datetime  # whole second; ticks at or before it never run, and @every counts from it
    suspend: bool = False  # no ticks while True
    starting_deadline: timedelta | None = None  # how late a tick may still run, whole seconds; None: no limit
    catch_up: CatchUp = CatchUp.LATEST
    overlap: Overlap = Overlap.ALLOW
    jitter: timedelta = timedelta()  # how far a tick is delayed at most, whole seconds (policy.jitter)
    task: PeriodicTaskTemplate


@dataclass(frozen=True, kw_only=True, slots=True)
class TickRecord:
    """What has become of an entry's ticks so far."""

    last_tick: datetime | None = None  # the newest tick that was enqueued or counted as missed
    last_task_id: str | None = None  # the newest task that a tick has created or found to exist
    missed: int = 0  # ticks given up as too late
    enqueued: int = 0  # ticks that became a task
    skipped: int = 0  # ticks in time that did not: overlap, the unique lock was held, or a task of that id existed


def entry_id(scope: str, name: str) -> str:
    """An entry's id: unique over every scope of a Redis.

    Without the scope's slash: a tick's task id is made of it, and asynqmon cannot open a task whose id has one.
    """
    return f"{scope.replace('/', ':')}:{name}"


def tick_task_id(entry: str, tick: datetime) -> str:
    """The id of the task a tick creates: the same whoever creates it."""
    return f"periodic:{entry}:{int(tick.timestamp())}"


def scheduler_entry_id(entry: str) -> str:
    """The id under which Asynq's readers see an entry: a UUID, as they expect, and the same at every start."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"longshore:periodic:{entry}"))


def encode_entry(entry: PeriodicEntry) -> bytes:
    """JSON with sorted keys and without absent fields: equal entries have equal bytes."""
    task = entry.task
    document = {
        "schedule": entry.schedule,
        "timeZone": entry.time_zone,
        "since": int(entry.since.timestamp()),
        "suspend": entry.suspend or None,
        "startingDeadlineSeconds": _seconds(entry.starting_deadline),
        "catchUp": entry.catch_up.value,
        "overlap": None if entry.overlap is Overlap.ALLOW else entry.overlap.value,
        "jitterSeconds": _seconds(entry.jitter) or None,
        "task": _present(
            {
                "type": task.type,
                "payload": base64.b64encode(task.payload).decode() or None,
                "queue": task.queue,
                "maxRetry": task.max_retry,
                "timeoutSeconds": _seconds(task.timeout),
                "retentionSeconds": _seconds(task.retention),
                "uniqueForSeconds": _seconds(task.unique_for),
                "headers": dict(task.headers) or None,
            }
        ),
    }
    return json.dumps(_present(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode_entry(data: bytes) -> PeriodicEntry:
    """The entry in ``data``. Unknown fields are ignored, so that a newer writer does not stop an older scheduler.

    Raises InvalidData, naming the field, when it cannot be read.
    """
    fields = _Fields(_read_json("periodic entry", data), "")
    task = _Fields(fields.required("task", dict), "task.")
    return PeriodicEntry(
        schedule=fields.required("schedule", str),
        time_zone=fields.optional("timeZone", str),
        since=fields.converted("since", int, _moment),
        suspend=bool(fields.optional("suspend", bool)),
        starting_deadline=fields.duration("startingDeadlineSeconds"),
        catch_up=fields.converted("catchUp", str, CatchUp) if "catchUp" in fields.document else CatchUp.LATEST,
        overlap=fields.converted("overlap", str, Overlap) if "overlap" in fields.document else Overlap.ALLOW,
        jitter=fields.duration("jitterSeconds") or timedelta(),
        task=PeriodicTaskTemplate(
            type=task.required("type", str),
            payload=_base64(task.optional("payload", str)),
            queue=task.optional("queue", str) or "default",
            max_retry=task.optional("maxRetry", int),
            timeout=task.duration("timeoutSeconds"),
            retention=task.duration("retentionSeconds"),
            unique_for=task.duration("uniqueForSeconds"),
            headers=_headers(task.optional("headers", dict)),
        ),
    )


def encode_lease(holder: str, since: datetime) -> bytes:
    """The value of :func:`longshore.protocol.keys.scheduler_lease`."""
    return json.dumps({"holder": holder, "since": int(since.timestamp())}, separators=(",", ":")).encode()


def decode_lease(data: bytes) -> tuple[str, datetime]:
    """Holder and since of a lease's value. Raises InvalidData."""
    fields = _Fields(_read_json("scheduler lease", data), "scheduler lease ")
    return fields.required("holder", str), fields.converted("since", int, _moment)


def decode_tick_record(fields: Mapping[bytes, bytes]) -> TickRecord:
    """The record in a tick hash's fields. Raises InvalidData, naming the field."""

    def number(name: bytes) -> int:
        try:
            return int(fields.get(name, b"0"))
        except ValueError as error:
            raise InvalidData(f"tick record: {name.decode()}: not an integer") from error

    task_id = fields.get(b"last_task_id")
    return TickRecord(
        last_tick=decode_last_tick(fields.get(b"last_tick")),
        last_task_id=task_id.decode(errors="replace") if task_id else None,
        missed=number(b"missed"),
        enqueued=number(b"enqueued"),
        skipped=number(b"skipped"),
    )


def decode_last_tick(data: bytes | None) -> datetime | None:
    """The field ``last_tick`` of a tick hash; None when there is none. Raises InvalidData."""
    try:
        return _moment(int(data)) if data else None
    except ValueError as error:
        raise InvalidData(f"tick record: last_tick: not a time: {error}") from error


def _moment(seconds: int) -> datetime:
    if not 0 <= seconds <= _LATEST_S:
        raise ValueError(f"must be from 0 to {_LATEST_S}, Unix seconds until the year 9000")
    return datetime.fromtimestamp(seconds, UTC)


def _read_json(what: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise InvalidData(f"{what}: not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidData(f"{what}: nested too deeply") from error


def _seconds(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds())


def _present(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}


def _base64(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except binascii.Error as error:
        raise InvalidData(f"periodic entry: task.payload: not base64: {error}") from error


def _headers(document: dict[str, Any] | None) -> dict[str, str]:
    headers = document or {}
    for name, value in headers.items():
        if not isinstance(value, str):
            raise InvalidData(f"periodic entry: task.headers: {name!r} must be text")
    return headers


class _Fields:
    """A JSON object whose fields are read by name and type; every error names the field."""

    def __init__(self, document: Any, where: str) -> None:
        if not isinstance(document, dict):
            raise InvalidData(f"periodic entry: {where or 'it'} must be a JSON object")
        self.document: dict[str, Any] = document
        self.where = where

    def optional(self, name: str, kind: type[T]) -> T | None:
        value = self.document.get(name)
        if value is None:
            return None
        # bool is an int to Python, but not to JSON
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidData(f"periodic entry: {self.where}{name}: must be {_KINDS[kind]}")
        return value

    def required(self, name: str, kind: type[T]) -> T:
        value = self.optional(name, kind)
        if value is None:
            raise InvalidData(f"periodic entry: {self.where}{name}: is missing")
        return value

    def converted(self, name: str, kind: type[T], convert: Callable[[T], U]) -> U:
        value = self.required(name, kind)
        try:
            return convert(value)
        except (ValueError, OverflowError, OSError) as error:
            raise InvalidData(f"periodic entry: {self.where}{name}: {error}") from error

    def duration(self, name: str) -> timedelta | None:
        if self.optional(name, int) is None:
            return None
        return self.converted(name, int, lambda s: timedelta(seconds=s))


_KINDS: dict[type, str] = {str: "text", int: "an integer", bool: "true or false", dict: "an object"}
