"""How many workers a pool shall have, and why. Its one input from the past is what the last decision remembered.

    waiting  = Σ over its unpaused queues of pending + due within lookahead, split among the pools that serve the queue
               by their weights
    demand   = ⌈(waiting + running) / targetPerReplica⌉
    demand   = max(demand, ⌈waiting / (throughputPerReplica × targetLatency)⌉), once that has been measured
    grow     : to the lowest demand within scaleUp.stabilization
    shrink   : to the highest demand within scaleDown.stabilization, never below the number of busy workers, and with
               a targetLatency never below what the present flow of tasks needs
    to zero  : only when nothing has waited, run, ended or been due for zeroAfter
    desired  = the result, at most maxStep away, within maxReplicas and the greater of minReplicas and the minReplicas
               of every open schedule

There is no tolerance band and no threshold for the first worker. What a person orders (a fixed count, new bounds, a
fallback) is obeyed at once, without any window. What cannot be read changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from longshore_operator.api import reasons
from longshore_operator.api.durations import format_duration
from longshore_operator.api.worker_pool import Autoscaling, FallbackBehavior, ScaleDown, ScaleUp, WorkerPoolSpec
from longshore_operator.plan.load import Load
from longshore_operator.plan.observed import PoolMemory
from longshore_operator.plan.pool_memory import forget, none_later, remember
from longshore_operator.plan.throughput import Throughput, measure, worked
from longshore_operator.plan.windows import windows_at

# Asynq's servers publish what they run every 5 seconds. A shrink waits so long for tasks that were taken since to show
# up, because a pod that looks idle may just have taken one of them.
HEARTBEAT_LAG = timedelta(seconds=10)
# Plans are also made between polls, when an object changes; those are no further steps.
_SHORTEST_STEP = timedelta(milliseconds=400)
# A shrink leaves room for so much more than the present flow. Without it a count that just suffices and one more would
# take turns, since neither a speed nor a flow is measured to the last digit.
_ROOM = 1.1
# What rounding of floating-point numbers may add to a quotient; a count must not depend on it.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A pool's count for now."""

    replicas: int  # what the Deployment gets
    wanted: int  # what was decided: another count than `replicas` only in a dry run
    previous: int  # the count until now
    text: str  # what was decided and why, in one line
    limit: str | None  # reasons.MAX_REPLICAS or STEP_LIMITED when the backlog asks for another count
    fallback: FallbackBehavior | None = None  # Static or CurrentIfHigher when it is in force; Redis cannot be read then
    memory: PoolMemory


def decide_replicas(
    spec: WorkerPoolSpec,
    load: Load | None,
    *,
    found: int | None,
    memory: PoolMemory | None,
    now: datetime,
    failures: int = 0,
    known_rate: float | None = None,
) -> Decision:
    """The count of a pool.

    ``load``: None when the Broker cannot be read; ``failures`` are the polls that failed in a row. ``found``: the
    Deployment's count; None when there is none. ``known_rate``: the throughputPerReplica that an earlier process left
    behind. Without ``memory`` the process has just started: it adopts the count it finds and treats it as the demand
    until now, so that nothing shrinks before one full window has passed.
    """
    adopted = memory is None
    count = 0 if found is None else found
    if memory is None:
        memory = forget(PoolMemory(observed_since=now, replicas=count), count, now)
    memory = none_later(memory, now)
    subject = (spec.image, spec.app, spec.concurrency, spec.queues, spec.template)
    known = memory.throughput
    if known is None or known.subject != subject:
        known = measure(known, None, subject, rate=known_rate if known is None else None)
    auto = spec.autoscaling
    windows = None
    if auto is not None and auto.schedules:
        windows = windows_at(auto.schedules, now, memory.windows)
    memory = replace(memory, throughput=known, windows=windows)
    if auto is None or not auto.dry_run:
        decision = _decide(spec, load, memory, now, failures=failures, adopted=adopted, fresh=adopted and found is None)
    else:
        memory = replace(memory, replicas=count)
        decision = _only_told(
            _decide(spec, load, memory, now, failures=failures, adopted=adopted, fresh=False), memory, count
        )
    # Only now: that more tasks wait may change what is measured, and must not lower what is decided from it.
    measured = measure(known, load.work if load else None, subject)
    return replace(decision, memory=replace(decision.memory, throughput=measured))


