"""WorkerPool: keeps its Deployment, and scales it."""

from __future__ import annotations

from datetime import timedelta

from longshore_operator.api.conditions import SCALING_LIMITED
from longshore_operator.api.reasons import NOT_LIMITED
from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.cluster.resources import WORKER_POOLS
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.execution import BUSY, QUIET, execute, plan_with_deployment
from longshore_operator.observe.view import Key
from longshore_operator.plan.actions import ApplyBudget, Plan
from longshore_operator.plan.names import worker_deployment, worker_disruption_budget
from longshore_operator.plan.observed import BrokerReading, ChildBudget, ChildDeployment, ObservedPool, PoolMemory
from longshore_operator.plan.worker_pool import plan_worker_pool

_AT_ONCE = timedelta(milliseconds=10)  # what is already due


async def visit_worker_pool(context: Context, key: Key) -> timedelta | None:
    """Observe, plan, apply, report."""
    pool, manifest = context.view.worker_pool(key.namespace, key.name), context.view.manifest(key)
    if pool is None or manifest is None or pool.deleting:
        return None
    broker = pool.spec.broker_ref
    reading = context.reading(key.namespace, broker)
    if reading is None:
        return None  # the first poll will tell
    pods = context.children.observe_pods(key.namespace, key.name)
    sharing = sharing_pools(context, pool)

    uid, generation = pool.metadata.uid, pool.metadata.generation
    foreign_budget: ChildBudget | None = None

    def plan_for(child: ChildDeployment | None, refused: str | None) -> Plan:
        observed = ObservedPool(
            broker=context.view.broker(key.namespace, broker),
            reading=reading,
            secret=context.secret(key.namespace, broker),
            deployment=child,
            pods=pods,
            sharing=sharing,
            memory=context.memories.get(uid),
            apply_error=refused,
            budget=context.children.known_budget(pool, budget_name) or foreign_budget,
            budget_error=context.budget_refusal(uid, generation),
        )
        return plan_worker_pool(pool, observed, context.now())

    name, budget_name = worker_deployment(pool), worker_disruption_budget(pool)
    plan = await plan_with_deployment(context, pool, name, plan_for)
    if any(isinstance(action, ApplyBudget) for action in plan.actions):
        # As with the Deployment: before one is made, the API server is asked whether the name is free.
        foreign_budget = await context.children.observe_budget(pool, budget_name)
        if foreign_budget is not None and not foreign_budget.owned:
            plan = await plan_with_deployment(context, pool, name, plan_for)
    plan, look_again = await execute(
        context,
        WORKER_POOLS,
        pool,
        manifest,
        plan,
        broker=broker,
        replan=lambda refused: plan_for(context.children.known_deployment(pool, name), refused),
    )
    if plan.memory is not None:
        _count_decision(context, pool, plan, plan.memory)
        context.memories[uid] = plan.memory
    working = any(pod.active or pod.terminating for pod in pods)  # those that have ended stay as records for long
    latest = look_again or (BUSY if working or _has_tasks(pool, reading) else QUIET)
    return latest if plan.until is None else min(latest, max(plan.until - context.now(), _AT_ONCE))


def _count_decision(context: Context, pool: WorkerPool, plan: Plan, memory: PoolMemory) -> None:
    if pool.spec.autoscaling is not None and pool.spec.autoscaling.dry_run:
        return
    known = context.memories.get(pool.metadata.uid)
    before = int(pool.status.get("desiredReplicas") or 0) if known is None else known.replicas
    if memory.replicas != before:
        conditions = (plan.status or {}).get("conditions") or ()
        reason = next((each["reason"] for each in conditions if each["type"] == SCALING_LIMITED), NOT_LIMITED)
        context.decisions.add("up" if memory.replicas > before else "down", reason)


def sharing_pools(context: Context, pool: WorkerPool) -> tuple[WorkerPool, ...]:
    """The other pools of the same Broker that serve one of its queues, by name."""
    queues = [queue.name for queue in pool.spec.queues]
    pools = context.view.pools_serving(pool.namespace, pool.spec.broker_ref, queues)
    return tuple(other for other in pools if other.metadata.uid != pool.metadata.uid)


def _has_tasks(pool: WorkerPool, reading: BrokerReading) -> bool:
    if reading.snapshot is None:
        return False
    queues = (reading.snapshot.queues.get(queue.name) for queue in pool.spec.queues)
    return any(
        queue is not None and (queue.pending or queue.active or queue.due or any(queue.due_within.values()))
        for queue in queues
    )
