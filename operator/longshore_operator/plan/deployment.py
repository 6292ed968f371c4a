"""The worker Deployment of a pool: a judged process and a decided count, rendered."""

from __future__ import annotations

from typing import Any

from longshore_operator.api.broker import Broker
from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.plan.child import deployment
from longshore_operator.plan.names import (
    SECRET_VERSION_ANNOTATION,
    WORKER_CONTAINER,
    worker_deployment,
    worker_labels,
)
from longshore_operator.plan.pod_template import container_image, pod_template
from longshore_operator.plan.processes import worker_process


def desired_worker_deployment(
    pool: WorkerPool, broker: Broker, *, replicas: int, secret_version: str | None
) -> dict[str, Any]:
    """The Deployment to apply. ``replicas`` is the decision's alone: no template and no default has a say in it."""
    labels = worker_labels(pool)
    return deployment(
        name=worker_deployment(pool),
        owner=pool,
        labels=labels,
        replicas=replicas,
        rolling_update={
            "maxSurge": pool.spec.rollout.max_surge,
            "maxUnavailable": pool.spec.rollout.max_unavailable,
        },
        min_ready_seconds=pool.spec.rollout.min_ready_seconds,
        template=pod_template(
            container=WORKER_CONTAINER,
            process=worker_process(pool, broker),
            image=pool.spec.image,
            template=pool.spec.template,
            labels=labels,
            annotations={} if secret_version is None else {SECRET_VERSION_ANNOTATION: secret_version},
        ),
    )


def template_problem(pool: WorkerPool) -> str | None:
    """What the schema cannot see and the API server would put less clearly; None when the pool can be rendered."""
    template = pool.spec.template or {}
    rendered = {"spec": template.get("spec") or {}}
    if pool.spec.image is None and container_image(rendered, WORKER_CONTAINER) is None:
        return "no image: give spec.image, or in spec.template an image for the container named worker."
    return None
