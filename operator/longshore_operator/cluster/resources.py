"""The kinds of Kubernetes objects that the operator touches, and where they live in the API."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

OURS = "app.kubernetes.io/managed-by=longshore"  # label selector of every child we make


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """One kind, namespaced."""

    group: str  # empty: the core API
    version: str
    kind: str
    plural: str
    selector: str | None = None  # label selector for lists and watches

    @property
    def api_version(self) -> str:
        """As in a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Path of the group's version: what API discovery lists."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of the collection (all namespaces when ``namespace`` is None), of one object, or of its subresource."""
        parts = [self.root]
        if namespace is not None:
            parts.append(f"namespaces/{quote(namespace, safe='')}")
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


_GROUP = {"group": "longshore.dev", "version": "v1alpha1"}

BROKERS = Resource(**_GROUP, kind="Broker", plural="brokers")
QUEUES = Resource(**_GROUP, kind="Queue", plural="queues")
WORKER_POOLS = Resource(**_GROUP, kind="WorkerPool", plural="workerpools")
PERIODIC_TASKS = Resource(**_GROUP, kind="PeriodicTask", plural="periodictasks")
DEPLOYMENTS = Resource(group="apps", version="v1", kind="Deployment", plural="deployments", selector=OURS)
PODS = Resource(group="", version="v1", kind="Pod", plural="pods", selector=OURS)
DISRUPTION_BUDGETS = Resource(
    group="policy", version="v1", kind="PodDisruptionBudget", plural="poddisruptionbudgets", selector=OURS
)
SECRETS = Resource(group="", version="v1", kind="Secret", plural="secrets")
EVENTS = Resource(group="", version="v1", kind="Event", plural="events")
LEASES = Resource(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases")

OWN_KINDS = (BROKERS, QUEUES, WORKER_POOLS, PERIODIC_TASKS)  # people write these
CHILDREN = (DEPLOYMENTS, DISRUPTION_BUDGETS, PODS)  # come of what we write
WATCHED = OWN_KINDS + CHILDREN
