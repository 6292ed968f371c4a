"""The codec on bytes made by Asynq's own library, both ways, and on what no peer would write.

The bytes are in vectors.json; ``go`` tests make them again and compare, so that the file cannot drift.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from go_peer import GoPeer
from longshore.errors import InvalidData
from longshore.protocol import asynq_pb2, codec
from longshore.protocol.messages import (
    SchedulerEnqueueEvent,
    SchedulerEntry,
    ServerInfo,
    TaskMessage,
    WorkerInfo,
)

_FILE = Path(__file__).parent / "vectors.json"
_VECTORS = json.loads(_FILE.read_text())


def _cases(kind: str) -> Any:
    return [pytest.param(v["value"], bytes.fromhex(v["hex"]), id=v["name"]) for v in _VECTORS[kind]]


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _at(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _for(seconds: int) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _moment_or_never(text: str) -> datetime | None:
    return None if text.startswith("0001-01-01") else datetime.fromisoformat(text)


def _task(v: dict[str, Any]) -> TaskMessage:
    return TaskMessage(
        type=v["Type"],
        payload=_bytes(v["Payload"]),
        id=v["ID"],
        queue=v["Queue"],
        max_retry=v["Retry"],
        retried=v["Retried"],
        error=v["ErrorMsg"] or None,
        timeout=_for(v["Timeout"]),
        deadline=_at(v["Deadline"]),
        unique_key=v["UniqueKey"] or None,
        last_failed_at=_at(v["LastFailedAt"]),
        retention=_for(v["Retention"]),
        completed_at=_at(v["CompletedAt"]),
        group=v["GroupKey"] or None,
        headers=v["Headers"] or {},
    )


@pytest.mark.parametrize(("value", "data"), _cases("tasks"))
def test_a_task_is_written_and_read_as_asynq_does(value: dict[str, Any], data: bytes) -> None:
    assert codec.decode_task(data) == _task(value)
    assert codec.encode_task(_task(value)) == data


@pytest.mark.parametrize(("value", "data"), _cases("servers"))
def test_a_server_is_written_and_read_as_asynq_does(value: dict[str, Any], data: bytes) -> None:
    info = ServerInfo(
        host=value["Host"],
        pid=value["PID"],
        server_id=value["ServerID"],
        concurrency=value["Concurrency"],
        queues=value["Queues"] or {},
        strict_priority=value["StrictPriority"],
        status=value["Status"],
        started_at=_moment(value["Started"]),
        active_workers=value["ActiveWorkerCount"],
    )
    assert codec.decode_server(data) == info
    assert codec.encode_server(info) == data


@pytest.mark.parametrize(("value", "data"), _cases("workers"))
def test_a_running_task_is_written_and_read_as_asynq_does(value: dict[str, Any], data: bytes) -> None:
    info = WorkerInfo(
        host=value["Host"],
        pid=value["PID"],
        server_id=value["ServerID"],
        task_id=value["ID"],
        task_type=value["Type"],
        payload=_bytes(value["Payload"]) or b"",
        queue=value["Queue"],
        started_at=_moment(value["Started"]),
        deadline=_moment(value["Deadline"]),
    )
    assert codec.decode_worker(data) == info
    assert codec.encode_worker(info) == data
    assert codec.decode_worker(data, keep_payload=False).payload == b""


@pytest.mark.parametrize(("value", "data"), _cases("entries"))
def test_a_scheduler_entry_is_written_and_read_as_asynq_does(value: dict[str, Any], data: bytes) -> None:
    entry = SchedulerEntry(
        id=value["ID"],
        spec=value["Spec"],
        task_type=value["Type"],
        payload=_bytes(value["Payload"]) or b"",
        options=tuple(value["Opts"] or ()),
        next_at=_moment_or_never(value["Next"]),
        previous_at=_moment_or_never(value["Prev"]),
    )
    assert codec.decode_scheduler_entry(data) == entry
    assert codec.encode_scheduler_entry(entry) == data


@pytest.mark.parametrize(("value", "data"), _cases("events"))
def test_an_enqueue_event_is_written_and_read_as_asynq_does(value: dict[str, Any], data: bytes) -> None:
    event = SchedulerEnqueueEvent(task_id=value["TaskID"], enqueued_at=_moment(value["EnqueuedAt"]))
    assert codec.decode_enqueue_event(data) == event
    assert codec.encode_enqueue_event(event) == data


@pytest.mark.go
def test_the_vectors_are_what_asynqs_library_makes_today(go_peer: GoPeer) -> None:
    assert json.loads(go_peer.vectors()) == _VECTORS


@pytest.mark.parametrize(
    "decode",
    [
        codec.decode_task,
        codec.decode_server,
        codec.decode_worker,
        codec.decode_scheduler_entry,
        codec.decode_enqueue_event,
    ],
)
def test_bytes_that_are_no_message_are_invalid_data(decode: Any) -> None:
    with pytest.raises(InvalidData, match=r"(message|info|entry|event): "):
        decode(b"\xff\xff\xff")


def test_error_text_that_is_not_unicode_is_stored_in_a_readable_form() -> None:
    message = TaskMessage(type="t", id="i", queue="q", error="bad \udcff byte")
    assert codec.decode_task(codec.encode_task(message)).error == "bad ? byte"


def test_times_and_durations_beyond_pythons_become_the_last_it_can_hold() -> None:
    wire = asynq_pb2.TaskMessage(type="t", id="i", queue="q", deadline=2**62, timeout=2**62)
    message = codec.decode_task(wire.SerializeToString())
    assert message.deadline == datetime.max.replace(tzinfo=UTC)
    assert message.timeout == timedelta.max


def test_fractions_of_a_second_are_cut_where_asynq_keeps_whole_seconds() -> None:
    message = TaskMessage(
        type="t", id="i", queue="q", timeout=timedelta(seconds=1.9), deadline=_moment("2024-01-01T00:00:00.9Z")
    )
    read = codec.decode_task(codec.encode_task(message))
    assert (read.timeout, read.deadline) == (timedelta(seconds=1), _moment("2024-01-01T00:00:00Z"))


_text = st.text(st.characters(codec="utf-8"), min_size=1)
_seconds = st.integers(1, 10**9)


@given(
    st.builds(
        TaskMessage,
        type=_text,
        payload=st.none() | st.binary(min_size=1),
        id=_text,
        queue=_text,
        max_retry=st.integers(0, 2**31 - 1),
        retried=st.integers(0, 2**31 - 1),
        error=st.none() | _text,
        timeout=st.none() | _seconds.map(_for),
        deadline=st.none() | _seconds.map(_at),
        unique_key=st.none() | _text,
        last_failed_at=st.none() | _seconds.map(_at),
        retention=st.none() | _seconds.map(_for),
        completed_at=st.none() | _seconds.map(_at),
        group=st.none() | _text,
        headers=st.dictionaries(_text, st.text(st.characters(codec="utf-8"))),
    )
)
def test_a_task_survives_writing_and_reading(message: TaskMessage) -> None:
    assert codec.decode_task(codec.encode_task(message)) == message
