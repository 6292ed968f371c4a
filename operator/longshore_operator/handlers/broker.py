"""Broker: keeps its poll loop, its scheduler's Deployment, its periodic entries and its finalizer."""

from __future__ import annotations

from datetime import timedelta

from longshore_operator.api.broker import Broker
from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.cluster.resources import BROKERS
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.execution import BUSY, QUIET, execute, plan_with_deployment
from longshore_operator.observe.redis import Target
from longshore_operator.observe.view import Key
from longshore_operator.plan.actions import Plan, WritePeriodic
from longshore_operator.plan.address import access_for_operator
from longshore_operator.plan.broker import plan_broker
from longshore_operator.plan.names import scheduler_deployment
from longshore_operator.plan.observed import BrokerReading, ChildDeployment, ObservedBroker
from longshore_operator.plan.reading import current_snapshot


async def visit_broker(context: Context, key: Key) -> timedelta | None:
    """Observe, plan, apply, report."""
    broker, manifest = context.view.broker(key.namespace, key.name), context.view.manifest(key)
    if broker is None or manifest is None:
        context.pollers.drop((key.namespace, key.name))
        return None
    poller = context.pollers.aim((key.namespace, key.name), target(context, broker))
    reading = context.reading(key.namespace, key.name)
    if reading is None:
        if not broker.deleting:
            return None  # the first poll will tell
        reading = BrokerReading()
    users = tuple(f"{user.kind}/{user.name}" for user in context.view.users(key.namespace, key.name))
    periodic_tasks = tuple(context.view.periodic_tasks_of(key.namespace, key.name))
    snapshot = current_snapshot(reading)
    entries_of = None
    if snapshot is not None and snapshot.schedule_known:
        entries_of = (snapshot.entries, frozenset(map(_version, periodic_tasks)))

    def plan_for(child: ChildDeployment | None, refused: str | None) -> Plan:
        observed = ObservedBroker(
            reading=reading,
            secret=poller.secret,
            scheduler=child,
            users=users,
            periodic_tasks=periodic_tasks,
            entries_settled=entries_of is not None and context.settled_entries.get(broker.metadata.uid) == entries_of,
            apply_error=refused,
            write_error=context.actions.write_errors.get(broker.metadata.uid),
        )
        return plan_broker(broker, observed, context.now(), context.settings)

    name = scheduler_deployment(broker)
    plan = await plan_with_deployment(context, broker, name, plan_for)
    plan, look_again = await execute(
        context,
        BROKERS,
        broker,
        manifest,
        plan,
        broker=broker.name,
        replan=lambda refused: plan_for(context.children.known_deployment(broker, name), refused),
        unwritten=lambda: plan_for(
            context.children.known_deployment(broker, name),
            context.refusal(broker.metadata.uid, broker.metadata.generation),
        ),
    )
    if any(isinstance(action, WritePeriodic) for action in plan.actions):
        poller.hurry()
    else:
        context.settled_entries[broker.metadata.uid] = entries_of
    return look_again or (QUIET if reading.reachable else BUSY)


def target(context: Context, broker: Broker) -> Target:
    """What to poll for this Broker: every queue that an object of it names."""
    place = broker.namespace, broker.name
    queues = {queue.queue_name for queue in context.view.queues_of(*place)}
    lookaheads: dict[str, set[timedelta]] = {}
    for pool in context.view.pools_of(*place):
        queues.update(queue.name for queue in pool.spec.queues)
        if pool.spec.autoscaling is not None and pool.spec.autoscaling.lookahead:
            for each in pool.spec.queues:
                lookaheads.setdefault(each.name, set()).add(pool.spec.autoscaling.lookahead)
    return Target(
        access=access_for_operator(broker),
        interval=broker.spec.poll_interval,
        scope=broker.scope,
        queues=frozenset(queues),
        lookaheads={name: frozenset(each) for name, each in lookaheads.items()},
        ticks_of={task.name: task.spec.task.queue for task in context.view.periodic_tasks_of(*place)},
    )


def _version(task: PeriodicTask) -> tuple[str, int, bool]:
    """What an entry is made of."""
    return task.metadata.uid, task.metadata.generation, task.deleting
