"""From a function that makes one task of many to something the server can call."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

from longshore.errors import InvalidOption
from longshore.handler import name_of
from longshore.payload import Reader, reader_for
from longshore.policy.grouping import GroupingRule, checked_duration, checked_size
from longshore.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupedTask:
    """One of the tasks that an aggregator is given."""

    type: str
    payload: bytes | None = field(repr=False)  # as it was enqueued; it may be secret, and reprs end up in logs
    headers: Mapping[str, str]
    id: str  # unique within its queue
    queue: str
    retried: int  # failed attempts at it, when it was run by itself before; mostly 0
    joined_at: datetime  # when it joined the group, to the second (aware, UTC)

    def decoded(self, as_type: Any = Any) -> Any:
        """The payload as a handler's parameter annotated ``as_type`` would get it; without a type, the JSON value.

        Raises PayloadError when it does not fit, and InvalidOption for a type that no payload can become.
        """
        return _reader(as_type)(self.payload)


Aggregate: TypeAlias = Callable[[str, list[GroupedTask]], "Task | Awaitable[Task]"]
"""(name of the group, its tasks, those that joined first first) to the task that takes their place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupAggregator:
    """A registered function, and what it has to say about when its groups are ready."""

    prefix: str  # of the groups' names; empty: every group
    function: Aggregate
    is_async: bool
    grace_period: timedelta | None = None  # None, of each of the three: as the server has it
    max_delay: timedelta | None = None
    max_size: int | None = None

    def rule(self, default: GroupingRule) -> GroupingRule:
        """When its groups are ready, on a server with this rule."""
        return replace(
            default,
            grace_period=self.grace_period or default.grace_period,
            max_delay=self.max_delay or default.max_delay,
            max_size=self.max_size or default.max_size,
        )


def aggregator_for(
    prefix: str,
    function: Aggregate,
    *,
    grace_period: timedelta | float | None = None,
    max_delay: timedelta | float | None = None,
    max_size: int | None = None,
) -> GroupAggregator:
    """Look at a function once and say how it is called. Raises InvalidOption for what cannot be used."""
    if not isinstance(prefix, str):
        raise InvalidOption("aggregator", f"{prefix!r} is not the beginning of a group's name: @app.aggregator()")
    if not callable(function):
        raise InvalidOption("aggregator", f"{function!r} is not a function")
    where = name_of(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidOption("aggregator", f"{where} yields; return the one task instead")
    try:
        inspect.signature(function).bind("group", ())
    except TypeError as error:
        raise InvalidOption("aggregator", f"{where} must take the group's name and its tasks: {error}") from error
    except ValueError as error:
        raise InvalidOption("aggregator", f"{where}: its parameters cannot be read: {error}") from error
    return GroupAggregator(
        prefix=prefix,
        function=function,
        is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
        grace_period=checked_duration("group grace period", grace_period),
        max_delay=checked_duration("group max delay", max_delay),
        max_size=checked_size(max_size),
    )


class GroupRouter:
    """Names of groups to aggregators: the longest prefix wins."""

    def __init__(self, aggregators: Iterable[GroupAggregator]) -> None:
        """``aggregators``: no two of one prefix."""
        self._by_length = sorted(aggregators, key=lambda one: -len(one.prefix))

    def find(self, group: str) -> GroupAggregator | None:
        """The aggregator of a group; None: nobody's, it stays as it is."""
        return next((one for one in self._by_length if group.startswith(one.prefix)), None)


@lru_cache(maxsize=128)
def _reader(as_type: Any) -> Reader:
    return reader_for(as_type)
