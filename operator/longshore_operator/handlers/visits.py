"""Which handler visits which kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from longshore_operator.cluster.resources import BROKERS, OWN_KINDS, PERIODIC_TASKS, QUEUES, WORKER_POOLS
from longshore_operator.errors import OwnerGone
from longshore_operator.handlers.broker import visit_broker
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.periodic_task import visit_periodic_task
from longshore_operator.handlers.task_queue import visit_queue
from longshore_operator.handlers.worker_pool import visit_worker_pool
from longshore_operator.observe.view import Key, Manifest
from longshore_operator.plan.unreadable import plan_unreadable

_HANDLERS: dict[str, Callable[[Context, Key], Awaitable[timedelta | None]]] = {
    BROKERS.kind: visit_broker,
    QUEUES.kind: visit_queue,
    WORKER_POOLS.kind: visit_worker_pool,
    PERIODIC_TASKS.kind: visit_periodic_task,
}
_RESOURCES = {resource.kind: resource for resource in OWN_KINDS}


async def visit(context: Context, key: Key) -> timedelta | None:
    """Look at one object and do what it needs. How long until the next look at the latest; None: when told."""
    manifest = context.view.manifest(key)
    try:
        return await _visit(context, key, manifest)
    except OwnerGone:
        # What vanishes between our first list and the watch's own is never told of; each visit would write again.
        assert manifest is not None
        context.lost(_RESOURCES[key.kind], manifest)
        return None
    finally:
        # What was noted of an object that went meanwhile would be kept for ever.
        now = context.view.manifest(key)
        if manifest is not None and (now is None or now["metadata"]["uid"] != manifest["metadata"]["uid"]):
            context.forget(manifest["metadata"]["uid"])


async def _visit(context: Context, key: Key, manifest: Manifest | None) -> timedelta | None:
    unreadable = context.view.unreadable(key)
    if unreadable is None or manifest is None:
        return await _HANDLERS[key.kind](context, key)
    plan = plan_unreadable(key.kind, manifest, unreadable.problem, context.now())
    wait = await context.status.write(_RESOURCES[key.kind], manifest, plan)
    context.events.post(manifest, plan.notes)
    return wait
