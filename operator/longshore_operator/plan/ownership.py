"""Which of the fields we applied are no longer ours, and whose they are: the API server's own record of managers.

A value that someone else changes passes to them in ``metadata.managedFields``, whatever defaults, normal forms or
admission plugins did to it; so there is nothing to guess about quantities or ports, and no plugin that rewrites our
image can make us apply it again for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

FIELD_MANAGER = "longshore"

# A field set as the API server keeps it: `f:name` is a field, `k:{…}` an item of a list by its keys; what is empty is a
# leaf, or a list or map that is owned as a whole.
_Fields = Mapping[str, Any]
# One step of a path: a field's name, or an item of a list with the values it could be keyed by.
_Step = str | Mapping[str, Any]
_Path = tuple[_Step, ...]

_UNMANAGED = frozenset({"apiVersion", "kind"})
_UNMANAGED_METADATA = frozenset({"name", "namespace"})


def lost_fields(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, str]:
    """Fields of ``wanted`` that somebody took from us in ``live``: path to the manager's name ("someone" if unknown).

    Nothing when the object comes without its record (a reader may have left it out).
    """
    records = live.get("metadata", {}).get("managedFields") or []
    if not records:
        return {}
    ours = [each.get("fieldsV1") or {} for each in records if each.get("manager") == FIELD_MANAGER]
    managed = {key: value for key, value in wanted.items() if key not in _UNMANAGED}
    managed["metadata"] = {key: value for key, value in wanted["metadata"].items() if key not in _UNMANAGED_METADATA}
    lost = {}
    for path in _missing(managed, ours, ()):
        editors = (each["manager"] for each in records if _holds(each.get("fieldsV1") or {}, path))
        lost[_text(path)] = next(editors, "someone")
    return lost


def _missing(value: Mapping[str, Any], fields: Sequence[_Fields], above: _Path) -> Iterator[_Path]:
    """The topmost paths of ``value`` that none of our field sets holds. Nulls are not applied, so not missed."""
    for key, each in value.items():
        if each is None:
            continue
        path = (*above, key)
        inner = [found for found in (at.get(f"f:{key}") for at in fields) if found is not None]
        if not inner:
            yield path
        elif not all(inner):
            continue  # owned as a whole
        elif isinstance(each, Mapping):
            yield from _missing(each, inner, path)
        elif isinstance(each, Sequence) and not isinstance(each, str):
            for item in each:
                if not isinstance(item, Mapping):
                    yield path  # no such list: the API server will refuse it
                    break
                kept = [found for found in (_item(at, item) for at in inner) if found is not None]
                if not kept:
                    yield (*path, item)
                elif all(kept):
                    yield from _missing(item, kept, (*path, item))


def _holds(fields: _Fields, path: _Path) -> bool:
    """Whether a manager's field set contains the path or something within it, or owns what it lies in as a whole."""
    at = fields
    for step in path:
        found = at.get(f"f:{step}") if isinstance(step, str) else _item(at, step)
        if found is None:
            return False
        if not found:
            return True
        at = found
    return True


def _item(fields: _Fields, item: Mapping[str, Any]) -> _Fields | None:
    """The field set of a list's item. A key may hold defaults (a port's protocol) that the item leaves out."""
    for name, found in fields.items():
        if name.startswith("k:") and all(item.get(key, value) == value for key, value in _key(name)):
            inner: _Fields = found
            return inner
    return None


@lru_cache(maxsize=4096)
def _key(name: str) -> tuple[tuple[str, Any], ...]:
    """The values of a `k:` name; the same few occur in every Deployment."""
    return tuple(json.loads(name[2:]).items())


def _text(path: _Path) -> str:
    parts = []
    for step in path:
        if isinstance(step, str):
            parts.append(f".{step}")
        else:
            name = step.get("name") or step.get("containerPort") or step.get("mountPath") or "…"
            parts.append(f"[{name}]")
    return "".join(parts).removeprefix(".")
