"""Periodic entries and tick records as they lie in Redis."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from longshore.errors import InvalidData
from longshore.protocol.periodic import (
    CatchUp,
    Overlap,
    PeriodicEntry,
    PeriodicTaskTemplate,
    TickRecord,
    decode_entry,
    decode_lease,
    decode_tick_record,
    encode_entry,
    encode_lease,
    entry_id,
    tick_task_id,
)

_SINCE = datetime(2024, 3, 1, 12, tzinfo=UTC)
_SMALL = PeriodicEntry(schedule="@every 30s", since=_SINCE, task=PeriodicTaskTemplate(type="report"))
_FULL = PeriodicEntry(
    schedule="*/5 * * * *",
    time_zone="Europe/Berlin",
    since=_SINCE,
    suspend=True,
    starting_deadline=timedelta(minutes=1),
    catch_up=CatchUp.ALL,
    overlap=Overlap.FORBID,
    jitter=timedelta(minutes=5),
    task=PeriodicTaskTemplate(
        type="report:daily",
        payload=b"\x00\xff",
        queue="low",
        max_retry=0,
        timeout=timedelta(minutes=10),
        retention=timedelta(days=1),
        unique_for=timedelta(hours=1),
        headers={"a": "b"},
    ),
)


def test_an_entry_is_json_in_the_resources_words() -> None:
    assert json.loads(encode_entry(_FULL)) == {
        "schedule": "*/5 * * * *",
        "timeZone": "Europe/Berlin",
        "since": 1709294400,
        "suspend": True,
        "startingDeadlineSeconds": 60,
        "catchUp": "All",
        "overlap": "Forbid",
        "jitterSeconds": 300,
        "task": {
            "type": "report:daily",
            "payload": "AP8=",
            "queue": "low",
            "maxRetry": 0,
            "timeoutSeconds": 600,
            "retentionSeconds": 86400,
            "uniqueForSeconds": 3600,
            "headers": {"a": "b"},
        },
    }


@pytest.mark.parametrize("entry", [_SMALL, _FULL], ids=["smallest", "every field"])
def test_an_entry_survives_writing_and_reading(entry: PeriodicEntry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


def test_what_older_schedulers_do_not_know_is_left_out_when_it_says_nothing() -> None:
    assert json.loads(encode_entry(_SMALL)).keys() == {"schedule", "since", "catchUp", "task"}


def test_equal_entries_have_equal_bytes() -> None:
    a = PeriodicTaskTemplate(type="t", headers={"a": "1", "b": "2"})
    b = PeriodicTaskTemplate(type="t", headers={"b": "2", "a": "1"})
    assert encode_entry(PeriodicEntry(schedule="@daily", since=_SINCE, task=a)) == encode_entry(
        PeriodicEntry(schedule="@daily", since=_SINCE, task=b)
    )


def test_an_unknown_field_of_a_newer_writer_is_passed_over() -> None:
    document = json.loads(encode_entry(_FULL)) | {"weather": "fair"}
    assert decode_entry(json.dumps(document).encode()) == _FULL


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schedule": None}, "schedule"),
        ({"schedule": 5}, "schedule"),
        ({"since": "now"}, "since"),
        ({"since": True}, "since"),
        ({"since": 10**30}, "since"),
        ({"since": -1}, "since"),
        ({"since": 253402300799}, "since"),
        ({"suspend": "no"}, "suspend"),
        ({"catchUp": "Some"}, "catchUp"),
        ({"startingDeadlineSeconds": "1m"}, "startingDeadlineSeconds"),
        ({"startingDeadlineSeconds": 10**30}, "startingDeadlineSeconds"),
        ({"task": None}, "task"),
        ({"task": {}}, "task.type"),
        ({"task": {"type": "t", "payload": "%"}}, "task.payload"),
        ({"task": {"type": "t", "headers": {"a": 1}}}, "task.headers"),
    ],
)
def test_an_entry_that_cannot_be_read_names_the_field(change: dict[str, Any], field: str) -> None:
    document = json.loads(encode_entry(_FULL)) | change
    with pytest.raises(InvalidData, match=f"periodic entry: {field}:"):
        decode_entry(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000])
def test_what_is_not_a_json_object_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidData, match="periodic entry: "):
        decode_entry(data)


def test_a_tick_record_is_read_from_its_hash() -> None:
    fields = {
        b"last_tick": b"1709294400",
        b"last_task_id": b"periodic:x:1709294400",
        b"missed": b"2",
        b"enqueued": b"7",
    }
    assert decode_tick_record(fields) == TickRecord(
        last_tick=_SINCE, last_task_id="periodic:x:1709294400", missed=2, enqueued=7
    )
    assert decode_tick_record({}) == TickRecord()


def test_a_tick_record_that_is_not_numbers_names_the_field() -> None:
    with pytest.raises(InvalidData, match="missed"):
        decode_tick_record({b"missed": b"many"})


@pytest.mark.parametrize("last_tick", [b"soon", b"-1", b"253402300799", b"9" * 30, b"9" * 5000])
def test_a_last_tick_that_no_schedule_can_start_from_is_invalid(last_tick: bytes) -> None:
    with pytest.raises(InvalidData, match="tick record: last_tick: not a time"):
        decode_tick_record({b"last_tick": last_tick})


def test_a_ticks_task_id_is_the_same_whoever_makes_it() -> None:
    entry = entry_id("shop/main", "nightly")
    assert tick_task_id(entry, _SINCE) == "periodic:shop:main:nightly:1709294400"


def test_a_ticks_task_can_be_opened_in_asynqmon() -> None:
    # its routes end an id at the first slash
    assert "/" not in tick_task_id(entry_id("shop/main", "nightly"), _SINCE)


def test_a_lease_survives_writing_and_reading() -> None:
    assert decode_lease(encode_lease("pod:1:u", _SINCE)) == ("pod:1:u", _SINCE)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"holder":1,"since":2}', b"[" * 100_000])
def test_a_lease_that_cannot_be_read_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidData):
        decode_lease(data)
