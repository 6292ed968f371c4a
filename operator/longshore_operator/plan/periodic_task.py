"""The plan of a PeriodicTask: what to say of it. Its entry is written with its Broker's others (plan.entries)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from longshore.policy.jitter import jitter_of
from longshore.policy.periodic import Schedule
from longshore.protocol.periodic import entry_id
from longshore.protocol.snapshots import BrokerSnapshot
from longshore_operator.api import reasons
from longshore_operator.api.broker import Broker
from longshore_operator.api.conditions import READY, SCHEDULER_READY, SUSPENDED
from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.plan.actions import Plan
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.entries import found_entry
from longshore_operator.plan.observed import ObservedPeriodicTask
from longshore_operator.plan.periodic_entry import EntryProblem, parse_schedule, periodic_entry
from longshore_operator.plan.reading import current_snapshot, not_found, not_read_yet, reading_problem
from longshore_operator.plan.scheduler import scheduler_condition
from longshore_operator.plan.status import Report, report
from longshore_operator.plan.timestamps import format_time

_FIELDS = ("lastTick", "lastTaskID", "nextTick", "missedTicks", "skippedTicks")
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # where only the rest of an entry matters
_VOLATILE = frozenset(_FIELDS)  # `@every 1s` moves them each second


def plan_periodic_task(task: PeriodicTask, observed: ObservedPeriodicTask, now: datetime) -> Plan:
    """What to say of a PeriodicTask."""
    broker = observed.broker
    if broker is None:
        missing = [not_found(READY, task.spec.broker_ref), not_found(SCHEDULER_READY, task.spec.broker_ref)]
        return _plan(_report(task, [*missing, _suspended(task)], _kept(task), now))
    if not_read_yet(observed.reading):
        return Plan()
    problem = reading_problem(READY, broker, observed.reading)
    if problem is not None:
        unknown = Condition(type=SCHEDULER_READY, status=None, reason=problem.reason, message=problem.message)
        return _plan(_report(task, [_judged(task) or problem, unknown, _suspended(task)], _kept(task), now))
    snapshot = current_snapshot(observed.reading)
    if snapshot is not None and not snapshot.schedule_known:
        message = f"The server of Broker {broker.name} that has the entries cannot be read: {snapshot.problem}"
        lost = Condition(type=READY, status=False, reason=reasons.BROKER_UNREACHABLE, message=message)
        unknown = replace(lost, type=SCHEDULER_READY, status=None)
        return _plan(_report(task, [_judged(task) or lost, unknown, _suspended(task)], _kept(task), now))
    if snapshot is None:
        return Plan()  # one failed poll: nothing new is known, and nothing to be said yet
    return _plan(
        _report(task, _conditions(task, broker, observed, snapshot, now), _fields(task, broker, snapshot, now), now)
    )


def _conditions(
    task: PeriodicTask, broker: Broker, observed: ObservedPeriodicTask, snapshot: BrokerSnapshot, now: datetime
) -> list[Condition]:
    ready = _judged(task) or _never_fires(task, now)
    if ready is None and found_entry(snapshot.entries, task.name) is None:
        message = "The entry is about to be written to Redis."
        ready = Condition(type=READY, status=False, reason=reasons.NOT_HANDED_OVER, message=message)
        if observed.write_error is not None:
            message = f"The entry cannot be written to Redis: {observed.write_error}"
            ready = replace(ready, reason=reasons.WRITE_REFUSED, message=message)
    refused = snapshot.refused.get(task.name)
    if ready is None and refused is not None and snapshot.scheduler is not None:  # without one, the report is old
        message = f"The scheduler cannot carry out its ticks: {refused}"
        ready = Condition(type=READY, status=False, reason=reasons.TICKS_REFUSED, message=message)
    if ready is None:
        ready = Condition(type=READY, status=True, reason=reasons.OK, message="The schedule is in force.")
    return [ready, scheduler_condition(broker, snapshot, observed.scheduler), _suspended(task)]


def _judged(task: PeriodicTask) -> Condition | None:
    """Why the task cannot be an entry; None when it can."""
    try:
        periodic_entry(task, since=_ANY_TIME)
    except EntryProblem as problem:
        return Condition(type=READY, status=False, reason=problem.reason, message=problem.message)
    return None


def _never_fires(task: PeriodicTask, now: datetime) -> Condition | None:
    """Of a task whose schedule can be read."""
    if parse_schedule(task).next_after(now, now) is not None:
        return None
    message = f"spec.schedule: {task.spec.schedule!r} names no date within the next five years; correct it."
    return Condition(type=READY, status=False, reason=reasons.NEVER_FIRES, message=message)


def _suspended(task: PeriodicTask) -> Condition:
    if task.spec.suspend:
        message = "No tick is enqueued, because spec.suspend is true."
        return Condition(type=SUSPENDED, status=True, reason=reasons.SUSPENDED_BY_SPEC, message=message)
    return Condition(type=SUSPENDED, status=False, reason=reasons.NOT_SUSPENDED, message="Ticks are enqueued.")


def _fields(task: PeriodicTask, broker: Broker, snapshot: BrokerSnapshot, now: datetime) -> dict[str, Any]:
    record = snapshot.ticks.get(task.name)
    next_tick = _next_tick(task, broker, snapshot, now)
    fields: dict[str, Any] = {"nextTick": None if next_tick is None else format_time(next_tick)}
    if record is None:  # none yet, or lost with Redis: then our own note is what is left (see plan.entries)
        return {**_kept(task), **fields}
    last = record.last_tick
    return {
        "lastTick": task.status.get("lastTick") if last is None else format_time(last),
        "lastTaskID": record.last_task_id,
        "missedTicks": record.missed,
        "skippedTicks": record.skipped,
        **fields,
    }


def _next_tick(task: PeriodicTask, broker: Broker, snapshot: BrokerSnapshot, now: datetime) -> datetime | None:
    """When the entry in force brings its next task, jitter included; None while it brings none."""
    entry = found_entry(snapshot.entries, task.name)
    if task.spec.suspend or entry is None:
        return None
    try:
        schedule: Schedule = parse_schedule(task)
    except EntryProblem:
        return None
    return schedule.enqueued_after(now, entry.since, jitter_of(entry_id(broker.scope, task.name), entry))


def _kept(task: PeriodicTask) -> dict[str, Any]:
    return {name: task.status.get(name) for name in _FIELDS}


def _report(task: PeriodicTask, conditions: list[Condition], fields: Mapping[str, Any], now: datetime) -> Report:
    return report(task, conditions=conditions, fields=fields, volatile=_VOLATILE, now=now)


def _plan(written: Report) -> Plan:
    return Plan(status=written.status, urgent=written.urgent, notes=written.notes)
