"""The decision and the load it brings about: arrivals, a queue, workers that start and end tasks, polls, and back.

What is measured depends on the count and the count on what is measured. Proved here: that they come to rest together,
with the waiting time aimed at. Left out: which count one load asks for (test_decisions.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from longshore_operator.api.worker_pool import Autoscaling, WorkerPoolSpec
from longshore_operator.plan.load import Load, Work
from longshore_operator.plan.observed import PoolMemory
from longshore_operator.plan.replicas import Decision, decide_replicas
from plan.scenes import START

CONCURRENCY = 4


@dataclass(kw_only=True)
class Loop:
    """A queue with constant arrivals, in steps of a second, each with one poll. Workers are at work after `startup`."""

    arrivals: float  # tasks per second
    task: float  # seconds that one takes
    auto: dict[str, Any]
    startup: int = 5
    slower: float = 0.0  # how much slower each worker is with each further one: they share a bottleneck
    second: int = 0
    asked: int = 0
    live: int = 0
    waiting: deque[tuple[int, int]] = field(default_factory=deque)  # since when, how many
    running: deque[tuple[float, int]] = field(default_factory=deque)  # until when, how many
    coming: deque[tuple[int, int]] = field(default_factory=deque)  # from when on, how many workers
    ended: int = 0
    arrived: float = 0.0
    room: float = 0.0
    memory: PoolMemory | None = None
    counts: list[int] = field(default_factory=list)
    decision: Decision | None = None

    def __post_init__(self) -> None:
        self.spec = WorkerPoolSpec(
            queues=({"name": "mail"},), concurrency=CONCURRENCY, autoscaling=Autoscaling.model_validate(self.auto)
        )

    @property
    def speed(self) -> float:
        """What one worker can end per second now."""
        return CONCURRENCY / self.task / (1 + self.slower * max(0, self.live - 1))

    @property
    def backlog(self) -> int:
        return sum(count for _, count in self.waiting)

    @property
    def latency(self) -> int:
        """Seconds that the next task has waited."""
        return self.second - self.waiting[0][0] if self.waiting else 0

    @property
    def rate(self) -> float | None:
        assert self.memory is not None
        assert self.memory.throughput is not None
        return self.memory.throughput.rate

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second += 1
            self._work()
            self._poll()
            self.counts.append(self.asked)

    def _work(self) -> None:
        while self.coming and self.coming[0][0] <= self.second:
            self.live += self.coming.popleft()[1]
        self.arrived += self.arrivals
        if new := int(self.arrived):
            self.arrived -= new
            self.waiting.append((self.second, new))
        while self.running and self.running[0][0] <= self.second:
            self.ended += self.running.popleft()[1]
        if self.task >= 1:
            busy = sum(count for _, count in self.running)
            self._take(self.live * CONCURRENCY - busy, until=self.second + CONCURRENCY / self.speed)
        else:
            self.room += self.live * self.speed
            taken = self._take(int(self.room), until=self.second)
            self.room = self.room - taken if self.waiting else 0.0

    def _take(self, most: int, *, until: float) -> int:
        taken = 0
        while self.waiting and taken < most:
            since, count = self.waiting.popleft()
            now = min(count, most - taken)
            taken += now
            if now < count:
                self.waiting.appendleft((since, count - now))
        if taken:
            self.running.append((until, taken))
        return taken

    def _poll(self) -> None:
        now = START + timedelta(seconds=self.second)
        load = self._load(now)
        self.decision = decide_replicas(self.spec, load, found=self.asked, memory=self.memory, now=now)
        count = self.decision.replicas
        self.memory = self.decision.memory
        if count > self.asked:
            self.coming.append((self.second + self.startup, count - self.asked))
        elif count < self.asked:
            pending = sum(each for _, each in self.coming)
            self.coming.clear()  # those that are not ready go first
            if pending > self.asked - count:
                self.coming.append((self.second + self.startup, pending - (self.asked - count)))
            self.live = min(self.live, count)
        self.asked = count

    def _load(self, now: datetime) -> Load:
        if self.task >= 1:
            running = sum(count for _, count in self.running)
        else:
            running = self.live * CONCURRENCY if self.waiting else round(self.arrivals * self.task)
        hosts = [f"pod-{number}" for number in range(self.live)]
        work = Work(
            read_at=now,
            finished={"mail": self.ended},
            shares={"mail": 1.0},
            servers=frozenset(hosts),
            replicas=self.live,
            slots=self.live * CONCURRENCY,
            waiting_since=START + timedelta(seconds=self.waiting[0][0]) if self.waiting else None,
            settled=True,
        )
        # A task that is over within a moment is seldom seen by a heartbeat, so its worker seldom counts as busy.
        busy = min(running, self.live) if self.task >= 1 else 0
        return Load(waiting=Fraction(self.backlog), running=Fraction(running), busy=frozenset(hosts[:busy]), work=work)


ENOUGH: dict[str, Any] = {"maxReplicas": 100, "targetPerReplica": 1000, "targetLatency": "20s"}


@pytest.mark.parametrize("window", ["60s", "0s"])
@pytest.mark.parametrize(
    ("arrivals", "task"),
    [
        pytest.param(100, 0.1, id="short tasks that need two and a half workers"),
        pytest.param(120, 0.1, id="short tasks that need three workers exactly"),
        pytest.param(1000, 0.02, id="very short tasks"),
        pytest.param(13.7, 2.0, id="tasks of two seconds"),
        pytest.param(1.3, 20.0, id="tasks as long as the latency aimed at"),
        pytest.param(0.5, 0.3, id="so few that one worker is mostly idle"),
    ],
)
def test_count_and_speed_come_to_rest_with_the_latency_aimed_at(arrivals: float, task: float, window: str) -> None:
    loop = Loop(arrivals=arrivals, task=task, auto={**ENOUGH, "scaleDown": {"stabilization": window}})
    loop.run(1200)
    needed = arrivals / loop.speed
    assert len(set(loop.counts[600:])) == 1, loop.counts[600::10]
    # A task that takes longer keeps its worker, however few share the work.
    most = 1.1 * needed + 1 if task < 1 else arrivals * task + 1
    assert needed <= loop.counts[-1] <= most
    assert loop.latency <= 21
    if loop.rate is not None:
        assert 0.85 <= loop.rate / loop.speed <= 1.15
    else:
        assert needed < 1, "one worker that is never fully busy cannot be measured"


def test_a_backlog_is_worked_off_in_about_the_time_aimed_at() -> None:
    loop = Loop(arrivals=20, task=1.0, auto=ENOUGH)
    loop.run(900)
    loop.waiting.append((loop.second, 3000))
    loop.run(60)  # twenty seconds, the start of workers, and what comes meanwhile
    assert loop.latency <= 20
    loop.run(600)
    assert len(set(loop.counts[-300:])) == 1


def test_workers_that_slow_each_other_down_do_not_make_the_count_swing() -> None:
    loop = Loop(arrivals=30, task=0.2, slower=0.05, auto=ENOUGH)
    loop.run(1500)
    assert len(set(loop.counts[800:])) == 1, loop.counts[800::10]
    assert loop.latency <= 21


def test_a_bottleneck_that_no_count_overcomes_ends_at_the_maximum_and_stays_there() -> None:
    loop = Loop(arrivals=50, task=0.2, slower=1.0, auto={**ENOUGH, "maxReplicas": 12})
    loop.run(900)
    assert set(loop.counts[300:]) == {12}


def test_the_count_follows_a_load_that_falls_and_ends() -> None:
    loop = Loop(arrivals=100, task=0.1, auto=ENOUGH)
    loop.run(600)
    assert loop.counts[-1] == 3
    loop.arrivals = 30
    loop.run(300)
    assert loop.counts[-1] == 1
    loop.arrivals = 0
    loop.run(300)
    assert loop.counts[-1] == 0


def test_a_new_operator_goes_on_with_the_speed_that_is_known() -> None:
    loop = Loop(arrivals=100, task=0.1, auto=ENOUGH)
    loop.run(600)
    known, loop.memory = loop.rate, None
    assert known is not None
    now = START + timedelta(seconds=loop.second)
    loop.waiting.append((loop.second, 9000))
    decision = decide_replicas(loop.spec, loop._load(now), found=loop.asked, memory=None, now=now, known_rate=known)
    assert decision.text.startswith(f"3 → {decision.replicas}: 9000 waiting / (")
    assert decision.replicas >= 9000 / (1.15 * 40 * 20)
