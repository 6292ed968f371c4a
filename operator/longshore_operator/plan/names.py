"""Names, labels and annotations of what we make in the cluster. Stable API: people and dashboards select by them."""

from __future__ import annotations

from collections.abc import Mapping

from longshore_operator.api.broker import Broker
from longshore_operator.api.resource import API_VERSION, Resource
from longshore_operator.api.worker_pool import WorkerPool

IN_USE_FINALIZER = "longshore.dev/in-use"  # of Brokers
QUEUE_FINALIZER = "longshore.dev/remove-queue"  # of Queues

POOL_LABEL = "longshore.dev/pool"
BROKER_LABEL = "longshore.dev/broker"
WORKER_CONTAINER = "worker"
SCHEDULER_CONTAINER = "scheduler"

# On pod templates: changes when the password does, so that pods are replaced once.
SECRET_VERSION_ANNOTATION = "longshore.dev/secret-version"
# On our Deployments, never on their pods: what we applied last. An object that differs from its own record was edited
# by someone else; one whose record differs from our wish is merely out of date. Both are read from the same object, so
# a cache that lags behind cannot mistake our own last write for somebody's edit.
REPLICAS_ANNOTATION = "longshore.dev/replicas"
DIGEST_ANNOTATION = "longshore.dev/applied"
# Kubernetes' own, on pods: a ReplicaSet removes pods of lower cost first.
DELETION_COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"


def worker_deployment(pool: WorkerPool) -> str:
    """At most 47 + 7 characters: with the suffixes of ReplicaSet and pod the API server still shortens it to 63."""
    return f"{pool.name}-worker"


def worker_disruption_budget(pool: WorkerPool) -> str:
    """As the Deployment whose pods it is about."""
    return worker_deployment(pool)


def scheduler_deployment(broker: Broker) -> str:
    """At most 47 + 10 characters."""
    return f"{broker.name}-scheduler"


def worker_labels(pool: WorkerPool) -> dict[str, str]:
    """Of a pool's Deployment and its pods."""
    return {**_managed("longshore-worker"), POOL_LABEL: pool.name}


def scheduler_labels(broker: Broker) -> dict[str, str]:
    """Of a Broker's scheduler Deployment and its pods."""
    return {**_managed("longshore-scheduler"), BROKER_LABEL: broker.name}


def selector(labels: Mapping[str, str]) -> dict[str, str]:
    """The part of our labels that selects the pods: not the one that every child carries."""
    return {key: value for key, value in labels.items() if key != "app.kubernetes.io/managed-by"}


def selector_text(labels: Mapping[str, str]) -> str:
    """A selector as `kubectl -l` and the scale subresource write it."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector(labels).items()))


def owner_reference(owner: Resource) -> dict[str, object]:
    """Makes the owner's deletion the child's, also while no operator runs."""
    return {
        "apiVersion": API_VERSION,
        "kind": owner.KIND,
        "name": owner.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _managed(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/managed-by": "longshore", "app.kubernetes.io/name": name}
