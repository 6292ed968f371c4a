"""The demo's verdict, by value: it passes a flawless story, and no story in which one thing went wrong.

Left out: how the evidence is gathered; the journey in this folder does that on a real cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from demo.evidence import Evidence, JournalEntry, PeriodicAccount, PodLife, QueueCount, ReplicaChange
from demo.verdict import judge

BURST = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)
ENTRY = "shop/default/release-baskets"

ONCE, FIRST, REPLICAS, KILLED, TICKS = range(5)  # the checks, in the summary's order


def after(seconds: float) -> datetime:
    return BURST + timedelta(seconds=seconds)


def ran(task: str, worker: str, start: float, end: float | None) -> list[JournalEntry]:
    """Give a task's lines in the journal; without an end it was cut off."""
    lines = [("started", start)] + ([("finished", end)] if end is not None else [])
    return [
        JournalEntry(at=after(at), event=event, task_id=task, task_type="email:welcome", retried=0, worker=worker)
        for event, at in lines
    ]


def tick(seconds: int) -> str:
    return f"periodic:{ENTRY}:{int(after(seconds).timestamp())}"


def journal(*runs: list[JournalEntry]) -> tuple[JournalEntry, ...]:
    return tuple(sorted((line for run in runs for line in run), key=lambda line: line.at))


FLAWLESS = Evidence(
    enqueued=("a", "b"),
    burst_at=BURST,
    burst_ended_at=after(1),
    pods_at_burst={"mail": 0},
    journal=journal(
        ran("a", "mail-1", 2, 3),
        ran("b", "mail-2", 2, 6),
        ran(tick(-20), "office-1", -18, -17),
        ran(tick(0), "office-1", 1, 2),
        ran(tick(20), "office-2", 22, 23),
    ),
    completed=frozenset({"a", "b", tick(-20), tick(0), tick(20)}),
    queues={"mail": QueueCount(completed=2), "office": QueueCount(completed=3)},
    burst_pools=("mail",),
    replicas={
        "mail": tuple(ReplicaChange(at=after(at), replicas=count) for at, count in ((-30, 0), (1, 2), (5, 1), (15, 0)))
    },
    pods=(
        PodLife(name="mail-1", pool="mail", told_to_stop_at=after(5), gone=True, exit_code=0),
        PodLife(name="mail-2", pool="mail", told_to_stop_at=after(15), gone=True, exit_code=0),
    ),
    periodic=(
        PeriodicAccount(
            name="release-baskets",
            entry_id=ENTRY,
            since=after(-40),
            every=timedelta(seconds=20),
            enqueued=3,
            missed=0,
            last_tick=after(20),
            suspended_at=after(30),
        ),
    ),
)


def failed(evidence: Evidence) -> set[int]:
    """Say which checks did not pass."""
    return {number for number, check in enumerate(judge(evidence)) if not check.passed}


def test_a_flawless_story_passes_every_check() -> None:
    assert failed(FLAWLESS) == set()


def test_the_first_start_is_counted_from_the_moment_before_the_first_enqueue() -> None:
    assert judge(FLAWLESS)[FIRST].claim == "the first task started 2.0 s after the burst"


def test_a_worker_told_to_stop_while_busy_is_counted_and_fine_when_it_finishes() -> None:
    told_early = replace(FLAWLESS, pods=(FLAWLESS.pods[0], replace(FLAWLESS.pods[1], told_to_stop_at=after(4))))
    check = judge(told_early)[KILLED]
    assert (check.passed, "1 of them had tasks running, and finished them" in check.detail) == (True, True)


def without(*tasks: str) -> tuple[JournalEntry, ...]:
    return tuple(line for line in FLAWLESS.journal if line.task_id not in tasks)


def of_periodic(**changes: object) -> Evidence:
    return replace(FLAWLESS, periodic=(replace(FLAWLESS.periodic[0], **changes),))  # type: ignore[arg-type]


