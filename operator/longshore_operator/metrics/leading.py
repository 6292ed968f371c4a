"""What a leader has at hand for its metrics."""

from __future__ import annotations

from dataclasses import dataclass

from longshore_operator.cluster.streams import WatchStreams
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.reconciler import Reconciler
from longshore_operator.observe.memory_usage import MemoryUsage


@dataclass(frozen=True, kw_only=True, slots=True)
class Leading:
    """The parts of a leading process that are looked at; none of them knows of it."""

    context: Context
    reconciler: Reconciler
    streams: WatchStreams
    memory: MemoryUsage
