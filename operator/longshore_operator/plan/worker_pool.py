"""The plan of a WorkerPool: its count, its Deployment, the costs of its pods, and what to say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from longshore_operator.api import reasons
from longshore_operator.api.broker import Broker
from longshore_operator.api.conditions import READY, SCALING_ACTIVE
from longshore_operator.api.worker_pool import FallbackBehavior, WorkerPool
from longshore_operator.plan.actions import Action, Note, Plan
from longshore_operator.plan.child import ChildPlan, conflict_message, plan_child, rollout
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.deletion_cost import deletion_costs
from longshore_operator.plan.deployment import desired_worker_deployment, template_problem
from longshore_operator.plan.disruption import BudgetPlan, desired_disruption_budget, plan_disruption_budget
from longshore_operator.plan.load import Load, oldest_task, pool_load
from longshore_operator.plan.names import (
    SECRET_VERSION_ANNOTATION,
    selector_text,
    worker_deployment,
    worker_disruption_budget,
    worker_labels,
)
from longshore_operator.plan.observed import ObservedPool, SecretReading
from longshore_operator.plan.pool_health import failing_workers, progressing_condition, ready_condition
from longshore_operator.plan.pool_memory import hold_memory
from longshore_operator.plan.pool_scaling import (
    fallback_condition,
    paused_condition,
    scaling_active_condition,
    scaling_limited_condition,
)
from longshore_operator.plan.reading import current_snapshot, not_found, not_read_yet, reading_problem
from longshore_operator.plan.replicas import Decision, decide_replicas
from longshore_operator.plan.status import report
from longshore_operator.plan.timestamps import format_time

# A steady load moves these all the time, and pods come one by one. What matters changes desiredReplicas or a condition.
_VOLATILE = frozenset({"busyReplicas", "backlog", "decision", "replicas", "readyReplicas", "throughputPerReplica"})
# While polls fail, only the first few are told of. A fallback that comes later is looked for.
_FAILING = timedelta(seconds=2)


def plan_worker_pool(pool: WorkerPool, observed: ObservedPool, now: datetime) -> Plan:
    """What to do for a pool. ``Plan.memory`` must be in ``observed`` at its next plan."""
    broker = observed.broker
    if broker is None:
        return _blocked(pool, observed, not_found(READY, pool.spec.broker_ref), now)
    secret = observed.secret
    if not_read_yet(observed.reading) or (broker.secrets and secret is None):
        return Plan(memory=observed.memory)  # a start takes a moment, and is no news about any object
    if secret is not None and not secret.found and observed.deployment is None:
        return _blocked(pool, observed, _secret_not_found(secret), now)
    if observed.deployment is not None and not observed.deployment.owned:
        message = conflict_message(worker_deployment(pool), pool)
        return _blocked(pool, observed, _not_ready(reasons.NAME_CONFLICT, message), now)
    problem = template_problem(pool)
    if problem is not None:
        return _blocked(pool, observed, _not_ready(reasons.INVALID_TEMPLATE, problem), now)
    return _plan(pool, broker, observed, now)


def _plan(pool: WorkerPool, broker: Broker, observed: ObservedPool, now: datetime) -> Plan:
    load = _load(pool, observed)
    live = None if observed.deployment is None else observed.deployment.manifest
    decision = decide_replicas(
        pool.spec,
        load,
        found=None if live is None else live["spec"].get("replicas", 1),
        memory=observed.memory,
        now=now,
        failures=observed.reading.failures,
        known_rate=_known_rate(pool),
    )
    wanted = desired_worker_deployment(
        pool, broker, replicas=decision.replicas, secret_version=_secret_version(observed.secret, live)
    )
    auto = pool.spec.autoscaling
    child = plan_child(
        wanted,
        observed.deployment,
        apply_error=observed.apply_error,
        leave_count=auto is not None and auto.dry_run,
        hold_template=observed.secret is not None and not observed.secret.found,
    )
    budget = plan_disruption_budget(desired_disruption_budget(pool), observed.budget)
    actions: tuple[Action, ...] = child.actions
    snapshot = current_snapshot(observed.reading)
    if live is not None and decision.replicas < live["spec"].get("replicas", 1) and snapshot is not None:
        actions = (*deletion_costs(observed.pods, oldest_task(snapshot), now), *actions)

    written = report(
        pool,
        conditions=_conditions(pool, broker, observed, load, decision, child, budget),
        fields=_fields(pool, observed, load, decision, now),
        volatile=_VOLATILE,
        now=now,
    )
    scaled = _scale_note(decision)
    notes = written.notes
    if scaled is not None:  # it says more than the transition of Progressing that it is
        notes = (*(note for note in notes if note.reason != scaled.reason), scaled)
    return Plan(
        actions=(*actions, *budget.actions),
        status=written.status,
        urgent=written.urgent,
        notes=(*child.notes, *budget.notes, *notes),
        until=_until(pool, observed, decision, now),
        memory=decision.memory,
    )


def _until(pool: WorkerPool, observed: ObservedPool, decision: Decision, now: datetime) -> datetime | None:
    """When time alone changes the plan: a window opens or closes, or a fallback comes nearer."""
    windows, failures = decision.memory.windows, observed.reading.failures
    auto = pool.spec.autoscaling
    if auto is not None and auto.fallback.behavior != FallbackBehavior.HOLD and failures and not decision.fallback:
        return now + _FAILING
    return None if windows is None else windows.until


def _known_rate(pool: WorkerPool) -> float | None:
    """The throughput that stands in the status, if it was measured with this very spec."""
    rate = pool.status.get("throughputPerReplica")
    current = pool.status.get("observedGeneration") == pool.metadata.generation
    return float(rate) if current and isinstance(rate, int | float) and rate > 0 else None


def _blocked(pool: WorkerPool, observed: ObservedPool, condition: Condition, now: datetime) -> Plan:
    """Nothing can be done for the pool; what exists goes on as it is."""
    conditions = [condition, replace(condition, type=SCALING_ACTIVE), paused_condition(pool)]
    state = rollout(observed.deployment)
    fields = {
        "replicas": state.replicas,
        "readyReplicas": state.ready,
        "lastScaleTime": pool.status.get("lastScaleTime"),
        "selector": selector_text(worker_labels(pool)),
    }
    written = report(pool, conditions=conditions, fields=fields, volatile=_VOLATILE, now=now)
    return Plan(
        status=written.status,
        urgent=written.urgent,
        notes=written.notes,
        memory=None if observed.memory is None else hold_memory(observed.memory, now),
    )


def _load(pool: WorkerPool, observed: ObservedPool) -> Load | None:
    snapshot = current_snapshot(observed.reading)
    if snapshot is None:
        return None
    state = rollout(observed.deployment)
    return pool_load(
        pool,
        observed.sharing,
        snapshot,
        staying=frozenset(pod.name for pod in observed.pods if pod.active),
        leaving=frozenset(pod.name for pod in observed.pods if not pod.active),
        read_at=observed.reading.read_at,
        settled=state.updated == state.replicas and state.seen,
    )


def _secret_version(secret: SecretReading | None, live: Mapping[str, Any] | None) -> str | None:
    """The version that pods carry. A Secret that has gone does not replace those that run with it."""
    if secret is None:
        return None
    if secret.found or live is None:
        return secret.version
    annotations = live["spec"]["template"].get("metadata", {}).get("annotations") or {}
    return annotations.get(SECRET_VERSION_ANNOTATION)


def _conditions(
    pool: WorkerPool,
    broker: Broker,
    observed: ObservedPool,
    load: Load | None,
    decision: Decision,
    child: ChildPlan,
    budget: BudgetPlan,
) -> list[Condition]:
    state = rollout(observed.deployment)
    return [
        _ready(pool, broker, observed, decision, budget),
        progressing_condition(desired=decision.replicas, rollout=state, changing=child.changing),
        scaling_active_condition(pool, broker, observed, load),
        scaling_limited_condition(decision),
        fallback_condition(pool, decision),
        paused_condition(pool),
    ]


def _ready(
    pool: WorkerPool, broker: Broker, observed: ObservedPool, decision: Decision, budget: BudgetPlan
) -> Condition:
    """The gravest problem, if there is one."""
    secret = observed.secret
    if secret is not None and not secret.found:
        return _secret_not_found(secret)
    if observed.apply_error is not None:
        return _not_ready(reasons.INVALID_TEMPLATE, observed.apply_error)
    problem = reading_problem(READY, broker, observed.reading)
    if problem is not None:
        return problem
    state = rollout(observed.deployment)
    previous: Mapping[str, Any] = next(
        (each for each in pool.status.get("conditions") or [] if each.get("type") == READY), {}
    )
    condition = ready_condition(
        desired=decision.replicas,
        rollout=state,
        failure=failing_workers(observed.pods, state, worker_deployment(pool)),
        was_failing=previous.get("reason") == reasons.WORKERS_FAILING,
    )
    windows = decision.memory.windows
    if condition.reason != reasons.WORKERS_FAILING and windows is not None and windows.problem is not None:
        return _not_ready(windows.problem.reason, windows.problem.message)
    return (_budget_problem(pool, observed, budget) if condition.status else None) or condition


def _budget_problem(pool: WorkerPool, observed: ObservedPool, budget: BudgetPlan) -> Condition | None:
    """Workers run, but without the protection that the spec asks for."""
    if budget.conflict:
        message = conflict_message(worker_disruption_budget(pool), pool, kind="PodDisruptionBudget")
        return _not_ready(reasons.NAME_CONFLICT, message)
    if observed.budget_error is not None and budget.actions:
        message = f"PodDisruptionBudget {worker_disruption_budget(pool)}: {observed.budget_error}"
        return _not_ready(reasons.DISRUPTION_BUDGET_REFUSED, message)
    return None


def _fields(
    pool: WorkerPool, observed: ObservedPool, load: Load | None, decision: Decision, now: datetime
) -> dict[str, Any]:
    state = rollout(observed.deployment)
    return {
        "replicas": state.replicas,
        "readyReplicas": state.ready,
        "desiredReplicas": decision.wanted,
        # Of an unreadable Broker the last numbers stay: they are the last that were known.
        "busyReplicas": pool.status.get("busyReplicas") if load is None else len(load.busy),
        "backlog": pool.status.get("backlog")
        if load is None
        else -(-load.waiting.numerator // load.waiting.denominator),
        "throughputPerReplica": _shown_rate(decision),
        "lastScaleTime": format_time(now)
        if decision.replicas != decision.previous
        else pool.status.get("lastScaleTime"),
        "selector": selector_text(worker_labels(pool)),
        "decision": decision.text,
    }


def _shown_rate(decision: Decision) -> float | None:
    """Two significant digits: the rest moves with every poll, and nobody acts on it."""
    throughput = decision.memory.throughput
    rate = None if throughput is None else throughput.rate
    return None if not rate else float(f"{rate:.2g}")


def _scale_note(decision: Decision) -> Note | None:
    """The Event of a new count."""
    if decision.replicas == decision.previous:
        return None
    reason = reasons.SCALING_UP if decision.replicas > decision.previous else reasons.SCALING_DOWN
    return Note(type="Normal", reason=reason, message=decision.text)


def _secret_not_found(secret: SecretReading) -> Condition:
    return _not_ready(secret.reason, secret.problem or "A Secret that the Broker names is missing.")


def _not_ready(reason: str, message: str) -> Condition:
    return Condition(type=READY, status=False, reason=reason, message=message)
