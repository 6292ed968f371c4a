"""The simulation beside KEDA: its rules one by one, and that the documentation shows what it gives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from simulation.loads import Load, Task, bursts, poison
from simulation.outcome import simulate
from simulation.scalers import Keda, Longshore
from simulation.table import DOCUMENT, table
from simulation.world import Circumstances, World


def at_once(count: int, *, runs_for: float = 1.0, at: float = 0.0) -> Load:
    tasks = tuple(Task(arrives_at=at, runs_for=runs_for) for _ in range(count))
    return Load(name="at once", about="a test's", lasts=at + 60, tasks=tasks)


@pytest.mark.parametrize("load", [bursts, poison], ids=["bursts", "slow poison"])
def test_the_documentation_shows_what_the_simulation_gives(load) -> None:
    shown = DOCUMENT.read_text(encoding="utf-8").splitlines()
    for line in table([simulate(load(), Longshore()), simulate(load(), Keda())]).splitlines():
        assert line in shown, "run `make simulation`"


def test_ours_reacts_within_a_poll_and_interrupts_nothing() -> None:
    outcome = simulate(bursts(), Longshore())
    assert max(outcome.reactions) <= Longshore.POLL + 1  # samples are a second apart
    assert outcome.interrupted == outcome.asked_to_stop_busy == 0


def test_keda_steps_from_zero_to_one_at_its_own_poll_and_then_by_four_or_by_double() -> None:
    world = World(at_once(5000, runs_for=30.0), Circumstances(starts_in=0.0))
    Keda().attach(world)
    counts: list[int] = []
    world.every(1.0, lambda: counts.append(len(world.staying)), first=0.5)
    world.run(at_most=70)
    assert list(dict.fromkeys(counts)) == [0, 1, 5, 10, 20, 30]
    assert counts.index(1) == 7  # at the first poll, 7.3 s


def test_keda_returns_to_zero_after_its_cooldown() -> None:
    world = World(at_once(10), Circumstances(starts_in=0.0))
    Keda().attach(world)
    world.run(at_most=Keda.COOLDOWN)
    assert len(world.staying) == 1
    world.run(at_most=Keda.COOLDOWN + 2 * Keda.POLL + 10)
    assert world.staying == []


def test_a_pod_that_must_stop_finishes_its_tasks_while_there_is_time_and_others_run_again() -> None:
    for runs_for, interrupted in ((50.0, 0), (70.0, 5)):
        load = at_once(5, runs_for=runs_for)
        world = World(load, Circumstances(starts_in=0.0, grace=60.0))
        world.scale(1, lambda _: (0.0,))
        world.every(1000.0, lambda world=world: world.scale(0, lambda _: (0.0,)), first=1.0)
        world.every(1000.0, lambda world=world: world.scale(1, lambda _: (0.0,)), first=2.0)
        world.run(at_most=500)
        assert world.counts.finished == 5
        assert world.counts.interrupted == interrupted
        assert world.counts.asked_to_stop_busy == 1


def test_a_pod_takes_no_more_than_its_concurrency_and_nothing_before_it_is_ready() -> None:
    world = World(at_once(25), Circumstances(concurrency=10, starts_in=4.0))
    world.scale(1, lambda _: (0.0,))
    seen: list[tuple[float, int]] = []
    world.every(0.5, lambda: seen.append((world.now, world.running)), first=0.25)
    world.run(at_most=20)
    assert max(running for _, running in seen) == 10
    assert all(running == 0 for at, running in seen if at < 4.0)
    assert world.counts.finished == 25
