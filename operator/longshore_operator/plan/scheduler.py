"""The scheduler of a Broker: its Deployment, and whether ticks are enqueued."""

from __future__ import annotations

from typing import Any

from longshore.protocol.snapshots import BrokerSnapshot
from longshore_operator.api import reasons
from longshore_operator.api.broker import Broker
from longshore_operator.api.conditions import SCHEDULER_READY
from longshore_operator.plan.child import deployment, rollout
from longshore_operator.plan.conditions import Condition
from longshore_operator.plan.names import (
    SCHEDULER_CONTAINER,
    SECRET_VERSION_ANNOTATION,
    scheduler_deployment,
    scheduler_labels,
)
from longshore_operator.plan.observed import ChildDeployment
from longshore_operator.plan.pod_template import pod_template
from longshore_operator.plan.processes import scheduler_process
from longshore_operator.plan.settings import PlanSettings


def desired_scheduler_deployment(
    broker: Broker, *, secret_version: str | None, settings: PlanSettings
) -> dict[str, Any]:
    """The Deployment to apply.

    A roll-out starts the new scheduler beside the old one. That is safe, since a lease lets only one be active and each
    tick is enqueued by a script at most once; and it leaves no gap: the new one stands by when the old one goes.
    """
    spec = broker.spec.scheduler
    labels = scheduler_labels(broker)
    resources = None if spec.resources is None else spec.resources.model_dump(exclude_none=True)
    return deployment(
        name=scheduler_deployment(broker),
        owner=broker,
        labels=labels,
        replicas=spec.replicas,
        rolling_update={"maxSurge": "25%", "maxUnavailable": 0},
        template=pod_template(
            container=SCHEDULER_CONTAINER,
            process=scheduler_process(broker),
            image=spec.image or settings.image,
            image_pull_policy=None if spec.image else settings.image_pull_policy,
            resources=resources,
            template=spec.template,
            labels=labels,
            annotations={} if secret_version is None else {SECRET_VERSION_ANNOTATION: secret_version},
        ),
    )


def scheduler_condition(broker: Broker, snapshot: BrokerSnapshot, child: ChildDeployment | None) -> Condition:
    """SchedulerReady of a Broker that has PeriodicTasks, and of each of those."""
    name = scheduler_deployment(broker)
    if snapshot.scheduler is not None:
        return _condition(True, reasons.SCHEDULER_ACTIVE, "A scheduler is active.")
    wanted = broker.spec.scheduler.replicas
    if wanted == 0:
        message = f"No scheduler is active, and spec.scheduler.replicas of Broker {broker.name} is 0."
        return _condition(False, reasons.SCHEDULER_NOT_ACTIVE, message)
    state = rollout(child)
    if state.ready >= wanted or state.stalled:
        message = f"No scheduler is active; see `kubectl logs deployment/{name}`."
        return _condition(False, reasons.SCHEDULER_NOT_ACTIVE, message)
    return _condition(False, reasons.SCHEDULER_STARTING, f"Deployment {name} is starting.")


def _condition(status: bool, reason: str, message: str) -> Condition:
    return Condition(type=SCHEDULER_READY, status=status, reason=reason, message=message)
