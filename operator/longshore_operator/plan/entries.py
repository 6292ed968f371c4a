"""The periodic entries of a Broker: what its Redis hash must hold, compared with what it holds.

An entry's ``since`` says from when on its ticks count, and for ``@every`` where they lie, so it must not move without
need. It stays as found while schedule, zone and queue do; it is now when one of them changes, or when the entry is
resumed. What is not found is new, or was lost with the hash: then it is the PeriodicTask's creation or its last tick,
whichever is later, so that nothing lost with Redis runs twice and what is missing can be made up for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from longshore.errors import InvalidData
from longshore.protocol.periodic import PeriodicEntry, decode_entry
from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.plan.actions import WritePeriodic
from longshore_operator.plan.periodic_entry import EntryProblem, periodic_entry
from longshore_operator.plan.timestamps import parse_time


def reconcile_entries(
    scope: str, tasks: Iterable[PeriodicTask], found: Mapping[str, bytes], now: datetime
) -> WritePeriodic | None:
    """What must be written into and removed from the hash; None when it is as it should be.

    A PeriodicTask that cannot be an entry has none: its old schedule is no longer what its spec says.
    """
    wanted: set[str] = set()
    changed: dict[str, PeriodicEntry] = {}
    for task in tasks:
        if task.deleting:
            continue
        old = found_entry(found, task.name)
        try:
            entry = periodic_entry(task, since=_since(task, old, now))
        except EntryProblem:
            continue
        wanted.add(task.name)
        if entry != old:
            changed[task.name] = entry
    remove = frozenset(found) - wanted
    if not changed and not remove:
        return None
    parts = [f"write {_enumerate(changed)}"] if changed else []
    if remove:
        parts.append(f"remove {_enumerate(remove)}")
    return WritePeriodic(scope=scope, set=changed, remove=remove, why="; ".join(parts))


def found_entry(found: Mapping[str, bytes], name: str) -> PeriodicEntry | None:
    """The entry in the hash; None when there is none that can be read."""
    data = found.get(name)
    if data is None:
        return None
    try:
        return decode_entry(data)
    except InvalidData:
        return None


def _since(task: PeriodicTask, old: PeriodicEntry | None, now: datetime) -> datetime:
    spec = task.spec
    if old is None:
        created = task.metadata.creation_timestamp or now
        last = parse_time(task.status.get("lastTick"))
        return max(created, last) if last is not None else created
    if (old.schedule, old.time_zone, old.task.queue) != (spec.schedule, spec.time_zone, spec.task.queue):
        return _whole(now)
    if old.suspend and not spec.suspend:
        return _whole(now)
    return old.since


def _whole(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)


def _enumerate(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