def _only_told(decision: Decision, before: PoolMemory, found: int) -> Decision:
    """The decision as a dry run reports it: the count stays as it is found, and no step was made."""
    memory = replace(decision.memory, replicas=found, grown_at=before.grown_at, shrunk_at=before.shrunk_at)
    verb = "stay" if decision.wanted == found else "go"
    return replace(
        decision, replicas=found, previous=found, text=f"dry run: would {verb} {decision.text}", memory=memory
    )


def _decide(
    spec: WorkerPoolSpec,
    load: Load | None,
    memory: PoolMemory,
    now: datetime,
    *,
    failures: int,
    adopted: bool,
    fresh: bool,
) -> Decision:
    """``adopted``: the count was only just found, and, when ``fresh``, there is no Deployment at all yet."""
    auto = spec.autoscaling
    if auto is None:
        memory = forget(memory, spec.replicas, now)
        return _settle(memory, spec.replicas, f"replicas is {spec.replicas}", None, now, adopted=adopted)
    current = memory.replicas
    if auto.paused:
        count = auto.min_replicas if fresh else current  # when fresh, there is no count to freeze
        memory = forget(memory, count, now)
        return _settle(memory, count, "autoscaling is paused", None, now, adopted=adopted)
    floor = max(auto.min_replicas, memory.windows.min_replicas if memory.windows else 0)
    if load is None:
        return _unread(auto, memory, floor, now, failures=failures, adopted=adopted)

    demand, formula = _demand(spec, load, memory.throughput)
    memory = remember(memory, auto, demand, now)
    idle = load.idle and not worked(memory.throughput, load.work)
    memory = replace(memory, idle_since=(memory.idle_since or now) if idle else None)
    if demand >= current:
        memory = replace(memory, shrink_held_since=None)
        count, why, limit = _grow(auto, memory, current, demand, now)
    else:
        memory, count, why, limit = _shrink(auto, memory, load, current, demand, now)
    bounded = min(max(count, floor), auto.max_replicas)
    if bounded < count:
        why, limit = "limited by maxReplicas", reasons.MAX_REPLICAS if demand > bounded else None
    elif bounded > count:
        why = "at least minReplicas"
        if memory.windows is not None and memory.windows.open is not None and floor > auto.min_replicas:
            why = f"at least {floor} by the schedule {memory.windows.open.cron}"
        if demand <= bounded:
            limit = None  # not maxStep is what keeps the count from its demand
    text = formula if why is None else f"{formula}, {why}"
    return _settle(memory, bounded, text, limit, now, adopted=adopted)


def _unread(
    auto: Autoscaling, memory: PoolMemory, floor: int, now: datetime, *, failures: int, adopted: bool
) -> Decision:
    """Hold, or fall back. Either way the count stands for the demand, so that a shrink afterwards waits its window."""
    fallback, current = auto.fallback, memory.replicas
    in_force, count, text = None, current, "held while the Broker cannot be read"
    if fallback.behavior is not FallbackBehavior.HOLD and failures >= fallback.after_failures:
        in_force, count = fallback.behavior, fallback.replicas or 0
        if in_force is FallbackBehavior.CURRENT_IF_HIGHER:
            count = max(current, count)
        text = f"fallback {in_force} {fallback.replicas or 0}, because the Broker cannot be read"
    count = min(max(count, floor), auto.max_replicas)
    memory = remember(replace(memory, idle_since=None, shrink_held_since=None), auto, count, now)
    return replace(_settle(memory, count, text, None, now, adopted=adopted), fallback=in_force)


def _demand(spec: WorkerPoolSpec, load: Load, throughput: Throughput | None) -> tuple[int, str]:
    """The workers that the load asks for, and the sum in words."""
    assert spec.autoscaling is not None
    target, latency = spec.autoscaling.target_per_replica or 2 * spec.concurrency, spec.autoscaling.target_latency
    demand = math.ceil((load.waiting + load.running) / target)
    waiting, running = math.ceil(load.waiting), math.ceil(load.running)
    rate = throughput.rate if throughput else None
    if latency is not None and rate and load.waiting:
        in_time = _ceil(float(load.waiting) / (rate * latency.total_seconds()))
        if in_time > demand:
            speed = f"{_number(rate)}/s per replica"
            return in_time, f"{waiting} waiting / ({speed} × {format_duration(latency)}) = {in_time}"
    parts = [f"{waiting} waiting"] if waiting else []
    if running:
        parts.append(f"{running} running")
    if parts:
        return demand, f"{' + '.join(parts)} / {target} per replica = {demand}"
    if load.grouped:
        # Groups are aggregated by a server, so one must run; how many tasks they hold says nothing about the work.
        return 1, f"{load.grouped} in groups"
    return 0, "nothing waits or runs"


