"""PeriodicTask: reports its ticks. Its entry in Redis is written with its Broker's others, by the Broker's plan."""

from __future__ import annotations

from datetime import timedelta

from longshore_operator.api.reasons import NOT_HANDED_OVER, WRITE_REFUSED
from longshore_operator.cluster.resources import PERIODIC_TASKS
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.execution import BUSY, QUIET, execute
from longshore_operator.observe.view import Key
from longshore_operator.plan.actions import Plan
from longshore_operator.plan.names import scheduler_deployment
from longshore_operator.plan.observed import ObservedPeriodicTask
from longshore_operator.plan.periodic_task import plan_periodic_task


async def visit_periodic_task(context: Context, key: Key) -> timedelta | None:
    """Observe, plan, report."""
    task, manifest = context.view.periodic_task(key.namespace, key.name), context.view.manifest(key)
    if task is None or manifest is None or task.deleting:
        return None
    name = task.spec.broker_ref
    reading = context.reading(key.namespace, name)
    if reading is None:
        return None  # the first poll will tell
    broker = context.view.broker(key.namespace, name)
    observed = ObservedPeriodicTask(
        broker=broker,
        reading=reading,
        write_error=None if broker is None else context.actions.write_errors.get(broker.metadata.uid),
        scheduler=context.children.known_deployment(broker, scheduler_deployment(broker)) if broker else None,
    )
    plan = plan_periodic_task(task, observed, context.now())
    _, look_again = await execute(context, PERIODIC_TASKS, task, manifest, plan, broker=name)
    return look_again or (BUSY if _awaited(plan) else QUIET)


def _awaited(plan: Plan) -> bool:
    """Whether its entry has still to come into Redis, which the Broker's visit sees to."""
    conditions = (plan.status or {}).get("conditions") or ()
    return any(each["reason"] in (NOT_HANDED_OVER, WRITE_REFUSED) for each in conditions)
