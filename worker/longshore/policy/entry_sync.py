"""What must be written so that a scope's entries in Redis are those that are declared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from longshore.errors import InvalidData
from longshore.protocol.periodic import PeriodicEntry, decode_entry, encode_entry


@dataclass(frozen=True, kw_only=True, slots=True)
class EntrySync:
    """A decision."""

    entries: Mapping[str, bytes]  # the scope's, once it is carried out
    changed: Mapping[str, PeriodicEntry]  # to be written
    removed: frozenset[str]  # to be deleted


def decide_sync(
    declared: Mapping[str, PeriodicEntry], stored: Mapping[str, bytes], *, kept: Collection[str], now: datetime
) -> EntrySync:
    """``declared``: without their time to count from. ``kept``: names whose entries stay as they lie there.

    An entry counts from when it was first written, or its schedule, zone or queue changed, or it was resumed; what lies
    there says so, hence a restart neither repeats a tick nor loses one.
    """
    entries = {name: data for name, data in stored.items() if name in kept}
    changed: dict[str, PeriodicEntry] = {}
    for name, entry in declared.items():
        dated = replace(entry, since=_since(entry, stored.get(name), now))
        entries[name] = encode_entry(dated)
        if entries[name] != stored.get(name):
            changed[name] = dated
    return EntrySync(entries=entries, changed=changed, removed=frozenset(stored.keys() - entries.keys()))


def _since(entry: PeriodicEntry, stored: bytes | None, now: datetime) -> datetime:
    begins = now.replace(microsecond=0)
    try:
        before = None if stored is None else decode_entry(stored)
    except InvalidData:
        before = None
    if before is None or (before.suspend and not entry.suspend):
        return begins
    same = (before.schedule, before.time_zone, before.task.queue) == (entry.schedule, entry.time_zone, entry.task.queue)
    return before.since if same else begins
