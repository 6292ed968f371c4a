"""What one run showed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulation.loads import Load
from simulation.scalers import Scaler
from simulation.world import Circumstances, World

STEP = 1.0  # seconds between two samples
_AFTER = 3600.0  # at most so long beyond the load


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One moment."""

    at: float
    needed: int  # replicas that the tasks of this moment are worth, within the bounds
    ready: int  # pods that take tasks
    paid: int  # pods that exist, starting and stopping ones included
    waiting: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One scaler on one load."""

    scaler: str
    load: Load
    samples: tuple[Sample, ...]
    reactions: tuple[float, ...]  # of each burst: seconds until the count was raised
    under: float  # replica-seconds that were needed and not ready
    over: float  # replica-seconds that were paid for and not needed
    wait_p50: float
    wait_p95: float
    asked_to_stop_busy: int
    interrupted: int


def simulate(load: Load, scaler: Scaler, circumstances: Circumstances | None = None) -> Outcome:
    """Run the load to its end, and on until all pods are gone."""
    circumstances = circumstances or Circumstances()
    world = World(load, circumstances)
    scaler.attach(world)
    samples: list[Sample] = []

    def look() -> None:
        tasks = len(world.waiting) + world.running
        samples.append(
            Sample(
                at=world.now,
                needed=min(math.ceil(tasks / circumstances.target_per_replica), circumstances.max_replicas),
                ready=len(world.ready),
                paid=len(world.pods),
                waiting=len(world.waiting),
            )
        )

    world.every(STEP, look, first=0.0)
    world.run(at_most=load.lasts + _AFTER)
    assert world.counts.finished == len(load.tasks), "tasks were left"
    waits = sorted(world.counts.waits)
    return Outcome(
        scaler=scaler.name,
        load=load,
        samples=tuple(samples),
        reactions=tuple(_reaction(samples, burst) for burst in load.bursts_at),
        under=STEP * sum(max(0, sample.needed - sample.ready) for sample in samples),
        over=STEP * sum(max(0, sample.paid - sample.needed) for sample in samples),
        wait_p50=_quantile(waits, 0.50),
        wait_p95=_quantile(waits, 0.95),
        asked_to_stop_busy=world.counts.asked_to_stop_busy,
        interrupted=world.counts.interrupted,
    )


def _reaction(samples: list[Sample], burst: float) -> float:
    before = next(sample.paid for sample in reversed(samples) if sample.at <= burst)
    return next(sample.at - burst for sample in samples if sample.at > burst and sample.paid > before)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))]
