"""How fast the workers of a pool are, and how many tasks flow through it: measured, never assumed.

What is counted are attempts that ended, from the day's counters that Asynq's servers keep in any language. They tell
the speed of a worker only while every worker has all it can do. So only those stretches count between whose two polls
some task waited all the time, while the same workers lived. Older evidence counts less and less, by time and by tasks:
half after a minute, but not before every slot has ended three more tasks, so that slow tasks are measured, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from longshore_operator.plan.load import Work

# The speed is known once this many tasks have ended for each one that runs at once. After k rounds of tasks that began
# together the number of those that ended is wrong by at most one part in k.
_ROUNDS_NEEDED = 2
_SECONDS_NEEDED = 10.0  # … of each worker at full load
_HALF_AFTER_S = 60.0
_HALF_AFTER_ROUNDS = 3
# Polls further apart say too little of what was between them.
_LONGEST_STRETCH = timedelta(seconds=30)
_FLOW_OVER_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """What has been measured so far, and what is needed to go on."""

    subject: object  # what the workers are; another subject is another speed
    rate: float | None = None  # tasks per second of one replica at full load; None: not measured yet
    last: Work | None = None  # the reading that the next one is compared with
    tasks: float = 0.0  # that ended at full load, older ones counting less
    seconds: float = 0.0  # … within so many seconds of one replica
    # The flow: what ended since `flow_since`, and per second in the stretch before it.
    flow_since: datetime | None = None
    flow_tasks: float = 0.0
    flow_before: float | None = None

    @property
    def flow(self) -> float | None:
        """Tasks per second that the pool has ended lately, at whatever load; None: not known for long enough."""
        if self.flow_before is None or self.flow_since is None or self.last is None:
            return None
        elapsed = (self.last.read_at - self.flow_since).total_seconds()
        return (self.flow_tasks + self.flow_before * max(0.0, _FLOW_OVER_S - elapsed)) / max(_FLOW_OVER_S, elapsed)


def measure(known: Throughput | None, work: Work | None, subject: object, *, rate: float | None = None) -> Throughput:
    """Take in a reading; the same one twice counts once. ``work``: None when Redis could not be read.

    ``rate``: of the same subject, measured by an earlier process, for the time until this one has measured.
    """
    if known is None:
        return Throughput(subject=subject, rate=rate, last=work, flow_since=None if work is None else work.read_at)
    if known.subject != subject:
        # The load stays what it was; the speed of other workers says nothing of these.
        known = replace(known, subject=subject, rate=None, tasks=0.0, seconds=0.0)
    last = known.last
    if work is None or (last is not None and work.read_at == last.read_at):
        return known
    if last is None or known.flow_since is None or work.read_at < last.read_at:
        return replace(known, last=work, flow_since=work.read_at, flow_tasks=0.0, flow_before=None)
    ended = _ended(last, work)
    known = replace(known, last=work)
    if ended is None:
        return known
    known = _add_to_flow(known, ended, work.read_at)
    stretch = work.read_at - last.read_at
    return _add_to_rate(known, ended, stretch.total_seconds(), work) if _at_full_load(last, work) else known


def worked(known: Throughput | None, work: Work | None) -> bool:
    """Whether the pool has ended a task since the last reading, be it one that no poll has seen waiting or running."""
    last = None if known is None else known.last
    return bool(last is not None and work is not None and _ended(last, work))


def _ended(last: Work, work: Work) -> float | None:
    """The pool's part of the attempts that ended in between; None when counters began anew (midnight UTC)."""
    total = 0.0
    for name, count in work.finished.items():
        before = last.finished.get(name)
        if before is None:
            continue
        if count < before:
            return None
        total += (count - before) * work.shares[name]
    return total


def _at_full_load(last: Work, work: Work) -> bool:
    """Whether every worker had a task to take at any time between the two readings."""
    return (
        work.read_at - last.read_at <= _LONGEST_STRETCH
        and work.replicas > 0
        and work.servers == last.servers
        and work.settled
        and last.settled
        and work.waiting_since is not None
        and work.waiting_since <= last.read_at
    )


def _add_to_rate(known: Throughput, ended: float, seconds: float, work: Work) -> Throughput:
    def enough(tasks: float, replica_seconds: float) -> bool:
        return tasks >= _ROUNDS_NEEDED * slots and replica_seconds >= _SECONDS_NEEDED * work.replicas

    slots = max(work.slots, work.replicas)
    tasks, replica_seconds = known.tasks, known.seconds
    if enough(tasks, replica_seconds):
        kept = 0.5 ** min(seconds / _HALF_AFTER_S, ended / (_HALF_AFTER_ROUNDS * slots))
        tasks, replica_seconds = tasks * kept, replica_seconds * kept
    tasks, replica_seconds = tasks + ended, replica_seconds + seconds * work.replicas
    rate = tasks / replica_seconds if enough(tasks, replica_seconds) else known.rate
    return replace(known, tasks=tasks, seconds=replica_seconds, rate=rate)


def _add_to_flow(known: Throughput, ended: float, now: datetime) -> Throughput:
    assert known.flow_since is not None
    tasks, elapsed = known.flow_tasks + ended, (now - known.flow_since).total_seconds()
    if elapsed < _FLOW_OVER_S:
        return replace(known, flow_tasks=tasks)
    return replace(known, flow_since=now, flow_tasks=0.0, flow_before=tasks / elapsed)
