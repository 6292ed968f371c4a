"""Evidence to checks: pure, so that the tests can ask it about evidence that must not pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from demo.evidence import Evidence, JournalEntry, PeriodicAccount

TICK_PREFIX = "periodic:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One claim of the summary."""

    claim: str
    passed: bool
    detail: str  # the figures when it passed, what contradicts it when not


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """Check every claim of the summary, in the order in which people read it."""
    return (
        _ran_exactly_once(evidence),
        _first_task_started(evidence),
        _replicas_rose_and_fell(evidence),
        _no_busy_worker_was_killed(evidence),
        _ticks_fired_once(evidence),
    )


def _check(claim: str, problems: Iterable[str], passed: str) -> Check:
    found = list(problems)
    return Check(claim=claim, passed=not found, detail="; ".join(found[:5]) if found else passed)


def _some(ids: Iterable[str]) -> str:
    """Name a few of many."""
    known = sorted(ids)
    return ", ".join(known[:3]) + (f" and {len(known) - 3} more" if len(known) > 3 else "")


def _ran_exactly_once(evidence: Evidence) -> Check:
    """Each id that Go got was started once, as a first attempt, and finished once; and Redis agrees."""
    wanted = set(evidence.enqueued)
    ours = [entry for entry in evidence.journal if not entry.task_id.startswith(TICK_PREFIX)]
    started = Counter(entry.task_id for entry in ours if entry.event == "started")
    finished = Counter(entry.task_id for entry in ours if entry.event == "finished")
    problems = []
    if len(wanted) != len(evidence.enqueued):
        problems.append("the producer was given the same id twice")
    for what, ids in (
        ("never started", wanted - started.keys()),
        ("never finished", wanted - finished.keys()),
        ("started more than once", {task for task, times in started.items() if times > 1}),
        ("finished more than once", {task for task, times in finished.items() if times > 1}),
        ("ran and was not enqueued by the producer", (started.keys() | finished.keys()) - wanted),
        ("was a repeated attempt", {entry.task_id for entry in ours if entry.retried}),
        ("is not completed in Redis", wanted - evidence.completed),
    ):
        if ids:
            problems.append(f"{len(ids)} tasks: {what} ({_some(ids)})")
    for name, queue in evidence.queues.items():
        left = queue.pending + queue.active + queue.scheduled + queue.retry + queue.archived
        if left or queue.failed_attempts:
            problems.append(f"queue {name}: {left} tasks not done, {queue.failed_attempts} failed attempts")
    return _check(
        "every task ran exactly once",
        problems,
        f"{len(wanted)} enqueued by Go, {len(finished)} done, 0 failed attempts",
    )


def _first_task_started(evidence: Evidence) -> Check:
    """The first start of one of the burst's tasks, against the moment before Go's first call."""
    wanted = set(evidence.enqueued)
    starts = [entry.at for entry in evidence.journal if entry.event == "started" and entry.task_id in wanted]
    ends = [entry.at for entry in evidence.journal if entry.event == "finished" and entry.task_id in wanted]
    if not starts or not ends:
        return Check(claim="the first task started after the burst", passed=False, detail="none ever ran")
    seconds = (min(starts) - evidence.burst_at).total_seconds()
    problems = [f"it started {-seconds:.1f} s before the burst"] if seconds < 0 else []
    whole = (max(ends) - evidence.burst_at).total_seconds()
    return _check(
        f"the first task started {seconds:.1f} s after the burst", problems, f"the last one ended after {whole:.0f} s"
    )


def _replicas_rose_and_fell(evidence: Evidence) -> Check:
    """No pod at the burst; then more than zero; and at the end zero, with every pod gone."""
    problems, peaks = [], []
    for pool in evidence.burst_pools:
        changes = evidence.replicas.get(pool, ())
        before = [change.replicas for change in changes if change.at < evidence.burst_at]
        after = [change.replicas for change in changes if change.at >= evidence.burst_at]
        if before[-1:] != [0] or evidence.pods_at_burst.get(pool, 0):
            problems.append(f"{pool}: not at zero when the burst came ({evidence.pods_at_burst.get(pool, 0)} pods)")
        if max(after, default=0) < 1:
            problems.append(f"{pool}: never rose above zero")
        if after[-1:] != [0]:
            problems.append(f"{pool}: not back at zero")
        if left := [pod.name for pod in evidence.pods if pod.pool == pool and not pod.gone]:
            problems.append(f"{pool}: pods left: {_some(left)}")
        peaks.append(f"{pool} {' → '.join(str(count) for count in [*before[-1:], *after])}")
    return _check("replicas went 0 → N → 0", problems, "; ".join(peaks))


