"""What a worker server is told to do, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from longshore.errors import InvalidOption
from longshore.policy.grouping import GroupingRule
from longshore.policy.queues import checked_queues
from longshore.task import duration_of

MOST_CONCURRENT = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerOptions:
    """Raises InvalidOption naming the one that cannot be used."""

    queues: Mapping[str, int]  # name to priority, from 1; at least one
    strict_priority: bool  # a queue is asked only when those before it are empty; otherwise a priority is a share
    concurrency: int  # tasks at once, 1 to a million
    process_pool_size: int  # how many of them may run in processes of their own, from 1
    shutdown_timeout: timedelta  # for running tasks to end before they are put back; 0: at once
    grouping: GroupingRule  # of aggregators that do not say otherwise

    @classmethod
    def of(
        cls,
        *,
        queues: Any,
        strict_priority: bool,
        concurrency: Any,
        process_pool_size: Any,
        shutdown_timeout: Any,
        grouping: GroupingRule,
    ) -> ServerOptions:
        """From what people pass: the timeout as timedelta or seconds."""
        timeout = duration_of("shutdown timeout", shutdown_timeout)
        if timeout < timedelta(0):
            raise InvalidOption("shutdown timeout", "must not be negative")
        return cls(
            queues=checked_queues(queues),
            strict_priority=strict_priority,
            concurrency=_whole("concurrency", concurrency, most=MOST_CONCURRENT),
            process_pool_size=_whole("process pool size", process_pool_size, most=MOST_CONCURRENT),
            shutdown_timeout=timeout,
            grouping=grouping,
        )


def _whole(name: str, value: Any, *, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidOption(name, f"is {value!r}; give a whole number from 1 to {most}")
    return value