FLAWS: dict[str, tuple[Callable[[], Evidence], set[int]]] = {
    "a task that never ran": (lambda: replace(FLAWLESS, journal=without("b")), {ONCE}),
    "nothing ever ran": (lambda: replace(FLAWLESS, journal=without("a", "b")), {ONCE, FIRST}),
    "a task that ran twice": (
        lambda: replace(FLAWLESS, journal=journal(list(FLAWLESS.journal), ran("b", "mail-2", 7, 8))),
        {ONCE},
    ),
    "a task cut off on one worker and run again on another": (
        lambda: replace(FLAWLESS, journal=journal(list(FLAWLESS.journal), ran("b", "mail-1", 1, None))),
        {ONCE, KILLED},
    ),
    "a task that was retried": (
        lambda: replace(FLAWLESS, journal=tuple(replace(e, retried=int(e.task_id == "b")) for e in FLAWLESS.journal)),
        {ONCE},
    ),
    "a task of nobody's": (
        lambda: replace(FLAWLESS, journal=journal(list(FLAWLESS.journal), ran("c", "mail-2", 7, 8))),
        {ONCE},
    ),
    "a task that ran and is not completed in Redis": (
        lambda: replace(FLAWLESS, completed=FLAWLESS.completed - {"b"}),
        {ONCE},
    ),
    "a task left in the archive": (
        lambda: replace(FLAWLESS, queues={"mail": QueueCount(completed=2, archived=1)}),
        {ONCE},
    ),
    "a failed attempt": (
        lambda: replace(FLAWLESS, queues={"mail": QueueCount(completed=2, failed_attempts=1)}),
        {ONCE},
    ),
    "a pod that stood ready before the burst": (lambda: replace(FLAWLESS, pods_at_burst={"mail": 1}), {REPLICAS}),
    "replicas above zero before the burst": (
        lambda: replace(FLAWLESS, replicas={"mail": FLAWLESS.replicas["mail"][1:]}),
        {REPLICAS},
    ),
    "replicas that never rose": (
        lambda: replace(FLAWLESS, replicas={"mail": FLAWLESS.replicas["mail"][:1]}),
        {REPLICAS},
    ),
    "replicas that did not return to zero": (
        lambda: replace(FLAWLESS, replicas={"mail": FLAWLESS.replicas["mail"][:-1]}),
        {REPLICAS},
    ),
    "a pod left at the end": (
        lambda: replace(FLAWLESS, pods=(FLAWLESS.pods[0], replace(FLAWLESS.pods[1], gone=False))),
        {REPLICAS},
    ),
    "a worker killed for good": (
        lambda: replace(FLAWLESS, pods=(replace(FLAWLESS.pods[0], exit_code=137), FLAWLESS.pods[1])),
        {KILLED},
    ),
    "a worker that restarted": (
        lambda: replace(FLAWLESS, pods=(replace(FLAWLESS.pods[0], restarts=1), FLAWLESS.pods[1])),
        {KILLED},
    ),
    "a tick that did not fire": (lambda: replace(FLAWLESS, journal=without(tick(0))), {TICKS}),
    "ticks that ended before the suspension": (
        lambda: replace(
            of_periodic(enqueued=2, last_tick=after(0)),
            journal=without(tick(20)),
        ),
        {TICKS},
    ),
    "a tick that fired twice": (
        lambda: replace(FLAWLESS, journal=journal(list(FLAWLESS.journal), ran(tick(0), "office-1", 3, 4))),
        {TICKS},
    ),
    "a tick between the ticks": (
        lambda: replace(
            of_periodic(enqueued=4),
            journal=journal(list(FLAWLESS.journal), ran(tick(7), "office-1", 8, 9)),
        ),
        {TICKS},
    ),
    "a tick given up as too late": (lambda: of_periodic(missed=1), {TICKS}),
    "no tick at all": (lambda: replace(FLAWLESS, periodic=()), {TICKS}),
}


@pytest.mark.parametrize(("make", "wrong"), FLAWS.values(), ids=FLAWS.keys())
def test_one_flaw_fails_the_checks_it_contradicts_and_no_other(make: Callable[[], Evidence], wrong: set[int]) -> None:
    assert failed(make()) == wrong