def _grow(
    auto: Autoscaling, memory: PoolMemory, current: int, demand: int, now: datetime
) -> tuple[int, str | None, str | None]:
    lowest = memory.lows[0][1]
    count = max(current, lowest)
    why = None
    if count < demand:
        why = f"not for {format_duration(auto.scale_up.stabilization)} yet"
    allowed = _allowed(auto.scale_up, auto, since=memory.grown_at, now=now)
    if allowed is not None and count - current > allowed:
        return current + allowed, "limited by scaleUp.maxStep", reasons.STEP_LIMITED
    return count, why, None


def _shrink(
    auto: Autoscaling, memory: PoolMemory, load: Load, current: int, demand: int, now: datetime
) -> tuple[PoolMemory, int, str | None, str | None]:
    """The count, not below what any of the guards of running work allows; the strictest one gives the reason."""
    count, why = demand, None
    highest = memory.highs[0][1]
    if highest > count:
        count, why = highest, f"more was needed within {format_duration(auto.scale_down.stabilization)}"
    busy = len(load.busy)
    if busy > count:
        count, why = busy, f"{busy} are busy"
    if auto.target_latency is not None and memory.throughput is not None and memory.throughput.rate:
        count, why = _with_the_flow(memory.throughput, count, current, why)
    if count == 0:
        idle = timedelta() if memory.idle_since is None else now - memory.idle_since
        if memory.idle_since is None or idle < auto.zero_after:
            count, why = 1, f"to zero after {format_duration(auto.zero_after)} without a task"
    if load.unreadable:
        count, why = current, f"kept while queue {load.unreadable[0]} cannot be read"
    elif not load.heartbeats_known:
        count, why = current, "kept while some workers' heartbeats cannot be read"
    if count >= current:
        return replace(memory, shrink_held_since=None), current, why, None

    held_since = None
    if load.unseen:
        held_since = memory.shrink_held_since or now
        if now - held_since < HEARTBEAT_LAG:
            memory = replace(memory, shrink_held_since=held_since)
            return memory, current, "kept until heartbeats tell who runs what", None
        # Each of them may run on a worker of its own that looks idle.
        count = max(count, min(current, busy + load.unseen))
    memory = replace(memory, shrink_held_since=held_since)
    allowed = _allowed(auto.scale_down, auto, since=memory.shrunk_at, now=now)
    if allowed is not None and current - count > allowed:
        return memory, current - allowed, "limited by scaleDown.maxStep", reasons.STEP_LIMITED
    return memory, count, why, None


def _allowed(rule: ScaleUp | ScaleDown, auto: Autoscaling, *, since: datetime | None, now: datetime) -> int | None:
    """How far the count may go now; None: as far as it likes. ``since``: when it last went that way."""
    if isinstance(rule.max_step, int):
        step = rule.max_step
    else:
        percent = int(rule.max_step.removesuffix("%"))
        if percent >= 100:
            return None
        step = math.ceil(auto.max_replicas * percent / 100)
    if since is not None and now - since < max(rule.stabilization, _SHORTEST_STEP):
        return 0
    return step


def _with_the_flow(throughput: Throughput, count: int, current: int, why: str | None) -> tuple[int, str | None]:
    """Not fewer than what ends per second now needs: with fewer, the same tasks would wait and bring them back."""
    assert throughput.rate
    if throughput.flow is None:
        return current, "kept until the flow of tasks is known"
    needed = min(_ceil(_ROOM * throughput.flow / throughput.rate), current)
    if needed > count:
        return needed, f"{_number(throughput.flow)}/s need {needed} at {_number(throughput.rate)}/s per replica"
    return count, why


def _ceil(quotient: float) -> int:
    return math.ceil(min(quotient, 1e9) - _ROUNDING)  # a tiny rate asks for more than anybody can have


def _number(number: float) -> str:
    """Two significant digits, and all of those before the point."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def _settle(memory: PoolMemory, count: int, text: str, limit: str | None, now: datetime, *, adopted: bool) -> Decision:
    current = memory.replicas
    if count == current:
        return Decision(
            replicas=count, wanted=count, previous=current, text=f"{count}: {text}", limit=limit, memory=memory
        )
    # A count that this process finds and corrects at its start is no step of its own: it bars no other.
    if not adopted:
        memory = replace(memory, grown_at=now) if count > current else replace(memory, shrunk_at=now)
    memory = replace(memory, replicas=count)
    text = f"{current} → {count}: {text}"
    return Decision(replicas=count, wanted=count, previous=current, text=text, limit=limit, memory=memory)
