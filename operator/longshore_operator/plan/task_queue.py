"""The plan of a Queue: its pause key, and what to say of its depth."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from longshore.protocol.snapshots import QueueSnapshot
from longshore_operator.api import reasons
from longshore_operator.api.conditions import LATENCY_HIGH, PAUSED, READY
from longshore_operator.api.durations import format_duration
from longshore_operator.api.queue import Queue
from longshore_operator.plan.actions import Action, Note, Plan, SetPaused
from longshore_operator.plan.archive import TRIMMED_FIELD, archive_note, plan_archive, trimmed_tasks
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.names import QUEUE_FINALIZER
from longshore_operator.plan.observed import ObservedQueue
from longshore_operator.plan.queue_deletion import finalizer, out_of_reach, release, retire
from longshore_operator.plan.reading import current_snapshot, not_found, not_read_yet, reading_problem
from longshore_operator.plan.status import Report, report

_COUNTS = ("pending", "active", "scheduled", "retry", "archived", "completed", "aggregating")
_VOLATILE = frozenset({*_COUNTS, "latencySeconds", "processedToday", "failedToday", TRIMMED_FIELD})
# Latency has to fall so far below the objective before it is good again, so that one that hovers at it is no news.
_CLEARED = 0.9


def plan_queue(queue: Queue, observed: ObservedQueue, now: datetime) -> Plan:
    """What to do for a Queue object."""
    if queue.deleting:
        return (release(queue, observed) or _plan_readable(queue, observed, now)) if _held(queue) else Plan()
    winner = _winner(queue, observed.rivals)
    if winner is not queue and observed.broker is not None:
        message = (
            f"{winner.ref} is older and stands for queue {queue.queue_name} of Broker {queue.spec.broker_ref}; "
            "delete one of the two."
        )
        plan = _not_ready(queue, _ready(False, reasons.CONFLICT, message), now)
    else:
        plan = _plan_readable(queue, observed, now)
    held = finalizer(queue, stands=winner is queue)
    return plan if held is None else replace(plan, actions=(held, *plan.actions))


def _plan_readable(queue: Queue, observed: ObservedQueue, now: datetime) -> Plan:
    """The plan of the Queue that stands for its queue, as far as Redis can be read."""
    if observed.broker is None:
        return _not_ready(queue, not_found(READY, queue.spec.broker_ref), now)
    if not_read_yet(observed.reading):
        return Plan()
    problem = reading_problem(READY, observed.broker, observed.reading)
    snapshot = current_snapshot(observed.reading)
    depth = None if snapshot is None else snapshot.queues.get(queue.queue_name)
    if depth is None:
        # Nothing new is known: a failed poll, or one that did not ask for this queue yet. The last numbers stay.
        return Plan() if problem is None else _not_ready(queue, problem, now, keep_numbers=True)
    if depth.unreachable:
        message = f"The server of Broker {observed.broker.name} that has the queue cannot be read: {depth.problem}"
        return _not_ready(queue, _ready(False, reasons.BROKER_UNREACHABLE, message), now, keep_numbers=True)
    if depth.problem is not None:
        return _not_ready(queue, _ready(False, reasons.WRONG_TYPE, depth.problem), now, depth=depth)
    if queue.deleting:
        retirement, condition = retire(queue, depth)
        actions = () if retirement is None else (retirement,)
        written = _report(queue, depth, _with_error_of(actions, observed), depth.paused, [condition], now)
        return Plan(actions=actions, status=written.status, urgent=written.urgent, notes=written.notes)
    return _plan(queue, depth, observed, now)


def _held(queue: Queue) -> bool:
    return QUEUE_FINALIZER in queue.metadata.finalizers


def _plan(queue: Queue, depth: QueueSnapshot, observed: ObservedQueue, now: datetime) -> Plan:
    wanted = queue.spec.paused
    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    paused = depth.paused
    if wanted is not None and wanted != depth.paused:
        paused = wanted if observed.write_error is None else depth.paused
        why = "spec.paused is true" if wanted else "spec.paused is false"
        actions = (SetPaused(queue=queue.queue_name, paused=wanted, why=why),)
        if _obeyed_before(queue, wanted) and observed.write_error is None:
            verb = "resumed" if wanted else "paused"
            message = f"Queue {queue.queue_name} was {verb} by hand; put back, because {why}."
            notes = (Note(type="Warning", reason=reasons.PAUSE_RESTORED, message=message),)
    limit = plan_archive(queue, depth, observed.reading.read_at, observed.archive, now)
    if limit is not None:
        actions = (*actions, limit)
    trimmed = archive_note(observed.archive, now)
    if trimmed is not None:
        notes = (*notes, trimmed)
    written = _report(queue, depth, _with_error_of(actions, observed), paused, [], now)
    return Plan(actions=actions, status=written.status, urgent=written.urgent, notes=(*notes, *written.notes))


def _report(
    queue: Queue,
    depth: QueueSnapshot,
    observed: ObservedQueue,
    paused: bool,
    more: list[Condition],
    now: datetime,
) -> Report:
    latency = now - depth.oldest_pending_at if depth.oldest_pending_at is not None else timedelta()
    return report(
        queue,
        conditions=[
            _readable(observed),
            _paused(queue, paused),
            _latency_high(queue, latency),
            *more,
        ],
        fields={
            **{name: getattr(depth, name) for name in _COUNTS},
            "latencySeconds": _coarse_seconds(latency),
            "processedToday": depth.processed_today,
            "failedToday": depth.failed_today,
            "paused": paused,
            TRIMMED_FIELD: trimmed_tasks(queue, observed.archive),
        },
        volatile=_VOLATILE,
        now=now,
    )


def _with_error_of(actions: tuple[Action, ...], observed: ObservedQueue) -> ObservedQueue:
    """What went wrong at the last try is over when there is nothing to try any more."""
    return observed if actions else replace(observed, write_error=None)


def _readable(observed: ObservedQueue) -> Condition:
    if observed.write_error is None:
        return _ready(True, reasons.OK, "The queue is read.")
    message = f"What is asked of the queue cannot be written to Redis: {observed.write_error}"
    return _ready(False, reasons.WRITE_REFUSED, message)


def _not_ready(
    queue: Queue,
    condition: Condition,
    now: datetime,
    *,
    keep_numbers: bool = False,
    depth: QueueSnapshot | None = None,
) -> Plan:
    """Without a reading there are no numbers, least of all zeros."""
    numbers = {name: queue.status.get(name) for name in (*sorted(_VOLATILE), "paused")} if keep_numbers else {}
    numbers[TRIMMED_FIELD] = queue.status.get(TRIMMED_FIELD)
    kept = [_kept(queue, type_) for type_ in (PAUSED, LATENCY_HIGH)] if keep_numbers else []
    conditions = [condition, *(each for each in kept if each is not None)]
    if queue.deleting:
        conditions.append(out_of_reach(condition) if depth is None else retire(queue, depth)[1])
    written = report(queue, conditions=conditions, fields=numbers, now=now)
    return Plan(status=written.status, urgent=written.urgent, notes=written.notes)


def _kept(queue: Queue, type_: str) -> Condition | None:
    for each in queue.status.get("conditions") or []:
        if each.get("type") == type_:
            status = {"True": True, "False": False}.get(each.get("status", ""))
            return Condition(type=type_, status=status, reason=each["reason"], message=each.get("message", ""))
    return None


def _winner(queue: Queue, rivals: tuple[Queue, ...]) -> Queue:
    """Of several objects for one queue, the oldest one that stays; of equally old ones, the first by name."""
    candidates = [queue, *(rival for rival in rivals if not rival.deleting)]

    def age(each: Queue) -> tuple[float, str]:
        created = each.metadata.creation_timestamp
        return (created.timestamp() if created is not None else float("inf"), each.name)

    return min(candidates, key=age)


def _obeyed_before(queue: Queue, wanted: bool) -> bool:
    """Whether this very spec was in force already, so that a difference is somebody's hand and no news of ours."""
    status: dict[str, Any] = dict(queue.status)
    return status.get("observedGeneration") == queue.metadata.generation and status.get("paused") is wanted


