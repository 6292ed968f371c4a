"""Queue: reports its depth and latency, pauses it, trims its archive, and removes it with its object, as asked."""

from __future__ import annotations

import contextlib
from datetime import timedelta

from longshore.errors import LongshoreError
from longshore_operator.api import reasons
from longshore_operator.cluster.resources import QUEUES
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.execution import BUSY, QUIET, execute
from longshore_operator.observe.view import Key
from longshore_operator.plan.actions import LimitArchive, RetireQueue, SetPaused
from longshore_operator.plan.observed import BrokerReading, ObservedQueue
from longshore_operator.plan.task_queue import plan_queue


async def visit_queue(context: Context, key: Key) -> timedelta | None:
    """Observe, plan, apply, report."""
    queue, manifest = context.view.queue(key.namespace, key.name), context.view.manifest(key)
    if queue is None or manifest is None:
        await _forget(context, key)
        return None
    uid, broker = queue.metadata.uid, queue.spec.broker_ref
    # Without a first poll a Queue is still given its finalizer: it may be deleted before.
    reading = context.reading(key.namespace, broker) or BrokerReading()
    if not reading.reachable:
        context.actions.archives.pop(uid, None)  # what is found afterwards may be another Redis, without the limits

    def observed() -> ObservedQueue:
        return ObservedQueue(
            broker=context.view.broker(key.namespace, broker),
            reading=reading,
            rivals=tuple(
                other
                for other in context.view.queues_named(key.namespace, broker, [queue.queue_name])
                if other.metadata.uid != uid
            ),
            archive=context.actions.archives.get(uid),
            removed=uid in context.actions.removed,
            write_error=context.actions.write_errors.get(uid),
        )

    plan = plan_queue(queue, observed(), context.now())
    plan, look_again = await execute(
        context,
        QUEUES,
        queue,
        manifest,
        plan,
        broker=broker,
        unwritten=lambda: plan_queue(queue, observed(), context.now()),
    )
    if any(note.reason == reasons.ARCHIVE_TRIMMED for note in plan.notes):
        context.actions.told(uid, context.now())
    if any(isinstance(action, SetPaused | LimitArchive | RetireQueue) for action in plan.actions):
        poller = context.pollers.get((key.namespace, broker))
        if poller is not None:
            poller.hurry()
    if any(isinstance(action, LimitArchive) and action.limits is not None for action in plan.actions):
        context.limited[key] = broker, queue.queue_name
    if uid in context.actions.removed and queue.deleting:
        # at once: a task that comes in between would lie in a queue that nobody stands for
        await execute(context, QUEUES, queue, manifest, plan_queue(queue, observed(), context.now()), broker=broker)
    snapshot = reading.snapshot.queues.get(queue.queue_name) if reading.snapshot else None
    waiting = snapshot is not None and snapshot.pending > 0  # its latency grows by itself
    return look_again or (BUSY if waiting or queue.deleting else QUIET)


async def _forget(context: Context, key: Key) -> None:
    """The object is gone: undo its limits in Redis. Those that cannot be undone end by themselves."""
    broker, queue_name = context.limited.pop(key, (None, ""))
    poller = context.pollers.get((key.namespace, broker)) if broker is not None else None
    if poller is not None and poller.inspector is not None:
        with contextlib.suppress(LongshoreError):
            await poller.inspector.unlimit_archive(queue_name)
