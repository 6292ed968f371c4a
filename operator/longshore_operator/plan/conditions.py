"""From what was decided to conditions and Events: keeps transition times, and knows what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from longshore_operator.api.conditions import CONDITIONS, READY
from longshore_operator.api.reasons import ORDINARY
from longshore_operator.plan.actions import Note
from longshore_operator.plan.timestamps import format_time

# The schema takes no longer message, and a status that is refused tells nothing at all. What the API server says of a
# large template can be longer: it names each field that is wrong, and quotes it.
_LONGEST_MESSAGE = 4096

_GOOD = {(each.kind, each.type): each.good for each in CONDITIONS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One aspect of an object, as decided now.

    The message must not hold what changes from poll to poll (counts, ages, ports): an idle object is never written.
    """

    type: str  # one of api.conditions
    status: bool | None  # None: Unknown
    reason: str  # one of api.reasons
    message: str

    @property
    def status_text(self) -> str:
        return "Unknown" if self.status is None else str(self.status)


def merge_conditions(
    previous: Sequence[Mapping[str, Any]], wanted: Sequence[Condition], *, generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The whole list for ``status.conditions``: the transition time of a condition moves only when its status does."""
    before = {each.get("type"): each for each in previous}
    merged = []
    for condition in wanted:
        old = before.get(condition.type, {})
        same = old.get("status") == condition.status_text
        merged.append(
            {
                "type": condition.type,
                "status": condition.status_text,
                "observedGeneration": generation,
                "lastTransitionTime": (same and old.get("lastTransitionTime")) or format_time(now),
                "reason": condition.reason,
                "message": _shortened(condition.message),
            }
        )
    return merged


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1]}…"


def transition_notes(kind: str, previous: Sequence[Mapping[str, Any]], wanted: Sequence[Condition]) -> list[Note]:
    """One Event for each condition whose status or reason changed; conditions that changed for one reason share it.

    Of conditions that are new, only Ready and those that are not as they should be are worth an Event.
    """
    before = {each.get("type"): each for each in previous}
    notes: dict[tuple[str, str], Note] = {}
    for condition in wanted:
        good = _GOOD[kind, condition.type]
        wrong = good is not None and condition.status_text not in (good, "Unknown")
        old = before.get(condition.type)
        if old is None:
            changed = wrong or condition.type == READY
        else:
            changed = (old.get("status"), old.get("reason")) != (condition.status_text, condition.reason)
        if changed:
            note = Note(
                type="Warning" if wrong and condition.reason not in ORDINARY else "Normal",
                reason=condition.reason,
                message=condition.message,
            )
            notes.setdefault((note.reason, note.message), note)
    return list(notes.values())
