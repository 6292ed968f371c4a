"""The periodic entries of a Broker: what is written, what is left, what is removed, and from when on ticks count."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from longshore.protocol.periodic import (
    CatchUp,
    Overlap,
    PeriodicEntry,
    PeriodicTaskTemplate,
    decode_entry,
    encode_entry,
)
from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.plan.actions import WritePeriodic
from longshore_operator.plan.entries import reconcile_entries
from longshore_operator.plan.periodic_entry import EntryProblem, periodic_entry
from plan.scenes import START, at, periodic, with_status

CREATED = datetime(2026, 2, 1, tzinfo=UTC)
EARLIER = START - timedelta(hours=5)


def reconciled(
    *tasks: PeriodicTask, found: Mapping[str, bytes] | None = None, seconds: float = 0
) -> WritePeriodic | None:
    return reconcile_entries("shop/default", tasks, found or {}, at(seconds))


def stored(since: datetime = EARLIER, **spec: Any) -> dict[str, bytes]:
    return {"report": encode_entry(periodic_entry(periodic(**spec), since=since))}


def test_an_entry_holds_everything_the_scheduler_needs() -> None:
    task = periodic(
        schedule="*/5 * * * *",
        timeZone="Europe/Berlin",
        startingDeadline="90s",
        catchUp="All",
        overlap="Forbid",
        jitter="5m",
        suspend=True,
        task={
            "type": "report:daily",
            "payload": {"größe": [1, None]},
            "queue": "office",
            "maxRetry": 3,
            "timeout": "10m",
            "retention": "24h",
            "uniqueFor": "1h",
            "headers": {"trace": "x"},
        },
    )
    assert periodic_entry(task, since=START) == PeriodicEntry(
        schedule="*/5 * * * *",
        time_zone="Europe/Berlin",
        since=START,
        suspend=True,
        starting_deadline=timedelta(seconds=90),
        catch_up=CatchUp.ALL,
        overlap=Overlap.FORBID,
        jitter=timedelta(minutes=5),
        task=PeriodicTaskTemplate(
            type="report:daily",
            payload='{"größe":[1,null]}'.encode(),
            queue="office",
            max_retry=3,
            timeout=timedelta(minutes=10),
            retention=timedelta(hours=24),
            unique_for=timedelta(hours=1),
            headers={"trace": "x"},
        ),
    )


def test_a_new_task_counts_from_its_creation() -> None:
    write = reconciled(periodic())
    assert write is not None
    assert (write.scope, write.remove, write.why) == ("shop/default", frozenset(), "write report")
    assert write.set["report"].since == CREATED


def test_what_is_as_it_should_be_is_not_written() -> None:
    assert reconciled(periodic(), found=stored(), seconds=100) is None


@pytest.mark.parametrize(
    ("before", "after", "since"),
    [
        pytest.param({}, {"schedule": "5 * * * *"}, START, id="a changed schedule counts from now"),
        pytest.param({}, {"timeZone": "Asia/Tokyo"}, START, id="a changed zone counts from now"),
        pytest.param(
            {}, {"task": {"type": "report:hourly", "queue": "b"}}, START, id="a changed queue counts from now"
        ),
        pytest.param({"suspend": True}, {}, START, id="a resumed task counts from now"),
        pytest.param({}, {"suspend": True}, EARLIER, id="suspending moves nothing"),
        pytest.param({}, {"task": {"type": "other"}}, EARLIER, id="another task keeps the ticks"),
        pytest.param({}, {"catchUp": "All"}, EARLIER, id="another way to catch up keeps the ticks"),
        pytest.param({}, {"overlap": "Forbid", "jitter": "5m"}, EARLIER, id="jitter and overlap keep the ticks"),
        pytest.param({}, {"startingDeadline": "5m"}, EARLIER, id="another deadline keeps the ticks"),
    ],
)
def test_since_moves_only_when_the_ticks_do(before: dict[str, Any], after: dict[str, Any], since: datetime) -> None:
    write = reconciled(periodic(**after), found=stored(**before))
    assert write is not None
    assert write.set["report"].since == since
    # And once it is written, it stays: the same plan a moment later finds nothing to do.
    found = {"report": encode_entry(write.set["report"])}
    assert reconciled(periodic(**after), found=found, seconds=3) is None


def test_a_lost_hash_is_written_again_and_counts_from_the_last_tick() -> None:
    ticked = with_status(periodic(), {"lastTick": "2026-03-01T11:00:00Z"})
    write = reconciled(ticked, periodic("other"))
    assert write is not None
    assert {name: entry.since for name, entry in write.set.items()} == {
        "report": datetime(2026, 3, 1, 11, tzinfo=UTC),
        "other": CREATED,
    }


def test_a_status_that_is_no_time_is_no_reason_to_fail() -> None:
    write = reconciled(with_status(periodic(), {"lastTick": "yesterday"}))
    assert write is not None
    assert write.set["report"].since == CREATED


def test_an_entry_that_cannot_be_read_is_written_anew() -> None:
    write = reconciled(periodic(), found={"report": b"{"})
    assert write is not None
    assert set(write.set) == {"report"}


def test_entries_of_nobody_are_removed() -> None:
    found = {**stored(), "gone": b"{}", "other": b"?"}
    write = reconciled(periodic(), found=found)
    assert write is not None
    assert (dict(write.set), write.remove, write.why) == ({}, {"gone", "other"}, "remove gone, other")


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(periodic(metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"}), id="being deleted"),
        pytest.param(periodic(schedule="61 * * * *"), id="with a schedule nobody can read"),
        pytest.param(periodic(timeZone="Mars/Olympus"), id="with an unknown zone"),
        pytest.param(periodic(task={"type": "a", "payload": {"x": "y" * 16384}}), id="with a payload too large"),
    ],
)
def test_a_task_that_cannot_run_has_no_entry_and_the_others_go_on(task: PeriodicTask) -> None:
    write = reconciled(task, periodic("other"), found=stored())
    assert write is not None
    assert (set(write.set), write.remove) == ({"other"}, {"report"})


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"schedule": "61 * * * *"}, "InvalidSchedule", "spec.schedule: "),
        ({"timeZone": "Mars/Olympus"}, "InvalidTimeZone", "spec.timeZone: unknown time zone 'Mars/Olympus'"),
        ({"schedule": "TZ=Mars/Olympus * * * * *"}, "InvalidTimeZone", "spec.schedule: unknown time zone"),
        (
            {"task": {"type": "a", "payload": {"x": "y" * 16384}}},
            "InvalidTask",
            "spec.task.payload: 16392 bytes, at most 16384 are allowed; store the data elsewhere.",
        ),
        ({"task": {"type": "a", "payloadBase64": "A" * 21848}}, "InvalidTask", "spec.task.payloadBase64: 16386 bytes"),
        ({"task": {"type": "a", "payloadBase64": "YQ"}}, "InvalidTask", "spec.task.payloadBase64: not standard base64"),
    ],
)
def test_why_a_task_cannot_run_is_told(spec: dict[str, Any], reason: str, words: str) -> None:
    with pytest.raises(EntryProblem) as caught:
        periodic_entry(periodic(**spec), since=START)
    assert caught.value.reason == reason
    assert caught.value.message.startswith(words)


def test_entries_survive_the_way_through_redis() -> None:
    write = reconciled(periodic(task={"type": "a", "payloadBase64": "AAEC", "headers": {"k": "v"}}), seconds=0.7)
    assert write is not None
    entry = write.set["report"]
    assert decode_entry(encode_entry(entry)) == entry
    assert entry.task.payload == b"\x00\x01\x02"
