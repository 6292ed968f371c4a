"""What is written so that the entries in Redis are those that are declared, and since when each counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from longshore.policy.entry_sync import decide_sync
from longshore.protocol.periodic import PeriodicEntry, PeriodicTaskTemplate, encode_entry

EARLIER = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 2, 1, 12, 0, 0, 500_000, tzinfo=UTC)
WHOLE = NOW.replace(microsecond=0)
ENTRY = PeriodicEntry(schedule="@hourly", since=EARLIER, task=PeriodicTaskTemplate(type="report"))


@pytest.mark.parametrize(
    ("change", "since"),
    [
        ({}, None),
        ({"starting_deadline": timedelta(minutes=1)}, EARLIER),
        ({"task": replace(ENTRY.task, payload=b"1", headers={"a": "b"}, max_retry=1)}, EARLIER),
        ({"suspend": True}, EARLIER),
        ({"schedule": "@daily"}, WHOLE),
        ({"time_zone": "Europe/Berlin"}, WHOLE),
        ({"task": replace(ENTRY.task, queue="other")}, WHOLE),
    ],
    ids=["nothing", "its deadline", "its task", "suspended", "its schedule", "its zone", "its queue"],
)
def test_an_entry_keeps_its_beginning_unless_its_ticks_become_others(
    change: dict[str, Any], since: datetime | None
) -> None:
    declared = replace(ENTRY, since=datetime.fromtimestamp(0, UTC), **change)
    sync = decide_sync({"a": declared}, {"a": encode_entry(ENTRY)}, kept=(), now=NOW)
    if since is None:
        assert (sync.changed, sync.entries) == ({}, {"a": encode_entry(ENTRY)})
    else:
        assert sync.changed == {"a": replace(declared, since=since)}
        assert sync.entries == {"a": encode_entry(sync.changed["a"])}
    assert sync.removed == set()


def test_a_resumed_entry_begins_anew() -> None:
    stored = encode_entry(replace(ENTRY, suspend=True))
    assert decide_sync({"a": ENTRY}, {"a": stored}, kept=(), now=NOW).changed["a"].since == WHOLE


def test_what_is_new_is_written_what_is_gone_is_removed_and_what_is_kept_stays() -> None:
    stored = {"gone": b"1", "kept": b"2", "broken": b"not JSON"}
    sync = decide_sync({"new": ENTRY, "broken": ENTRY}, stored, kept=["kept", "never seen"], now=NOW)
    assert set(sync.changed) == {"new", "broken"}
    assert {entry.since for entry in sync.changed.values()} == {WHOLE}
    assert sync.removed == {"gone"}
    assert sync.entries.keys() == {"new", "broken", "kept"}
    again = decide_sync({"new": ENTRY, "broken": ENTRY}, sync.entries, kept=["kept"], now=NOW + timedelta(days=1))
    assert (again.changed, again.removed, again.entries) == ({}, set(), sync.entries)
