"""What holds of the scaling decision whatever the fields, the load and the past: bounds, order, rest and care.

Proved over random histories: by hypothesis, which finds the smallest one that fails, and by many more from fixed seeds.
Left out: which count it is exactly (test_decisions.py) and loads that answer to the count (test_closed_loop.py).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from longshore_operator.api.worker_pool import Autoscaling, FallbackBehavior, WorkerPoolSpec
from longshore_operator.plan.load import Load, Work
from longshore_operator.plan.observed import PoolMemory
from longshore_operator.plan.replicas import Decision, decide_replicas
from plan.scenes import START

# Open in even minutes.
EVEN_MINUTES = {"cron": "*/2 * * * *", "duration": "1m"}
FIELDS: Mapping[str, Sequence[Any]] = {
    "minReplicas": [0, 0, 1, 3],
    "maxReplicas": [4, 5, 12, 30],
    "targetPerReplica": [1, 7, 40, None],
    "targetLatency": [None, "1s", "20s", "5m"],
    "scaleUp": [{}, {"stabilization": "10s"}, {"maxStep": 1}, {"maxStep": "10%", "stabilization": "3s"}],
    "scaleDown": [{}, {"stabilization": "0s"}, {"maxStep": 2, "stabilization": "5s"}, {"maxStep": "10%"}],
    "zeroAfter": ["0s", "30s", "2m"],
    "schedules": [None, [{**EVEN_MINUTES, "minReplicas": 2}], [{**EVEN_MINUTES, "minReplicas": 4}]],
    "fallback": [
        {},
        {"behavior": "Static", "replicas": 2, "afterFailures": 2},
        {"behavior": "CurrentIfHigher", "replicas": 3, "afterFailures": 1},
    ],
}


@dataclass(frozen=True, kw_only=True)
class Poll:
    """What happens so many seconds after the last poll."""

    after: float
    waiting: int
    running: int
    busy: int  # workers, as far as there are so many
    unseen: int
    ended: int  # attempts since the last poll
    event: str  # "" | failed | unreadable | restart | lower | raise

    def load(self, now: datetime, replicas: int, ended: int) -> Load | None:
        if self.event == "failed":
            return None
        hosts = [f"pod-{number}" for number in range(replicas)]
        work = Work(
            read_at=now,
            finished={"mail": ended},
            shares={"mail": 1.0},
            servers=frozenset(hosts),
            replicas=replicas,
            slots=4 * replicas,
            waiting_since=START - timedelta(days=1) if self.waiting else None,
            settled=True,
        )
        return Load(
            waiting=Fraction(self.waiting),
            running=Fraction(self.running),
            busy=frozenset(hosts[: min(self.busy, self.running)]),
            unseen=self.unseen,
            unreadable=("mail",) if self.event == "unreadable" else (),
            work=work,
        )


POLLS = st.builds(
    Poll,
    after=st.sampled_from([0.1, 1.0, 1.0, 2.0, 7.0, 31.0, 70.0]),
    waiting=st.sampled_from([0, 0, 1, 39, 40, 400, 2000]),
    running=st.integers(0, 60),
    busy=st.integers(0, 30),
    unseen=st.sampled_from([0, 0, 0, 1, 5]),
    ended=st.sampled_from([0, 3, 100]),
    event=st.sampled_from(["", "", "", "", "failed", "unreadable", "restart", "lower", "raise"]),
)
SPECS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FIELDS.items()})


def some_poll(any_of: random.Random) -> Poll:
    return Poll(
        after=any_of.choice([0.1, 1.0, 1.0, 2.0, 7.0, 31.0, 70.0]),
        waiting=any_of.choice([0, 0, 1, 39, 40, 400, 2000]),
        running=any_of.randrange(61),
        busy=any_of.randrange(31),
        unseen=any_of.choice([0, 0, 0, 1, 5]),
        ended=any_of.choice([0, 3, 100]),
        event=any_of.choice(["", "", "", "", "failed", "unreadable", "restart", "lower", "raise"]),
    )


class Run:
    """A pool over time. Each poll is decided, judged by what must always hold, and obeyed at once."""

    def __init__(self, fields: Mapping[str, Any], found: int) -> None:
        given_ = {name: value for name, value in fields.items() if value is not None}
        self.spec = WorkerPoolSpec(
            queues=({"name": "mail"},), concurrency=4, autoscaling=Autoscaling.model_validate(given_)
        )
        self.now = START
        self.count = found
        self.memory: PoolMemory | None = None
        self.failures = 0
        self.ended = 0
        self.started = START

    @property
    def auto(self) -> Autoscaling:
        assert self.spec.autoscaling is not None
        return self.spec.autoscaling

    def floor(self) -> int:
        """By the calendar, without the code that is tried."""
        opened = [each.min_replicas for each in self.auto.schedules or () if self.now.minute % 2 == 0]
        return min(max([self.auto.min_replicas, *opened]), self.auto.max_replicas)

    def poll(self, poll: Poll) -> Decision:
        self.now += timedelta(seconds=poll.after)
        self.failures = self.failures + 1 if poll.event == "failed" else 0
        self.ended += poll.ended
        if poll.event == "restart":
            self.memory, self.started = None, self.now
        if poll.event in ("lower", "raise"):
            bounds = {"max_replicas": max(4, self.auto.max_replicas + (-3 if poll.event == "lower" else 3))}
            self.spec = self.spec.model_copy(update={"autoscaling": self.auto.model_copy(update=bounds)})
        load = poll.load(self.now, self.count, self.ended)
        before = self.count
        decision = self.decide(load)
        self.judge(poll, load, before, decision)
        self.memory, self.count = decision.memory, decision.replicas
        return decision

    def decide(self, load: Load | None) -> Decision:
        return decide_replicas(
            self.spec, load, found=self.count, memory=self.memory, now=self.now, failures=self.failures
        )

    def judge(self, poll: Poll, load: Load | None, before: int, decision: Decision) -> None:
        count, auto = decision.replicas, self.auto
        assert self.floor() <= count <= auto.max_replicas
        if count < min(before, auto.max_replicas):  # it shrank, and not by a lowered bound
            if load is None:
                assert auto.fallback.behavior is FallbackBehavior.STATIC
            else:
                assert count >= len(load.busy)
                assert not load.unreadable
                assert self.now - self.started >= auto.scale_down.stabilization
        if load is not None:
            self.judge_more_work(poll, load, decision)

    def judge_more_work(self, poll: Poll, load: Load, decision: Decision) -> None:
        assert load.work is not None
        # With a task that has waited all the time, the stretch since the last poll tells the workers' speed.
        telling = replace(load.work, waiting_since=START - timedelta(days=1))
        for waiting, running in ((1, 0), (0, 1), (poll.ended, poll.busy), (5000, 0), (0, 5000)):
            more = replace(
                load,
                waiting=load.waiting + waiting,
                running=load.running + running,
                work=telling if waiting else load.work,
            )
            assert self.decide(more).replicas >= decision.replicas
        for more in (replace(load, unseen=load.unseen + 1, running=load.running + 1), replace(load, grouped=7)):
            assert self.decide(more).replicas >= decision.replicas


def judge_a_run(fields: Mapping[str, Any], found: int, polls: Sequence[Poll]) -> None:
    run = Run(fields, found)
    for poll in polls:
        run.poll(poll)


def judge_rest(fields: Mapping[str, Any], found: int, polls: Sequence[Poll], last: Poll) -> None:
    """After any past, on a load that stays the same, the count goes one way at most, and then stands still."""
    run = Run({**fields, "schedules": None}, found)
    for poll in polls:
        run.poll(poll)
    steady = replace(last, event="", ended=0)
    counts = []
    for seconds in [1.0] * 8 + [3.0] * 20 + [10.0] * 40:
        # Every worker ends one task a second: the flow and the speed are as steady as the load.
        run.poll(replace(steady, after=seconds, ended=int(seconds) * run.count))
        counts.append(run.count)
    ups = [(one, other) for one, other in pairwise(counts) if other > one]
    downs = [(one, other) for one, other in pairwise(counts) if other < one]
    assert not (ups and downs), counts
    assert len(set(counts[-5:])) == 1, counts


@settings(max_examples=100, deadline=None)
@given(fields=SPECS, found=st.integers(0, 30), polls=st.lists(POLLS, min_size=1, max_size=25))
def test_bounds_order_and_care_hold_in_every_history(
    fields: Mapping[str, Any], found: int, polls: Sequence[Poll]
) -> None:
    judge_a_run(fields, found, polls)


@settings(max_examples=40, deadline=None)
@given(fields=SPECS, found=st.integers(0, 30), polls=st.lists(POLLS, max_size=8), last=POLLS)
def test_a_constant_load_brings_the_count_to_rest(
    fields: Mapping[str, Any], found: int, polls: Sequence[Poll], last: Poll
) -> None:
    judge_rest(fields, found, polls, last)


def test_tens_of_thousands_of_polls_from_fixed_seeds_hold_too() -> None:
    for seed in range(800):
        any_of = random.Random(seed)
        fields = {name: any_of.choice(values) for name, values in FIELDS.items()}
        polls = [some_poll(any_of) for _ in range(12)]
        try:
            judge_a_run(fields, any_of.randrange(31), polls)
            if seed % 10 == 0:
                judge_rest(fields, any_of.randrange(31), polls[:4], polls[4])
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {fields}") from error


def test_a_speed_that_more_work_reveals_does_not_lower_the_count_it_comes_with() -> None:
    """Workers that turn out to be fast need fewer for the same flow, but only from the next poll on."""
    run = Run({"maxReplicas": 30, "targetLatency": "20s", "scaleDown": {"stabilization": "0s"}}, 20)
    quiet = Poll(after=1.0, waiting=0, running=1, busy=0, unseen=0, ended=0, event="")
    run.poll(quiet)
    assert run.memory is not None
    assert run.memory.throughput is not None
    # Twenty workers have ended ten tasks a second at one a second each; now a hundred end in one second.
    measured = replace(run.memory.throughput, rate=1.0, tasks=200.0, seconds=200.0, flow_before=10.0)
    run.memory, run.count = replace(run.memory, throughput=measured, replicas=20), 20
    assert run.poll(replace(quiet, ended=100)).replicas == 11
    assert run.memory.throughput is not None
    assert run.memory.throughput.flow is not None
    assert run.memory.throughput.flow > 10