def _paused(queue: Queue, paused: bool) -> Condition:
    if not paused:
        return Condition(
            type=PAUSED, status=False, reason=reasons.NOT_PAUSED, message="Workers take tasks from the queue."
        )
    if queue.spec.paused:
        return Condition(
            type=PAUSED,
            status=True,
            reason=reasons.PAUSED_BY_SPEC,
            message="No task is taken, because spec.paused is true.",
        )
    return Condition(
        type=PAUSED,
        status=True,
        reason=reasons.PAUSED_BY_HAND,
        message="No task is taken: someone paused the queue in Redis. Resume it there, or set spec.paused to false.",
    )


def _latency_high(queue: Queue, latency: timedelta) -> Condition:
    objective = queue.spec.max_latency
    if objective is None:
        return Condition(
            type=LATENCY_HIGH, status=False, reason=reasons.NO_OBJECTIVE, message="spec.maxLatency is not given."
        )
    before = _kept(queue, LATENCY_HIGH)
    was_high = before is not None and before.status is True
    bound = objective * _CLEARED if was_high else objective
    if latency > bound:
        return Condition(
            type=LATENCY_HIGH,
            status=True,
            reason=reasons.BEYOND_OBJECTIVE,
            message=f"The oldest waiting task has waited longer than {format_duration(objective)}.",
        )
    return Condition(
        type=LATENCY_HIGH,
        status=False,
        reason=reasons.WITHIN_OBJECTIVE,
        message=f"No task has waited longer than {format_duration(objective)}.",
    )


def _coarse_seconds(latency: timedelta) -> int:
    """Whole seconds at first, then in steps of a tenth or so: a queue that stands still shall be written seldom."""
    seconds = max(0, int(latency.total_seconds()))
    for least, step in ((36_000, 3600), (3600, 300), (600, 60), (60, 5)):
        if seconds >= least:
            return seconds // step * step
    return seconds


def _ready(status: bool, reason: str, message: str) -> Condition:
    return Condition(type=READY, status=status, reason=reason, message=message)
