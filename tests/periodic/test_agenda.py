"""What a scheduler makes of its entries: which are usable, which ticks are due, which tasks they become. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from longshore.policy.agenda import Agenda
from longshore.policy.periodic import Due
from longshore.protocol.messages import TaskMessage
from longshore.protocol.periodic import encode_entry
from periodic.harness import new_entry

SINCE = datetime(2026, 3, 10, 12, 0, 0, tzinfo=UTC)


def at(second: float) -> datetime:
    return SINCE + timedelta(seconds=second)


def source(schedule: str = "@every 10s", **changes: object) -> bytes:
    return encode_entry(new_entry(schedule, **{"since": SINCE, **changes}))  # type: ignore[arg-type]


def broken(**changes: object) -> bytes:
    """An entry with fields of its JSON replaced; None removes one."""
    document = json.loads(source())
    for name, value in changes.items():
        target = document["task"] if name in ("type", "queue", "headers", "uniqueForSeconds") else document
        target[name] = value
        if value is None:
            del target[name]
    return json.dumps(document).encode()


def agenda_of(**sources: bytes) -> Agenda:
    agenda = Agenda("shop/main")
    agenda.update(sources)
    return agenda


def known(agenda: Agenda, last_tick: datetime | None = None) -> Agenda:
    for planned in agenda.unread():
        planned.learn(last_tick)
    return agenda


def due_names(agenda: Agenda, now: datetime) -> dict[str, Due]:
    return {planned.name: due for planned, due in agenda.due(now)}


UNUSABLE = {
    "bytes that are no JSON": (b"\xff{", "not JSON"),
    "JSON that is no object": (b"[]", "must be a JSON object"),
    "no schedule": (broken(schedule=None), "schedule: is missing"),
    "a schedule of another type": (broken(schedule=5), "schedule: must be text"),
    "a schedule that cannot be read": (broken(schedule="every day"), "schedule: expected 5 fields"),
    "an unknown zone": (broken(timeZone="Mars/Base"), "timeZone: unknown time zone 'Mars/Base'"),
    "no since": (broken(since=None), "since: is missing"),
    "a since beyond any calendar": (broken(since=10**18), "since: "),
    "a deadline beyond any duration": (broken(startingDeadlineSeconds=10**18), "startingDeadlineSeconds: "),
    "an unknown way to catch up": (broken(catchUp="Some"), "catchUp: "),
    "a blank type": (broken(type=" "), "task type: must not be blank"),
    "a blank queue": (broken(queue="  "), "queue: must not be blank"),
    "headers that are no text": (broken(headers={"a": 1}), "headers: 'a' must be text"),
    "a lock without a lifetime": (broken(uniqueForSeconds=0), "unique_for: must be more than zero"),
    "a next tick beyond any calendar": (
        broken(schedule="@every 2540400h", since=int(datetime(9900, 1, 1, tzinfo=UTC).timestamp())), "since: must be"),
}  # fmt: skip


@pytest.mark.parametrize(("entry", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_entry_that_cannot_be_used_is_reported_and_the_others_go_on(entry: bytes, reason: str) -> None:
    agenda = known(agenda_of(bad=entry, good=source()))
    assert list(agenda.errors) == ["bad"]
    assert reason in agenda.errors["bad"]
    assert due_names(agenda, at(10)) == {"good": Due(run=(at(10),), newest=at(10), next_at=at(20))}


def test_an_entry_that_was_mended_is_used_again() -> None:
    agenda = agenda_of(daily=b"{")
    agenda.update({"daily": source()})
    assert (agenda.errors, [planned.name for planned in agenda]) == ({}, ["daily"])


def test_an_entry_that_became_unusable_has_no_more_ticks() -> None:
    agenda = known(agenda_of(daily=source()))
    agenda.update({"daily": b"{"})
    assert (list(agenda.errors), due_names(agenda, at(10))) == (["daily"], {})


def test_equal_bytes_are_no_change() -> None:
    agenda = agenda_of(daily=source(), bad=b"{")
    assert not agenda.update({"daily": source(), "bad": b"{"})
    assert agenda.update({"daily": source(), "bad": b"[}"})
    assert agenda.update({"daily": source()})


def test_an_entry_that_is_gone_has_no_more_ticks() -> None:
    agenda = known(agenda_of(daily=source(), hourly=source()))
    agenda.update({"hourly": source()})
    assert list(due_names(agenda, at(10))) == ["hourly"]


def test_nothing_is_due_before_the_record_was_read() -> None:
    agenda = agenda_of(daily=source())
    assert due_names(agenda, at(10)) == {}
    assert list(due_names(known(agenda), at(10))) == ["daily"]


def test_a_suspended_entry_has_no_ticks() -> None:
    agenda = known(agenda_of(daily=source(suspend=True)))
    assert due_names(agenda, at(1000)) == {}
    assert [planned.next_at for planned in agenda] == [None]


def test_an_entry_that_changed_keeps_its_record() -> None:
    agenda = known(agenda_of(daily=source()), last_tick=at(10))
    agenda.update({"daily": source("@every 5s")})
    assert agenda.unread() == []
    assert due_names(agenda, at(15)) == {"daily": Due(run=(at(15),), newest=at(15), next_at=at(20))}


def test_an_entry_that_moved_to_another_queue_has_another_record() -> None:
    agenda = known(agenda_of(daily=source()), last_tick=at(10))
    agenda.update({"daily": source(queue="other")})
    assert [planned.queue for planned in agenda.unread()] == ["other"]


def test_after_doubt_every_record_is_read_again() -> None:
    agenda = known(agenda_of(daily=source()))
    agenda.forget_records()
    assert [planned.name for planned in agenda.unread()] == ["daily"]


def test_a_tick_becomes_the_task_of_its_template() -> None:
    [planned] = agenda_of(
        daily=source(
            queue="reports",
            max_retry=3,
            timeout=timedelta(minutes=10),
            retention=timedelta(hours=24),
            unique_for=timedelta(hours=1),
            headers={"trace": "1"},
        )
    )
    assert planned.message(at(10)) == TaskMessage(
        type="report:daily",
        payload=b'{"day":1}',
        id=f"periodic:shop:main:daily:{int(at(10).timestamp())}",
        queue="reports",
        max_retry=3,
        timeout=timedelta(minutes=10),
        retention=timedelta(hours=24),
        unique_key="asynq:{reports}:unique:report:daily:f35b327d3776c942dcf34ecb97098e8e",
        headers={"trace": "1"},
    )
    assert planned.options == (
        'Queue("reports")',
        "MaxRetry(3)",
        "Timeout(10m0s)",
        "Unique(1h0m0s)",
        "Retention(24h0m0s)",
        'Header(["trace","1"])',
    )


def test_a_template_that_says_nothing_has_the_clients_defaults() -> None:
    [planned] = agenda_of(daily=source(payload=b""))
    assert planned.message(at(10)) == TaskMessage(
        type="report:daily",
        payload=None,
        id=f"periodic:shop:main:daily:{int(at(10).timestamp())}",
        queue="default",
        max_retry=25,
        timeout=timedelta(minutes=30),
    )
    assert planned.options == ('Queue("default")',)
