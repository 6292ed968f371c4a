"""Any bytes in Redis: read, or refused with InvalidData, and what was read can be written again.

A peer's bytes decide neither whether a server goes on nor, once read, whether it can write the task's next state.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longshore.errors import InvalidData
from longshore.protocol import codec
from longshore.protocol.messages import SchedulerEnqueueEvent, SchedulerEntry, ServerInfo, TaskMessage, WorkerInfo
from longshore.protocol.notices import CancelTask, decode_notice, encode_notice
from longshore.protocol.periodic import decode_entry, decode_lease, decode_tick_record

_EXAMPLES = int(os.environ.get("LONGSHORE_FUZZ_EXAMPLES", "300"))
fuzz = settings(max_examples=_EXAMPLES, deadline=None, database=None)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
# On the wire zero is absent.
seconds = st.none() | st.integers(1, 10**9).map(lambda n: timedelta(seconds=n))
moments = st.none() | st.integers(1, 2**35).map(lambda n: _EPOCH + timedelta(seconds=n))
_FIRST, _LAST = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001  # hypothesis wants them without a zone
precise = st.datetimes(_FIRST, _LAST, timezones=st.just(UTC))
counts = st.integers(0, 2**31 - 1)

tasks = st.builds(
    TaskMessage,
    type=texts,
    payload=st.none() | st.binary(min_size=1, max_size=50),
    id=texts,
    queue=texts,
    max_retry=counts,
    retried=counts,
    error=st.none() | texts.filter(bool),
    timeout=seconds,
    deadline=moments,
    unique_key=st.none() | texts.filter(bool),
    last_failed_at=moments,
    retention=seconds,
    completed_at=moments,
    group=st.none() | texts.filter(bool),
    headers=st.dictionaries(texts, texts, max_size=3),
)
servers = st.builds(
    ServerInfo,
    host=texts,
    pid=counts,
    server_id=texts,
    concurrency=counts,
    queues=st.dictionaries(texts, counts, max_size=3),
    strict_priority=st.booleans(),
    status=texts,
    started_at=precise,
    active_workers=counts,
)
workers = st.builds(
    WorkerInfo,
    host=texts,
    pid=counts,
    server_id=texts,
    task_id=texts,
    task_type=texts,
    payload=st.binary(max_size=20),
    queue=texts,
    started_at=precise,
    deadline=precise,
)
entries = st.builds(
    SchedulerEntry,
    id=texts,
    spec=texts,
    task_type=texts,
    payload=st.binary(max_size=20),
    options=st.lists(texts, max_size=3).map(tuple),
    next_at=st.none() | precise.filter(lambda moment: int(moment.timestamp()) != 0),
    previous_at=st.none() | precise.filter(lambda moment: int(moment.timestamp()) != 0),
)
events = st.builds(SchedulerEnqueueEvent, task_id=texts, enqueued_at=precise)

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]
KINDS: dict[str, tuple[st.SearchStrategy[Any], Encode, Decode]] = {
    "task": (tasks, codec.encode_task, codec.decode_task),
    "server": (servers, codec.encode_server, codec.decode_server),
    "worker": (workers, codec.encode_worker, codec.decode_worker),
    "scheduler entry": (entries, codec.encode_scheduler_entry, codec.decode_scheduler_entry),
    "enqueue event": (events, codec.encode_enqueue_event, codec.decode_enqueue_event),
    "notice": (st.builds(CancelTask, queue=texts, task_id=texts), encode_notice, decode_notice),
}


@pytest.mark.parametrize("kind", KINDS)
@fuzz
@given(data=st.data())
def test_what_was_written_is_read_as_it_was(kind: str, data: st.DataObject) -> None:
    values, encode, decode = KINDS[kind]
    value = data.draw(values)
    assert decode(encode(value)) == value


@pytest.mark.parametrize("kind", KINDS)
@fuzz
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_and_can_be_written_again(kind: str, data: st.DataObject) -> None:
    values, encode, decode = KINDS[kind]
    damaged = bytearray(encode(data.draw(values)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        match data.draw(st.sampled_from(("change", "insert", "cut"))):
            case "change" if at < len(damaged):
                damaged[at] = data.draw(st.integers(0, 255))
            case "insert":
                damaged[at:at] = data.draw(st.binary(min_size=1, max_size=12))
            case _:
                del damaged[at : at + data.draw(st.integers(1, 8))]
    _read_and_write(bytes(damaged), encode, decode)


@pytest.mark.parametrize("kind", KINDS)
@fuzz
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_can_be_written_again(kind: str, data: bytes) -> None:
    _, encode, decode = KINDS[kind]
    _read_and_write(data, encode, decode)


# Field numbers and wire types as a task's, with values of any size: times beyond the calendar, negative durations.
wire_fields = st.tuples(st.integers(1, 16), st.integers(-(2**63), 2**64 - 1))


@fuzz
@given(fields=st.lists(wire_fields, max_size=8))
def test_numbers_of_any_size_are_read_and_can_be_written_again(fields: list[tuple[int, int]]) -> None:
    data = b"".join(_varint(number << 3) + _varint(value % 2**64) for number, value in fields)
    _read_and_write(data, codec.encode_task, codec.decode_task)


def _read_and_write(data: bytes, encode: Encode, decode: Decode) -> None:
    try:
        value = decode(data)
    except InvalidData:
        return
    if value is not None:  # a notice of another version
        again = decode(encode(value))
        assert decode(encode(again)) == again


_names = st.sampled_from(("schedule", "timeZone", "since", "suspend", "task", "type", "payload", "holder", "version"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names | texts, inner, max_size=5),
)


@pytest.mark.parametrize("decode", [decode_entry, decode_lease], ids=["periodic entry", "scheduler's lease"])
@fuzz
@given(data=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_of_ours_are_read_or_refused(decode: Decode, data: bytes) -> None:
    with contextlib.suppress(InvalidData):
        decode(data)


@fuzz
@given(fields=st.dictionaries(st.sampled_from((b"last_tick", b"last_task_id", b"enqueued", b"missed")), st.binary()))
def test_any_tick_record_is_read_or_refused(fields: dict[bytes, bytes]) -> None:
    with contextlib.suppress(InvalidData):
        decode_tick_record(fields)


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)
