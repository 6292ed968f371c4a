"""Values to the bytes of Asynq's messages, and back.

The only place where an absent value is a zero, a time is an integer of seconds and a duration has no unit.
Decoding raises InvalidData and nothing else. Times and durations beyond what Python can hold become the last it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from longshore.errors import InvalidData
from longshore.protocol import asynq_pb2
from longshore.protocol.messages import (
    SchedulerEnqueueEvent,
    SchedulerEntry,
    ServerInfo,
    TaskMessage,
    WorkerInfo,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

# Go's zero time, 1 January of year 1: "never". Peers up to 0.24 drop a record whose Timestamp is missing.
_NEVER_S = -62135596800


class _Draft:
    """A TaskMessage whose fields are being set: of the same layout, so that it can become one.

    Its own constructor sets each field past the guard that makes it immutable, and took half of the time of decoding.
    """

    __slots__ = TaskMessage.__slots__


def encode_task(message: TaskMessage) -> bytes:
    """The bytes of a task's ``msg``."""
    return asynq_pb2.TaskMessage(
        type=message.type,
        payload=message.payload,
        id=message.id,
        queue=message.queue,
        retry=message.max_retry,
        retried=message.retried,
        error_msg=_valid_text(message.error) if message.error else None,
        timeout=message.timeout // _SECOND if message.timeout else None,
        deadline=(message.deadline - _EPOCH) // _SECOND if message.deadline else None,
        unique_key=message.unique_key,
        last_failed_at=(message.last_failed_at - _EPOCH) // _SECOND if message.last_failed_at else None,
        retention=message.retention // _SECOND if message.retention else None,
        completed_at=(message.completed_at - _EPOCH) // _SECOND if message.completed_at else None,
        group_key=message.group,
        headers=message.headers or None,
    ).SerializeToString()


def task_encoder(message: TaskMessage) -> Callable[[str, bytes | None], bytes]:
    """Encodes the tasks that differ from ``message`` in id and payload only: a tenth of the cost of ``encode_task``.

    A protobuf message is its fields in any order, so what they share is encoded once and the two are appended.
    """
    shared = encode_task(replace(message, id="", payload=None))

    def encode(task_id: str, payload: bytes | None) -> bytes:
        name = task_id.encode()
        if payload:
            return b"%b\x12%b%b\x1a%b%b" % (shared, _varint(len(payload)), payload, _varint(len(name)), name)
        return b"%b\x1a%b%b" % (shared, _varint(len(name)), name)

    return encode


def decode_task(data: bytes) -> TaskMessage:
    """The task in the bytes of a ``msg``. Raises InvalidData."""
    try:
        wire = asynq_pb2.TaskMessage.FromString(data)
    except DecodeError as error:
        raise InvalidData(f"task message: {error}") from error
    # Every field is read once, and conversions are skipped for zeros: this runs for each task.
    timeout = wire.timeout
    deadline = wire.deadline
    last_failed_at = wire.last_failed_at
    retention = wire.retention
    completed_at = wire.completed_at
    message: Any = _Draft()
    message.type = wire.type
    message.payload = wire.payload or None
    message.id = wire.id
    message.queue = wire.queue
    message.max_retry = wire.retry
    message.retried = wire.retried
    message.error = wire.error_msg or None
    message.timeout = _duration(timeout) if timeout else None
    message.deadline = _time(deadline) if deadline else None
    message.unique_key = wire.unique_key or None
    message.last_failed_at = _time(last_failed_at) if last_failed_at else None
    message.retention = _duration(retention) if retention else None
    message.completed_at = _time(completed_at) if completed_at else None
    message.group = wire.group_key or None
    message.headers = dict(wire.headers) if wire.headers else _NO_HEADERS
    message.__class__ = TaskMessage
    return message  # type: ignore[no-any-return]  # it is one now


def encode_server(info: ServerInfo) -> bytes:
    """The bytes of a server's key."""
    return asynq_pb2.ServerInfo(
        host=info.host,
        pid=info.pid,
        server_id=info.server_id,
        concurrency=info.concurrency,
        queues=dict(info.queues),
        strict_priority=info.strict_priority,
        status=info.status,
        start_time=_timestamp(info.started_at),
        active_worker_count=info.active_workers,
    ).SerializeToString()


def decode_server(data: bytes) -> ServerInfo:
    """The server in the bytes of its key. Raises InvalidData."""
    try:
        wire = asynq_pb2.ServerInfo.FromString(data)
    except DecodeError as error:
        raise InvalidData(f"server info: {error}") from error
    return ServerInfo(
        host=wire.host,
        pid=wire.pid,
        server_id=wire.server_id,
        concurrency=wire.concurrency,
        queues=dict(wire.queues),
        strict_priority=wire.strict_priority,
        status=wire.status,
        started_at=_moment(wire.start_time),
        active_workers=wire.active_worker_count,
    )