def _no_busy_worker_was_killed(evidence: Evidence) -> Check:
    """What a worker started, that worker finished; and no worker's process ended but by itself, with code 0.

    A worker may be busy when it is told to stop, if it finishes what it has; those are counted. A kill shows as a start
    without its finish on the same pod, whether or not another worker ran the task again, or as an exit code.
    """
    open_tasks: Counter[tuple[str, str]] = Counter()
    for entry in evidence.journal:
        open_tasks[entry.worker, entry.task_id] += 1 if entry.event == "started" else -1
    cut_off: dict[str, set[str]] = {}
    for (worker, task), left in open_tasks.items():
        if left > 0:
            cut_off.setdefault(worker, set()).add(task)
    problems = [
        f"{worker} started {len(tasks)} tasks that it did not finish ({_some(tasks)})"
        for worker, tasks in sorted(cut_off.items())
    ]
    for pod in evidence.pods:
        if pod.exit_code not in (None, 0):
            problems.append(f"{pod.name} ended with code {pod.exit_code} ({pod.exit_reason})")
        if pod.restarts:
            problems.append(f"{pod.name} restarted {pod.restarts} times")
    stopped = [pod for pod in evidence.pods if pod.told_to_stop_at is not None]
    busy = sum(1 for pod in stopped if pod.told_to_stop_at and _ran_at(evidence.journal, pod.name, pod.told_to_stop_at))
    clean = sum(1 for pod in stopped if pod.exit_code == 0)
    finished = f"{busy} of them had tasks running, and finished them" if busy else "none of them had a task running"
    return _check(
        "no busy worker was killed",
        problems,
        f"{len(stopped)} workers stopped; {finished}; {clean} seen ending with code 0",
    )


def _ran_at(journal: Iterable[JournalEntry], worker: str, moment: datetime) -> bool:
    """Whether a worker had a task running at a moment."""
    running: set[str] = set()
    for entry in journal:
        if entry.worker != worker or entry.at > moment:
            continue
        (running.add if entry.event == "started" else running.discard)(entry.task_id)
    return bool(running)


def _ticks_fired_once(evidence: Evidence) -> Check:
    """Every tick of an @every schedule up to its end became one task that ran once, and none besides."""
    problems: list[str] = []
    total = 0
    for account in evidence.periodic:
        found, ticks = _tick_problems(account, evidence.journal)
        problems += found
        total += ticks
    if not total:
        problems.append("no tick was due during the demo")
    names = ", ".join(f"{account.name} {account.enqueued}" for account in evidence.periodic if account.enqueued)
    return _check("each cron tick fired once", problems, f"{total} ticks, none missed, none twice ({names})")


def _tick_problems(account: PeriodicAccount, journal: Iterable[JournalEntry]) -> tuple[list[str], int]:
    prefix = f"{TICK_PREFIX}{account.entry_id}:"
    ours = [entry for entry in journal if entry.task_id.startswith(prefix)]
    started = Counter(int(entry.task_id.removeprefix(prefix)) for entry in ours if entry.event == "started")
    finished = Counter(int(entry.task_id.removeprefix(prefix)) for entry in ours if entry.event == "finished")
    problems = []
    if twice := sorted(tick for tick, times in (started + finished).items() if times > 2):
        problems.append(f"{account.name}: ran more than once for {twice}")
    if started.keys() != finished.keys():
        problems.append(f"{account.name}: started and not finished for {sorted(started.keys() ^ finished.keys())}")
    if account.missed:
        problems.append(f"{account.name}: {account.missed} ticks missed")
    if account.enqueued != len(started):
        problems.append(f"{account.name}: {account.enqueued} ticks recorded, {len(started)} ran")
    if account.every is not None:
        problems += _gaps(account, started)
    return problems, len(started)


def _gaps(account: PeriodicAccount, started: Counter[int]) -> list[str]:
    """Ticks of an @every schedule come at since + k·every: which of them, up to the last due one, did not run?"""
    assert account.every is not None
    since, step = int(account.since.timestamp()), int(account.every.total_seconds())
    newest = int(account.last_tick.timestamp()) if account.last_tick else since
    if account.suspended_at is not None:
        # A tick within a moment of the suspension may fall on either side of it.
        newest = max(newest, since + (int(account.suspended_at.timestamp()) - 2 - since) // step * step)
    expected = set(range(since + step, newest + 1, step))
    problems = []
    if absent := sorted(expected - started.keys()):
        problems.append(f"{account.name}: no run for the ticks {absent}")
    if strange := sorted(started.keys() - expected):
        problems.append(f"{account.name}: runs for {strange}, which are no ticks")
    return problems
