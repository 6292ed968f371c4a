"""Which of the fields we applied are no longer ours, and whose they are: the API server's own record of managers.

A value that someone else changes passes to them in ``metadata.managedFields``, whatever defaults, normal forms or
admission plugins did to it; so there is nothing to guess about quantities or ports, and no plugin that rewrites our
image can make us apply it again for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FIELD_MANAGER = "longshore"


def lost_fields(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, str]:
    """Fields of ``wanted`` that somebody took from us in ``live``: path to the manager's name ("someone" if unknown).

    Nothing when the object comes without its record (a reader may have left it out).
    """
    records = live.get("metadata", {}).get("managedFields") or []
    ours = [each.get("fieldsV1") or {} for each in records if each.get("manager") == FIELD_MANAGER]
    if not records:
        return {}
    lost = {}
    for path in _leaves({key: value for key, value in wanted.items() if key not in ("apiVersion", "kind")}):
        # Of metadata, name and namespace have no manager.
        if path[:1] == ("metadata",) and path[1:] in (("name",), ("namespace",)):
            continue
        if not any(_holds(fields, path) for fields in ours):
            others = (each["manager"] for each in records if _holds(each.get("fieldsV1") or {}, path))
            lost[_text(path)] = next(others, "someone")
    return lost


# One step of a path: a field's name, or an item of a list by the values it could be keyed by.
_Step = str | Mapping[str, Any]
_Path = tuple[_Step, ...]


def _leaves(value: Mapping[str, Any], above: _Path = ()) -> Iterator[_Path]:
    """Every path of ``value`` that an apply takes possession of, except nulls."""
    for key, each in value.items():
        path = (*above, key)
        if isinstance(each, Mapping) and each:
            yield from _leaves(each, path)
        elif isinstance(each, Sequence) and not isinstance(each, str) and each and isinstance(each[0], Mapping):
            for item in each:
                yield from _leaves(item, (*path, item))
        elif each is not None:
            yield path


def _holds(fields: Mapping[str, Any], path: _Path) -> bool:
    """Whether a manager's field set contains the path, or the atomic list or map that it lies in."""
    at: Mapping[str, Any] = fields
    for step in path:
        if isinstance(step, str):
            found = at.get(f"f:{step}")
        else:
            items = (each for each in at if each.startswith("k:") and _matches(json.loads(each[2:]), step))
            found = at.get(next(items, ""))
        if found is None:
            return False
        if not found:
            return True  # a leaf, or an atomic whole
        at = found
    return True


def _matches(key: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """A list's key may hold defaults (a port's protocol) that the item leaves out."""
    return all(item.get(name, value) == value for name, value in key.items())


def _text(path: _Path) -> str:
    parts = []
    for step in path:
        if isinstance(step, str):
            parts.append(f".{step}")
        else:
            name = step.get("name") or step.get("containerPort") or step.get("mountPath") or "…"
            parts.append(f"[{name}]")
    return "".join(parts).removeprefix(".")
