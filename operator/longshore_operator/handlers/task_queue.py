"""Queue: reports its depth and latency, and pauses it on request."""

from __future__ import annotations

from datetime import timedelta

from longshore_operator.cluster.resources import QUEUES
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.execution import BUSY, QUIET, execute
from longshore_operator.observe.view import Key
from longshore_operator.plan.actions import SetPaused
from longshore_operator.plan.observed import ObservedQueue
from longshore_operator.plan.task_queue import plan_queue


async def visit_queue(context: Context, key: Key) -> timedelta | None:
    """Observe, plan, apply, report."""
    queue, manifest = context.view.queue(key.namespace, key.name), context.view.manifest(key)
    if queue is None or manifest is None or queue.deleting:
        return None
    broker = queue.spec.broker_ref
    reading = context.reading(key.namespace, broker)
    if reading is None:
        return None  # the first poll will tell
    observed = ObservedQueue(
        broker=context.view.broker(key.namespace, broker),
        reading=reading,
        rivals=tuple(
            other
            for other in context.view.queues_named(key.namespace, broker, [queue.queue_name])
            if other.metadata.uid != queue.metadata.uid
        ),
    )
    plan = plan_queue(queue, observed, context.now())
    plan, look_again = await execute(context, QUEUES, queue, manifest, plan, broker=broker)
    if any(isinstance(action, SetPaused) for action in plan.actions):
        poller = context.pollers.get((key.namespace, broker))
        if poller is not None:
            poller.hurry()
    snapshot = reading.snapshot.queues.get(queue.queue_name) if reading.snapshot else None
    waiting = snapshot is not None and snapshot.pending > 0  # its latency grows by itself
    return look_again or (BUSY if waiting else QUIET)
