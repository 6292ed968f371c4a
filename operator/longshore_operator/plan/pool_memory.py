"""How what a pool's decision remembers changes: samples of the demand, kept as long as a window needs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from longshore_operator.api.worker_pool import Autoscaling
from longshore_operator.plan.observed import PoolMemory

_SELDOM = timedelta(seconds=5)  # longer than what is between two plans of a pool with work


def remember(memory: PoolMemory, auto: Autoscaling, demand: int, now: datetime) -> PoolMemory:
    """Take a sample. Of samples that a later one outdoes, nothing is kept, so memory stays small."""
    memory = _lasting(memory, now)
    highs = [each for each in memory.highs if each[1] > demand and now - each[0] < auto.scale_down.stabilization]
    lows = [each for each in memory.lows if each[1] < demand and now - each[0] < auto.scale_up.stabilization]
    return replace(memory, highs=(*highs, (now, demand)), lows=(*lows, (now, demand)))


def _lasting(memory: PoolMemory, now: datetime) -> PoolMemory:
    """A pool without workers and tasks is seldom planned: what it needed then, it needed until a moment ago.

    Only for growth. Pools with workers, which alone can shrink, are planned every few seconds.
    """
    if not memory.lows or now - memory.lows[-1][0] <= _SELDOM:
        return memory
    *lows, (_, low) = memory.lows
    return replace(memory, lows=(*lows, (now, low)))


def none_later(memory: PoolMemory, now: datetime) -> PoolMemory:
    """Nothing is remembered from the future: a clock that was set back would hold every window open for that long."""
    if all(time is None or time <= now for time in _times(memory)):
        return memory
    held, grown, shrunk = memory.shrink_held_since, memory.grown_at, memory.shrunk_at
    return replace(
        memory,
        observed_since=min(memory.observed_since, now),
        highs=tuple((min(time, now), demand) for time, demand in memory.highs),
        lows=tuple((min(time, now), demand) for time, demand in memory.lows),
        idle_since=memory.idle_since and min(memory.idle_since, now),
        shrink_held_since=held and min(held, now),
        grown_at=grown and min(grown, now),
        shrunk_at=shrunk and min(shrunk, now),
    )


def _times(memory: PoolMemory) -> Iterator[datetime | None]:
    yield from (memory.observed_since, memory.idle_since, memory.shrink_held_since, memory.grown_at, memory.shrunk_at)
    yield from (time for time, _ in (*memory.highs, *memory.lows))


def hold_memory(memory: PoolMemory, now: datetime) -> PoolMemory:
    """For a pool of which nothing can be decided now."""
    return forget(memory, memory.replicas, now)


def forget(memory: PoolMemory, count: int, now: datetime) -> PoolMemory:
    """While the backlog does not decide, the count stands for the demand: when it does again, windows start anew."""
    return replace(memory, highs=((now, count),), lows=((now, count),), idle_since=None, shrink_held_since=None)