def encode_worker(info: WorkerInfo) -> bytes:
    """The bytes of one field of a workers key."""
    return asynq_pb2.WorkerInfo(
        host=info.host,
        pid=info.pid,
        server_id=info.server_id,
        task_id=info.task_id,
        task_type=info.task_type,
        task_payload=info.payload,
        queue=info.queue,
        start_time=_timestamp(info.started_at),
        deadline=_timestamp(info.deadline),
    ).SerializeToString()


def decode_worker(data: bytes, *, keep_payload: bool = True) -> WorkerInfo:
    """The running task in the bytes of one field of a workers key. Raises InvalidData."""
    try:
        wire = asynq_pb2.WorkerInfo.FromString(data)
    except DecodeError as error:
        raise InvalidData(f"worker info: {error}") from error
    return WorkerInfo(
        host=wire.host,
        pid=wire.pid,
        server_id=wire.server_id,
        task_id=wire.task_id,
        task_type=wire.task_type,
        payload=wire.task_payload if keep_payload else b"",
        queue=wire.queue,
        started_at=_moment(wire.start_time),
        deadline=_moment(wire.deadline),
    )


def encode_scheduler_entry(entry: SchedulerEntry) -> bytes:
    """The bytes of one item of a scheduler's list."""
    return asynq_pb2.SchedulerEntry(
        id=entry.id,
        spec=entry.spec,
        task_type=entry.task_type,
        task_payload=entry.payload,
        enqueue_options=entry.options,
        next_enqueue_time=_timestamp(entry.next_at),
        prev_enqueue_time=_timestamp(entry.previous_at),
    ).SerializeToString()


def decode_scheduler_entry(data: bytes) -> SchedulerEntry:
    """The entry in one item of a scheduler's list. Raises InvalidData."""
    try:
        wire = asynq_pb2.SchedulerEntry.FromString(data)
    except DecodeError as error:
        raise InvalidData(f"scheduler entry: {error}") from error
    return SchedulerEntry(
        id=wire.id,
        spec=wire.spec,
        task_type=wire.task_type,
        payload=wire.task_payload,
        options=tuple(wire.enqueue_options),
        next_at=_moment_or_never(wire.next_enqueue_time),
        previous_at=_moment_or_never(wire.prev_enqueue_time),
    )


def encode_enqueue_event(event: SchedulerEnqueueEvent) -> bytes:
    """The bytes of one member of an entry's history."""
    return asynq_pb2.SchedulerEnqueueEvent(
        task_id=event.task_id, enqueue_time=_timestamp(event.enqueued_at)
    ).SerializeToString()


def decode_enqueue_event(data: bytes) -> SchedulerEnqueueEvent:
    """The event in one member of an entry's history. Raises InvalidData."""
    try:
        wire = asynq_pb2.SchedulerEnqueueEvent.FromString(data)
    except DecodeError as error:
        raise InvalidData(f"enqueue event: {error}") from error
    return SchedulerEnqueueEvent(task_id=wire.task_id, enqueued_at=_moment(wire.enqueue_time))


def unix_seconds(moment: datetime) -> int:
    """Whole seconds since 1970, rounded down: every time in Asynq's sets is a whole second."""
    return (moment - _EPOCH) // _SECOND


def unix_nanoseconds(moment: datetime) -> int:
    """Nanoseconds since 1970, as ``pending_since`` has it."""
    return (moment - _EPOCH) // _MICROSECOND * 1000


def from_unix_seconds(seconds: float) -> datetime:
    """The moment ``seconds`` after 1970."""
    return _time(seconds)


def from_unix_nanoseconds(nanoseconds: int) -> datetime:
    """The moment ``nanoseconds`` after 1970, cut to microseconds."""
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return _LATEST if nanoseconds > 0 else _EPOCH


@lru_cache(maxsize=1024)
def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _valid_text(text: str) -> str:
    # A lone surrogate cannot be encoded. The whole write would fail and the task would run for ever.
    return text.encode("utf-8", "replace").decode("utf-8")


def _time(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return _LATEST if seconds > 0 else _EPOCH


@lru_cache(maxsize=256)  # a handful of values, for every task
def _duration(seconds: int) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        return timedelta.max


def _timestamp(moment: datetime | None) -> Timestamp:
    if moment is None:
        return Timestamp(seconds=_NEVER_S)
    microseconds = (moment - _EPOCH) // _MICROSECOND
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def _moment(wire: Timestamp) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=wire.seconds, microseconds=wire.nanos // 1000)
    except OverflowError:
        return _LATEST if wire.seconds > 0 else _EPOCH


def _moment_or_never(wire: Timestamp) -> datetime | None:
    # A missing Timestamp (zero seconds, 1970) is what peers before 0.25 could not read; it is "never" as well.
    return None if wire.seconds in (0, _NEVER_S) else _moment(wire)
