"""How deep the fields may be nested that the schema leaves open: a payload, a template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

MOST_LEVELS = 100  # ten times what a pod needs; the schema has no way to say it


def _checked(value: Mapping[str, Any]) -> Mapping[str, Any]:
    # Without recursion, which is what a deep value would make fail.
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS):
        below: list[Any] = []
        for each in level:
            if isinstance(each, Mapping):
                below += [item for item in each.values() if isinstance(item, (Mapping, list))]
            else:
                below += [item for item in each if isinstance(item, (Mapping, list))]
        if not below:
            return value
        level = below
    raise ValueError(f"nested deeper than {MOST_LEVELS} levels; make it flatter")


OpenObject = Annotated[Mapping[str, Any], AfterValidator(_checked)]
"""Any JSON object that is not nested too deep."""
