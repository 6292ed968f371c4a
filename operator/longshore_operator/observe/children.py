"""The Deployment, the PodDisruptionBudget and the pods of an object of ours, as the plan wants to see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from longshore_operator.api.resource import Resource as Model
from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.recent import Recent
from longshore_operator.cluster.resources import DEPLOYMENTS, DISRUPTION_BUDGETS, Resource
from longshore_operator.observe.view import Manifest, View
from longshore_operator.plan.names import DELETION_COST_ANNOTATION
from longshore_operator.plan.observed import ChildBudget, ChildDeployment, PodReading

# What has not our label is not watched. One that is in our way is looked at again this often.
FOREIGN_FOR_S = 3.0


class Children:
    """Reads from the view; asks the API server only about a name that the view does not know."""

    def __init__(self, client: ApiClient, view: View, *, clock: Callable[[], float]) -> None:
        self._client = client
        self._view = view
        self._foreign: Recent[tuple[str, str, str], Manifest] = Recent(FOREIGN_FOR_S, clock=clock)  # by kind and place

    def known_deployment(self, owner: Model, name: str) -> ChildDeployment | None:
        """The Deployment of that name if it carries our label, as the view has it."""
        manifest = self._view.deployment(owner.namespace, name)
        return None if manifest is None else ChildDeployment(manifest=manifest, owned=_controlled_by(manifest, owner))

    async def observe_deployment(self, owner: Model, name: str) -> ChildDeployment | None:
        """The Deployment of that name, ours or not; None when there is none, as of right now. Raises ApiError."""
        manifest = await self._observe(DEPLOYMENTS, owner, name)
        return None if manifest is None else ChildDeployment(manifest=manifest, owned=_controlled_by(manifest, owner))

    def known_budget(self, owner: Model, name: str) -> ChildBudget | None:
        """The PodDisruptionBudget of that name if it carries our label, as the view has it."""
        manifest = self._view.manifest_at(DISRUPTION_BUDGETS, (owner.namespace, name))
        return None if manifest is None else ChildBudget(manifest=manifest, owned=_controlled_by(manifest, owner))

    async def observe_budget(self, owner: Model, name: str) -> ChildBudget | None:
        """The PodDisruptionBudget of that name, ours or not; None when there is none. Raises ApiError."""
        manifest = await self._observe(DISRUPTION_BUDGETS, owner, name)
        return None if manifest is None else ChildBudget(manifest=manifest, owned=_controlled_by(manifest, owner))

    async def _observe(self, resource: Resource, owner: Model, name: str) -> Manifest | None:
        manifest = self._view.manifest_at(resource, (owner.namespace, name))
        if manifest is not None:
            return manifest
        key = (resource.kind, owner.namespace, name)
        foreign = self._foreign.get(key)
        if foreign is not None:
            return foreign
        # Asked each time, so that an apply never takes over what somebody else made a moment ago.
        manifest = await self._client.get(resource, owner.namespace, name)
        if manifest is not None:
            self._foreign.set(key, manifest)
        return manifest

    def observe_pods(self, namespace: str, pool: str) -> tuple[PodReading, ...]:
        """The pool's pods, by name."""
        return tuple(_pod(manifest) for manifest in self._view.pods_of_pool(namespace, pool))


def _controlled_by(manifest: Manifest, owner: Model) -> bool:
    references = manifest["metadata"].get("ownerReferences") or ()
    return any(each.get("controller") and each.get("uid") == owner.metadata.uid for each in references)


def _pod(manifest: Manifest) -> PodReading:
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    waiting = _waiting(status)
    why = (waiting.get("state") or {}).get("waiting") or {}
    cost = (metadata.get("annotations") or {}).get(DELETION_COST_ANNOTATION)
    return PodReading(
        name=metadata["name"],
        phase=status.get("phase") or "Unknown",
        ready=any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ()),
        terminating="deletionTimestamp" in metadata,
        deletion_cost=_integer(cost),
        waiting_container=waiting.get("name"),
        waiting_reason=why.get("reason"),
        waiting_message=why.get("message"),
    )


# What the kubelet says of a container whose turn has not come yet.
_NOT_YET = frozenset({"PodInitializing", "ContainerCreating"})


def _waiting(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of the first container that waits for something else than its turn; {} when there is none.

    In the order in which they start: with an init container or a sidecar that cannot run, no worker runs.
    """
    for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (each.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in _NOT_YET:
            container: Mapping[str, Any] = each
            return container
    return {}


def _integer(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
