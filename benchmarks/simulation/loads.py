"""Loads: when each task arrives and how long it runs, in seconds from the start. The same seed, the same load."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task."""

    arrives_at: float
    runs_for: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """A load with its name and what it stands for."""

    name: str
    about: str
    lasts: float  # seconds; the simulation goes on beyond, until everything is done
    tasks: tuple[Task, ...]
    bursts_at: tuple[float, ...] = ()  # when much comes at once into an idle system


def all_loads() -> list[Load]:
    """Every load that is simulated, in the order of the table."""
    return [steady(), diurnal(), bursts(), flapping(), poison(), *recorded()]


def steady() -> Load:
    """An even stream."""
    return Load(
        name="steady",
        about="60 tasks a second of 1 s, for 30 minutes",
        lasts=1800,
        tasks=_stream(1800, lambda _: 60.0, lambda chance: chance.expovariate(1.0), seed=1),
    )


def diurnal() -> Load:
    """A day in three quarters of an hour."""
    return Load(
        name="diurnal",
        about="from 0 to 120 tasks a second of 1 s and back, a day in 45 minutes",
        lasts=2700,
        tasks=_stream(
            2700,
            lambda now: 60.0 * (1 - math.cos(2 * math.pi * now / 2700)),
            lambda chance: chance.expovariate(1.0),
            seed=2,
        ),
    )


def bursts() -> Load:
    """Nothing for long, then much at once."""
    chance = random.Random(3)
    # At uneven times, so that no poll of anybody happens to be always just before or just after.
    at = tuple(60 + 600 * number + chance.uniform(0, 120) for number in range(6))
    tasks = [Task(arrives_at=start, runs_for=chance.uniform(1, 3)) for start in at for _ in range(2000)]
    return Load(
        name="bursts",
        about="2,000 tasks of 2 s at once into an idle system, every ten minutes or so",
        lasts=3600,
        tasks=tuple(tasks),
        bursts_at=at,
    )


def flapping() -> Load:
    """On and off, faster than it pays to follow."""
    return Load(
        name="flapping",
        about="100 tasks a second of 1 s for 40 s, then none for 40 s, for 30 minutes",
        lasts=1800,
        tasks=_stream(
            1800,
            lambda now: 100.0 if now % 80 < 40 else 0.0,
            lambda chance: chance.expovariate(1.0),
            seed=4,
        ),
    )


def poison() -> Load:
    """A few tasks that take very long among many quick ones, in waves."""
    return Load(
        name="slow poison",
        about="waves of 40 tasks a second of 0.5 s, one in 200 of which takes 5 minutes",
        lasts=2400,
        tasks=_stream(
            2400,
            lambda now: 40.0 if now % 600 < 200 else 0.0,
            lambda chance: 300.0 if chance.random() < 1 / 200 else chance.expovariate(2.0),
            seed=5,
        ),
    )


def recorded() -> Iterator[Load]:
    """What ``record.py`` has written. How long each task ran is not known: all have the record's mean."""
    for path in sorted(RECORDED.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            about = file.readline().removeprefix("#").strip()
            rows = [{name: int(text) for name, text in row.items()} for row in csv.DictReader(file)]
        mean = sum(row["running"] for row in rows) / sum(row["ended"] for row in rows)
        chance = random.Random(path.name)
        tasks = [
            Task(arrives_at=row["second"] + chance.random(), runs_for=chance.expovariate(1 / mean))
            for row in rows
            for _ in range(row["enqueued"])
        ]
        yield Load(name=path.stem, about=about, lasts=rows[-1]["second"] + 1, tasks=_sorted(tasks))


def _stream(
    lasts: float,
    rate: Callable[[float], float],
    runs_for: Callable[[random.Random], float],
    *,
    seed: int,
) -> tuple[Task, ...]:
    """Tasks that come independently of each other, at a rate that changes with time (thinning of a Poisson process)."""
    chance = random.Random(seed)
    peak = max(rate(float(second)) for second in range(int(lasts)))
    tasks = []
    now = chance.expovariate(peak)
    while now < lasts:
        if chance.random() < rate(now) / peak:
            tasks.append(Task(arrives_at=now, runs_for=runs_for(chance)))
        now += chance.expovariate(peak)
    return tuple(tasks)


def _sorted(tasks: list[Task]) -> tuple[Task, ...]:
    return tuple(sorted(tasks, key=lambda task: task.arrives_at))
