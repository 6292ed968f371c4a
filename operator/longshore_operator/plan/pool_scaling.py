"""Whether and how a pool is scaled: the conditions ScalingActive, ScalingLimited, Fallback and Paused."""

from __future__ import annotations

from longshore_operator.api import reasons
from longshore_operator.api.broker import Broker
from longshore_operator.api.conditions import FALLBACK, PAUSED, SCALING_ACTIVE, SCALING_LIMITED
from longshore_operator.api.worker_pool import FallbackBehavior, WorkerPool, WorkerPoolSpec
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.load import Load
from longshore_operator.plan.observed import ObservedPool
from longshore_operator.plan.reading import reading_problem
from longshore_operator.plan.replicas import Decision


def scaling_active_condition(pool: WorkerPool, broker: Broker, observed: ObservedPool, load: Load | None) -> Condition:
    """Whether the count follows the backlog, and if not, why."""
    auto = pool.spec.autoscaling
    if auto is None:
        return Condition(
            type=SCALING_ACTIVE, status=False, reason=reasons.AUTOSCALING_OFF, message="spec.replicas is the count."
        )
    if auto.paused:
        return Condition(
            type=SCALING_ACTIVE,
            status=False,
            reason=reasons.AUTOSCALING_PAUSED,
            message="The count is frozen, because spec.autoscaling.paused is true.",
        )
    if auto.dry_run:
        return Condition(
            type=SCALING_ACTIVE,
            status=False,
            reason=reasons.DRY_RUN,
            message="What the count would be is only told in status, because spec.autoscaling.dryRun is true.",
        )
    problem = reading_problem(SCALING_ACTIVE, broker, observed.reading)
    if problem is not None:
        return problem
    if load is not None and load.unreadable and load.problem is not None:
        return Condition(
            type=SCALING_ACTIVE,
            status=False,
            reason=reasons.BROKER_UNREACHABLE if load.cut_off else reasons.WRONG_TYPE,
            message=f"Queue {load.unreadable[0]} cannot be read, so the pool does not shrink: {load.problem}",
        )
    return Condition(
        type=SCALING_ACTIVE,
        status=True,
        reason=reasons.FOLLOWING_BACKLOG,
        message="The count follows the backlog." + _ignored_replicas(pool),
    )


def _ignored_replicas(pool: WorkerPool) -> str:
    """For whoever scales the pool by hand, or by a HorizontalPodAutoscaler, and wonders why nothing happens."""
    if pool.spec.replicas == WorkerPoolSpec.model_fields["replicas"].default:
        return ""
    return (
        f" spec.replicas, {pool.spec.replicas}, is not used, nor is what `kubectl scale` writes: change "
        "spec.autoscaling, or remove it."
    )


def scaling_limited_condition(decision: Decision) -> Condition:
    """Whether the backlog asks for another count than the spec allows now."""
    messages = {
        None: "The count is what the backlog asks for.",
        reasons.MAX_REPLICAS: "The backlog asks for more workers than maxReplicas.",
        reasons.STEP_LIMITED: "The next step is limited by maxStep.",
    }
    return Condition(
        type=SCALING_LIMITED,
        status=decision.limit is not None,
        reason=decision.limit or reasons.NOT_LIMITED,
        message=messages[decision.limit],
    )


_FALLBACKS = {
    FallbackBehavior.STATIC: (reasons.FALLBACK_STATIC, "the count is fallback.replicas"),
    FallbackBehavior.CURRENT_IF_HIGHER: (
        reasons.FALLBACK_CURRENT_IF_HIGHER,
        "the count is at least fallback.replicas",
    ),
}


def fallback_condition(pool: WorkerPool, decision: Decision) -> Condition:
    """Whether the count is the fallback's."""
    auto = pool.spec.autoscaling
    if decision.fallback is None or (auto is not None and auto.dry_run):
        message = "The count needs no fallback."
        return Condition(type=FALLBACK, status=False, reason=reasons.NO_FALLBACK, message=message)
    reason, what = _FALLBACKS[decision.fallback]
    message = f"Broker {pool.spec.broker_ref} cannot be read, so {what}; see its Reachable condition."
    return Condition(type=FALLBACK, status=True, reason=reason, message=message)


def paused_condition(pool: WorkerPool) -> Condition:
    """Whether the count is frozen."""
    if pool.spec.autoscaling is not None and pool.spec.autoscaling.paused:
        message = "The count is frozen, because spec.autoscaling.paused is true."
        return Condition(type=PAUSED, status=True, reason=reasons.PAUSED_BY_SPEC, message=message)
    return Condition(type=PAUSED, status=False, reason=reasons.NOT_PAUSED, message="The count is not frozen.")
