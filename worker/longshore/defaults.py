"""The options a task type has by itself: given where its handler is registered, used where the task is enqueued."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, TypedDict

from longshore.errors import InvalidOption
from longshore.task import checked_options

NO_DEFAULTS: Mapping[str, Any] = MappingProxyType({})


class DefaultOptions(TypedDict, total=False):
    """The task options that make sense for every task of a type. ``None`` is the same as not given."""

    queue: str | None
    max_retry: int | None
    timeout: timedelta | float | None
    process_in: timedelta | float | None
    unique_for: timedelta | float | None
    retention: timedelta | float | None
    group: str | None
    headers: Mapping[str, str] | None


def checked_defaults(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The defaults, converted. Raises InvalidOption naming the one that cannot be used."""
    if not options:
        return NO_DEFAULTS
    for name in ("task_id", "deadline", "process_at"):
        if options.get(name) is not None:
            raise InvalidOption(name, "is for one task; give it when the task is enqueued")
    return MappingProxyType(checked_options(options))
