"""Whether an object's status must be written, and how soon."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from longshore_operator.api.resource import Resource
from longshore_operator.plan.actions import Note
from longshore_operator.plan.conditions import Condition, merge_conditions, transition_notes


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What to say of an object."""

    status: Mapping[str, Any] | None  # as Plan.status
    urgent: bool
    notes: tuple[Note, ...]  # of the transitions


def report(
    resource: Resource,
    *,
    conditions: Sequence[Condition],
    fields: Mapping[str, Any],
    volatile: Collection[str] = (),
    silent: Collection[str] = (),
    kind: str | None = None,
    now: datetime,
) -> Report:
    """Compare the status wanted with the object's own.

    ``fields`` are the status fields beside conditions, in the API's spelling; None leaves one out. A change of nothing
    but ``volatile`` fields and messages can wait; a change of nothing but ``silent`` fields is not worth a write.
    ``kind``: only for an object whose class does not tell.
    """
    generation = resource.metadata.generation
    previous = resource.status.get("conditions") or []
    wanted: dict[str, Any] = {"observedGeneration": generation}
    wanted |= {name: value for name, value in fields.items() if value is not None}
    wanted["conditions"] = merge_conditions(previous, conditions, generation=generation, now=now)
    notes = tuple(transition_notes(kind or resource.KIND, previous, conditions))
    if _without(wanted, silent) == _without(resource.status, silent):
        return Report(status=None, urgent=False, notes=notes)
    waiting = {*volatile, *silent}
    urgent = _essence(wanted, waiting) != _essence(resource.status, waiting)
    return Report(status=wanted, urgent=urgent, notes=notes)


def _without(status: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name not in names}


def _essence(status: Mapping[str, Any], waiting: Collection[str]) -> dict[str, Any]:
    """What people wait for: everything but numbers that move all the time, and the wording of messages."""
    essence = _without(status, waiting)
    essence["conditions"] = [_without(each, {"message"}) for each in status.get("conditions") or []]
    return essence
