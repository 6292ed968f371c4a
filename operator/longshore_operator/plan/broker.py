"""The plan of a Broker: its periodic entries, its scheduler, its finalizer, and what to say of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from longshore.protocol.snapshots import BrokerSnapshot
from longshore_operator.api import reasons
from longshore_operator.api.broker import Broker
from longshore_operator.api.conditions import IN_USE, REACHABLE, READY, SCHEDULER_READY
from longshore_operator.plan.actions import Action, DeleteDeployment, Note, Plan, SetFinalizer
from longshore_operator.plan.address import redis_url
from longshore_operator.plan.child import conflict_message, plan_child
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.entries import reconcile_entries
from longshore_operator.plan.names import IN_USE_FINALIZER, SECRET_VERSION_ANNOTATION, scheduler_deployment
from longshore_operator.plan.observed import ObservedBroker
from longshore_operator.plan.reading import current_snapshot, not_read_yet, unreachable
from longshore_operator.plan.scheduler import desired_scheduler_deployment, scheduler_condition
from longshore_operator.plan.settings import PlanSettings
from longshore_operator.plan.status import report

# Latency is never the same twice: it is written along with other news only.
_SILENT = frozenset({"latencyMs"})
_VOLATILE = frozenset({"queues", "servers"})
_MOST_NAMED = 10  # users that InUse names; the rest is counted


def plan_broker(broker: Broker, observed: ObservedBroker, now: datetime, settings: PlanSettings) -> Plan:
    """What to do for a Broker."""
    actions: list[Action] = []
    snapshot = current_snapshot(observed.reading)
    if snapshot is not None and snapshot.schedule_known and not observed.entries_settled:
        write = reconcile_entries(broker.scope, observed.periodic_tasks, snapshot.entries, now)
        if write is not None:
            actions.append(write)
    if not actions:
        observed = replace(observed, write_error=None)  # what went wrong is over: there is nothing to write any more
    child_actions, notes = _scheduler(broker, observed, settings)
    finalizer = _finalizer(broker, observed)
    if finalizer is not None and finalizer.present:
        actions.append(finalizer)  # before a Deployment that may be refused, which ends the round
    actions += child_actions
    if finalizer is not None and not finalizer.present:
        actions.append(finalizer)
    if finalizer is not None and not finalizer.present and broker.deleting:
        return Plan(actions=tuple(actions))  # it goes with this; there is nobody left to tell
    if not_read_yet(observed.reading) and not _secret_missing(observed):
        return Plan(actions=tuple(actions), notes=notes)  # a start takes a moment, and is no news
    written = report(
        broker,
        conditions=_conditions(broker, observed, snapshot),
        fields=_fields(broker, observed, snapshot),
        volatile=_VOLATILE,
        silent=_SILENT,
        now=now,
    )
    return Plan(actions=tuple(actions), status=written.status, urgent=written.urgent, notes=(*notes, *written.notes))


def _scheduler(
    broker: Broker, observed: ObservedBroker, settings: PlanSettings
) -> tuple[list[Action], tuple[Note, ...]]:
    """It exists while at least one PeriodicTask refers to the Broker: nobody pays for a scheduler without entries."""
    child = observed.scheduler
    if not _scheduler_wanted(observed):
        if child is None or not child.owned or child.manifest["metadata"].get("deletionTimestamp"):
            return [], ()
        metadata = child.manifest["metadata"]
        return [DeleteDeployment(name=metadata["name"], uid=metadata["uid"], why="no PeriodicTask is left")], ()
    if child is not None and not child.owned:
        return [], ()
    if child is None and (_secret_missing(observed) or _secret_not_read(broker, observed)):
        return [], ()
    wanted = desired_scheduler_deployment(broker, secret_version=_secret_version(observed), settings=settings)
    planned = plan_child(wanted, child, apply_error=observed.apply_error, hold_template=_secret_missing(observed))
    return list(planned.actions), planned.notes


def _scheduler_wanted(observed: ObservedBroker) -> bool:
    return any(not task.deleting for task in observed.periodic_tasks)


def _secret_missing(observed: ObservedBroker) -> bool:
    return observed.secret is not None and not observed.secret.found


def _secret_not_read(broker: Broker, observed: ObservedBroker) -> bool:
    return bool(broker.secrets) and observed.secret is None


def _secret_version(observed: ObservedBroker) -> str | None:
    """The version that pods carry. A Secret that has gone does not replace those that run with it."""
    if observed.secret is not None and observed.secret.found:
        return observed.secret.version
    if observed.scheduler is None:
        return None
    annotations = observed.scheduler.manifest["spec"]["template"].get("metadata", {}).get("annotations") or {}
    version: str | None = annotations.get(SECRET_VERSION_ANNOTATION)
    return version


def _finalizer(broker: Broker, observed: ObservedBroker) -> SetFinalizer | None:
    """Held exactly while the Broker is in use: one that nobody uses can be deleted without an operator, too."""
    present = IN_USE_FINALIZER in broker.metadata.finalizers
    wanted = bool(observed.users)
    if present == wanted or (wanted and broker.deleting):  # the API server accepts no new finalizer on what is going
        return None
    why = f"used by {_enumerate(observed.users)}" if wanted else "no longer used"
    return SetFinalizer(name=IN_USE_FINALIZER, present=wanted, why=why)


def _conditions(broker: Broker, observed: ObservedBroker, snapshot: BrokerSnapshot | None) -> list[Condition]:
    reachable = _reachable(observed)
    scheduler = _scheduler_ready(broker, observed, snapshot)
    conditions = [_ready(observed, reachable, scheduler), reachable, scheduler]
    if broker.deleting:
        message = f"The Broker is being deleted and waits for {_enumerate(observed.users)}."
        conditions.append(Condition(type=IN_USE, status=True, reason=reasons.STILL_USED, message=message))
    return conditions


def _reachable(observed: ObservedBroker) -> Condition:
    reading = observed.reading
    if _secret_missing(observed) and (not_read_yet(reading) or unreachable(reading)):
        assert observed.secret is not None
        message = observed.secret.problem or "A Secret is missing."
        return Condition(type=REACHABLE, status=False, reason=observed.secret.reason, message=message)
    if unreachable(reading):
        return Condition(
            type=REACHABLE,
            status=False,
            reason=reasons.BROKER_UNREACHABLE,
            message=f"Redis cannot be read: {reading.error}",
        )
    snapshot = current_snapshot(reading)
    if snapshot is not None and snapshot.problem is not None:
        message = f"A part of Redis cannot be read; the rest goes on: {snapshot.problem}"
        return Condition(type=REACHABLE, status=False, reason=reasons.PARTLY_UNREACHABLE, message=message)
    return Condition(type=REACHABLE, status=True, reason=reasons.REDIS_ANSWERS, message="Redis answers.")


def _scheduler_ready(broker: Broker, observed: ObservedBroker, snapshot: BrokerSnapshot | None) -> Condition:
    if not _scheduler_wanted(observed):
        message = "No PeriodicTask refers to the Broker, so no scheduler runs."
        return Condition(type=SCHEDULER_READY, status=True, reason=reasons.NO_PERIODIC_TASKS, message=message)
    name = scheduler_deployment(broker)
    if observed.scheduler is not None and not observed.scheduler.owned:
        message = conflict_message(name, broker)
        return Condition(type=SCHEDULER_READY, status=False, reason=reasons.NAME_CONFLICT, message=message)
    if observed.apply_error is not None:
        return Condition(
            type=SCHEDULER_READY, status=False, reason=reasons.INVALID_TEMPLATE, message=observed.apply_error
        )
    last = observed.reading.snapshot if snapshot is None else snapshot
    if last is None or unreachable(observed.reading) or not last.schedule_known:
        return Condition(
            type=SCHEDULER_READY,
            status=None,
            reason=reasons.BROKER_UNREACHABLE,
            message="Redis cannot be read, so it is unknown whether a scheduler is active.",
        )
    return scheduler_condition(broker, last, observed.scheduler)


def _ready(observed: ObservedBroker, reachable: Condition, scheduler: Condition) -> Condition:
    """The gravest of the other conditions, or that all is well."""
    if _secret_missing(observed):
        assert observed.secret is not None
        message = observed.secret.problem or "A Secret is missing."
        return Condition(type=READY, status=False, reason=observed.secret.reason, message=message)
    if observed.write_error is not None and reachable.status is True:
        message = f"The periodic entries cannot be written to Redis: {observed.write_error}"
        return Condition(type=READY, status=False, reason=reasons.WRITE_REFUSED, message=message)
    for each in (reachable, scheduler):
        if each.status is not True:
            return replace(each, type=READY)
    return Condition(type=READY, status=True, reason=reasons.OK, message="Redis answers and all is well.")


def _fields(broker: Broker, observed: ObservedBroker, snapshot: BrokerSnapshot | None) -> dict[str, Any]:
    """Of a Broker that cannot be read, the last numbers stay."""
    fixed = {
        "mode": broker.mode.value,
        "address": redis_url(broker).partition("://")[2],
        "secretVersion": observed.secret.version if observed.secret is not None else None,
    }
    if snapshot is None:
        kept = {name: broker.status.get(name) for name in ("redisVersion", "latencyMs", "queues", "servers")}
        return {**kept, **fixed}
    return {
        **fixed,
        "redisVersion": snapshot.redis_version or broker.status.get("redisVersion"),
        "latencyMs": round(snapshot.latency.total_seconds() * 1000),
        "queues": len(snapshot.queues),
        "servers": len(snapshot.servers) if snapshot.servers_known else broker.status.get("servers"),
    }


def _enumerate(users: Iterable[str]) -> str:
    listed = list(users)
    rest = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
