"""Carries out a plan's actions, in their order."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from longshore.errors import LongshoreError
from longshore.inspector import Inspector
from longshore_operator.cluster.client import ApiClient, Manifest
from longshore_operator.cluster.recent import Recent
from longshore_operator.cluster.resources import DEPLOYMENTS, DISRUPTION_BUDGETS, OWN_KINDS, PODS, Resource
from longshore_operator.errors import (
    ApiForbidden,
    BudgetRefused,
    ObjectConflict,
    ObjectGone,
    ObjectInvalid,
    OwnerGone,
    TemplateRefused,
)
from longshore_operator.measures import Tally
from longshore_operator.plan.actions import (
    Action,
    ApplyBudget,
    ApplyDeployment,
    DeleteBudget,
    DeleteDeployment,
    LimitArchive,
    RetireQueue,
    ScaleDeployment,
    SetDeletionCost,
    SetFinalizer,
    SetPaused,
    WritePeriodic,
)
from longshore_operator.plan.names import DELETION_COST_ANNOTATION, REPLICAS_ANNOTATION
from longshore_operator.plan.observed import ArchiveReading

logger = logging.getLogger(__name__)

# A manifest that was refused is not sent again for this long: it will be refused again, unless a quota, an admission
# plugin or a permission has changed meanwhile.
REFUSED_FOR_S = 30.0

_RESOURCES = {resource.kind: resource for resource in OWN_KINDS}
# How long one visit trims an archive; it is bounded calls, between which Redis serves others.
_TRIM_S = 1.0

Written = Callable[[Resource, Manifest], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refusal:
    digest: str
    message: str


class Actions:
    """One a process."""

    def __init__(self, client: ApiClient, *, written: Written, clock: Callable[[], float]) -> None:
        """``written`` hears of each object as the API server now has it."""
        self._client = client
        self._written = written
        self._clock = clock
        self._refused: Recent[tuple[str, str, str], _Refusal] = Recent(REFUSED_FOR_S, clock=clock)  # by kind and place
        # What was found in Redis while acting on it, by the uid of the Queue.
        self.archives: dict[str, ArchiveReading] = {}
        self.removed: set[str] = set()  # Queues whose queue is removed
        self.write_errors: dict[str, str] = {}  # by the owner's uid: why Redis could not be written at the last try
        self.done = Tally()  # by action: what was carried out, or was found to be done

    async def carry_out(
        self, owner: Manifest | Mapping[str, Any], actions: Sequence[Action], inspector: Inspector | None
    ) -> bool:
        """Do them, one after the other; the first failure of the API server ends it and is raised.

        Whether all was done: an action on a Redis that does not answer is left to the next round, the others go on.
        Raises TemplateRefused or BudgetRefused when the API server does not take what was rendered, else ApiError.
        """
        namespace = str(owner["metadata"]["namespace"])
        uid = str(owner["metadata"]["uid"])
        complete, problem = True, None
        for action in actions:
            if isinstance(action, SetPaused | LimitArchive | RetireQueue | WritePeriodic):
                try:
                    complete &= await self._in_redis(owner, action, inspector)
                except LongshoreError as error:
                    complete, problem = False, problem or str(error)
                continue
            match action:
                case ApplyDeployment():
                    await self._apply_deployment(namespace, action)
                case ScaleDeployment():
                    await self._scale_deployment(namespace, action)
                case DeleteDeployment():
                    await self._delete(DEPLOYMENTS, namespace, action)
                case ApplyBudget():
                    await self._apply_budget(namespace, action)
                case DeleteBudget():
                    await self._delete(DISRUPTION_BUDGETS, namespace, action)
                case SetDeletionCost():
                    await self._set_deletion_cost(namespace, action)
                case SetFinalizer():
                    await self._set_finalizer(owner, action)
            self.done.add(type(action).__name__)
        if problem is not None:
            self.write_errors[uid] = problem
        elif complete:
            self.write_errors.pop(uid, None)
        return complete

    async def _apply_deployment(self, namespace: str, action: ApplyDeployment) -> None:
        refusal = await self._apply(DEPLOYMENTS, namespace, action)
        if refusal is not None:
            raise TemplateRefused(action.manifest["metadata"]["name"], refusal)

    async def _apply_budget(self, namespace: str, action: ApplyBudget) -> None:
        refusal = await self._apply(DISRUPTION_BUDGETS, namespace, action)
        if refusal is not None:
            raise BudgetRefused(action.manifest["metadata"]["name"], refusal)

    async def _apply(self, resource: Resource, namespace: str, action: ApplyDeployment | ApplyBudget) -> str | None:
        """Why it was refused; None when it was not."""
        name = action.manifest["metadata"]["name"]
        key = (resource.kind, namespace, name)
        refusal = self._refused.get(key)
        if refusal is not None and refusal.digest == _digest(action.manifest):
            return refusal.message
        try:
            applied = await self._client.apply(resource, namespace, action.manifest)
        except (ObjectInvalid, ApiForbidden) as error:
            self._refused.set(key, _Refusal(digest=_digest(action.manifest), message=error.message))
            return error.message
        self._refused.forget(key)
        self._written(resource, applied)
        logger.info(
            "child applied",
            extra={"action": "apply", "namespace": namespace, resource.kind.lower(): name, "why": action.why},
        )
        return None

    async def _scale_deployment(self, namespace: str, action: ScaleDeployment) -> None:
        # Not an apply: leaving out a field that we applied before would remove it. The uid is a precondition.
        patch = {
            "metadata": {"uid": action.uid, "annotations": {REPLICAS_ANNOTATION: str(action.replicas)}},
            "spec": {"replicas": action.replicas},
        }
        try:
            self._written(DEPLOYMENTS, await self._client.merge(DEPLOYMENTS, namespace, action.name, patch))
        except ObjectGone:
            return
        logger.info(
            "Deployment scaled",
            extra={"action": "scale", "namespace": namespace, "deployment": action.name, "why": action.why},
        )

    async def _delete(self, resource: Resource, namespace: str, action: DeleteDeployment | DeleteBudget) -> None:
        try:
            await self._client.delete(resource, namespace, action.name, uid=action.uid)
        except ObjectConflict:
            return  # another one of that name by now: not the one to delete
        logger.info(
            "child deleted",
            extra={"action": "delete", "namespace": namespace, resource.kind.lower(): action.name, "why": action.why},
        )

    async def _set_deletion_cost(self, namespace: str, action: SetDeletionCost) -> None:
        patch = {"metadata": {"annotations": {DELETION_COST_ANNOTATION: str(action.cost)}}}
        try:
            self._written(PODS, await self._client.merge(PODS, namespace, action.pod, patch))
        except ObjectGone:
            return  # it needs no cost any more
        logger.debug(
            "deletion cost set",
            extra={"action": "deletion-cost", "namespace": namespace, "pod": action.pod, "why": action.why},
        )

    async def _set_finalizer(self, owner: Mapping[str, Any], action: SetFinalizer) -> None:
        metadata, resource = owner["metadata"], _RESOURCES[owner["kind"]]
        finalizers = list(metadata.get("finalizers") or ())
        if (action.name in finalizers) == action.present:
            return
        if action.present:
            finalizers.append(action.name)
        else:
            finalizers.remove(action.name)
        # A merge patch replaces the list; the resource version keeps it from undoing what others did to it meanwhile.
        patch = {"metadata": {"finalizers": finalizers or None, "resourceVersion": metadata["resourceVersion"]}}
        try:
            patched = await self._client.merge(resource, metadata["namespace"], metadata["name"], patch)
        except ObjectGone as error:
            raise OwnerGone.of(error) from error
        logger.info(
            "finalizer set" if action.present else "finalizer removed",
            extra={
                "action": "finalizer",
                "object": f"{resource.kind} {metadata['namespace']}/{metadata['name']}",
                "why": action.why,
            },
        )
        # The answer to the removal of the last finalizer is the object as it was before it vanished.
        if action.present or not metadata.get("deletionTimestamp"):
            self._written(resource, patched)

    async def _in_redis(
        self,
        owner: Mapping[str, Any],
        action: SetPaused | LimitArchive | RetireQueue | WritePeriodic,
        inspector: Inspector | None,
    ) -> bool:
        """Whether it was done. Raises LongshoreError when Redis does not take it."""
        facts = {
            "action": type(action).__name__,
            "object": f"{owner['kind']} {owner['metadata']['namespace']}/{owner['metadata']['name']}",
            "why": action.why,
        }
        if inspector is None:
            return False
        if not self._client.may_write():
            return False  # as in Kubernetes: another one may lead by now
        level = logging.INFO
        try:
            match action:
                case SetPaused(queue=queue, paused=True):
                    await inspector.pause(queue)
                case SetPaused(queue=queue):
                    await inspector.unpause(queue)
                case LimitArchive():
                    if not await self._limit_archive(owner["metadata"]["uid"], action, inspector):
                        level = logging.DEBUG
                case RetireQueue(queue=queue):
                    if await inspector.retire_queue(queue, delete_tasks=action.delete_tasks):
                        self.removed.add(owner["metadata"]["uid"])
                case WritePeriodic():
                    await inspector.write_periodic(action.scope, set=action.set, remove=action.remove)
        except LongshoreError as error:
            # Once for as long as it lasts: it is tried again every other second.
            level = logging.DEBUG if owner["metadata"]["uid"] in self.write_errors else logging.WARNING
            logger.log(level, "Redis could not be written", extra={**facts, "error": str(error)})
            raise
        self.done.add(type(action).__name__)
        logger.log(level, "Redis written", extra=facts)
        return True

    async def _limit_archive(self, uid: str, action: LimitArchive, inspector: Inspector) -> bool:
        """Whether the limits changed or tasks were deleted; otherwise they were renewed, as they are all the time."""
        before, now = self.archives.get(uid), datetime.now(UTC)
        if action.limits is None:
            await inspector.unlimit_archive(action.queue)
            self.archives[uid] = ArchiveReading(at=now, limits=None)
            return True
        deleted, until = 0, self._clock() + _TRIM_S
        while True:
            trim = await inspector.limit_archive(action.queue, action.limits)
            deleted += trim.deleted
            if not trim.left or not trim.deleted or self._clock() > until:
                break
        self.archives[uid] = ArchiveReading(
            at=now,
            limits=action.limits,
            trimmed=trim.deleted_ever,
            left=trim.left,
            oldest_at=trim.oldest_at,
            untold=deleted + (before.untold if before is not None else 0),
            told_at=before.told_at if before is not None else None,
        )
        return deleted > 0 or before is None or before.limits != action.limits

    def told(self, uid: str, now: datetime) -> None:
        """The tasks that were trimmed of a Queue's archive have been told of."""
        self.archives[uid] = replace(self.archives[uid], untold=0, told_at=now)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self.archives.pop(uid, None)
        self.removed.discard(uid)
        self.write_errors.pop(uid, None)


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
