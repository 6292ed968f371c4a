"""A Deployment of ours: its frame, whether it must be applied, and what became of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longshore_operator.api import reasons
from longshore_operator.api.resource import Resource
from longshore_operator.plan.actions import Action, ApplyDeployment, Note, ScaleDeployment
from longshore_operator.plan.names import DIGEST_ANNOTATION, REPLICAS_ANNOTATION, owner_reference, selector
from longshore_operator.plan.observed import ChildDeployment, Manifest
from longshore_operator.plan.ownership import lost_fields

_PROGRESS_DEADLINE_S = 300
_MOST_NAMED = 5  # edited fields that an Event names; the rest is counted


def deployment(
    *,
    name: str,
    owner: Resource,
    labels: Mapping[str, str],
    replicas: int,
    template: Mapping[str, Any],
    rolling_update: Mapping[str, int | str],
    min_ready_seconds: int = 0,
) -> dict[str, Any]:
    """The manifest to apply. Its record of what was applied (see plan.names) covers everything but the count."""
    metadata = metadata_of_child(name=name, owner=owner, labels=labels)
    spec: dict[str, Any] = {
        "selector": {"matchLabels": selector(labels)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": dict(rolling_update)},
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": _PROGRESS_DEADLINE_S,
        "template": template,
    }
    if min_ready_seconds:  # Kubernetes' own default is left to whoever sets the field on the Deployment
        spec["minReadySeconds"] = min_ready_seconds
    digest = hashlib.sha256(json.dumps([metadata, spec], sort_keys=True).encode()).hexdigest()[:16]
    annotations = {DIGEST_ANNOTATION: digest, REPLICAS_ANNOTATION: str(replicas)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "annotations": annotations},
        "spec": {"replicas": replicas, **spec},
    }


def metadata_of_child(*, name: str, owner: Resource, labels: Mapping[str, str]) -> dict[str, Any]:
    """Of anything we make for an object of ours."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": dict(labels),
        "ownerReferences": [owner_reference(owner)],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildPlan:
    """What to do about one Deployment."""

    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    changing: bool = False  # it is about to get another template than it has


def plan_child(
    wanted: Manifest,
    child: ChildDeployment | None,
    *,
    apply_error: str | None,
    leave_count: bool = False,
    hold_template: bool = False,
) -> ChildPlan:
    """Compare ``wanted`` with what is there. Nothing to do when it is as we applied it, someone else's, or going away.

    ``apply_error``: the API server refuses the wanted template now; then the count of the last good one still follows.
    ``leave_count``: the count is whatever it is, and nobody's edit of it is undone.
    ``hold_template``: pods of another template could not start now, so those that run are not replaced by such.
    """
    if child is None:
        return ChildPlan(actions=(ApplyDeployment(manifest=wanted, why="absent"),), changing=True)
    live = child.manifest
    if not child.owned or live["metadata"].get("deletionTimestamp"):
        return ChildPlan()
    name, replicas = wanted["metadata"]["name"], wanted["spec"]["replicas"]
    applied = live["metadata"].get("annotations") or {}
    asked = wanted["metadata"]["annotations"]
    current = live["spec"].get("replicas", 1)

    why = []
    lost = lost_fields(wanted, live)
    if leave_count:
        lost.pop("spec.replicas", None)
    changing = applied.get(DIGEST_ANNOTATION) != asked[DIGEST_ANNOTATION]
    if changing and hold_template:
        return ChildPlan() if replicas == current else ChildPlan(actions=(_scale(live, replicas),))
    if changing:
        # What is to change is not yet ours to lose; an edit of the rest is overwritten in the same step.
        lost = {path: editor for path, editor in lost.items() if path == "spec.replicas"}
        why.append(_what_changes(wanted, live))
    if replicas != current:
        why.append(f"replicas {current} → {replicas}")
    if lost:
        why.append(edits(lost))
    if applied.get(REPLICAS_ANNOTATION) != asked[REPLICAS_ANNOTATION] and not why and not leave_count:
        why.append("its record of the count is out of date")
    if not why:
        return ChildPlan()

    actions: list[Action] = []
    if apply_error is not None and changing and replicas != current:
        actions.append(_scale(live, replicas))
    actions.append(ApplyDeployment(manifest=wanted, why="; ".join(why)))
    notes: tuple[Note, ...] = ()
    if lost and not changing:
        notes = (edit_undone("Deployment", name, lost),)
    return ChildPlan(actions=tuple(actions), notes=notes, changing=changing)


def _scale(live: Manifest, replicas: int) -> ScaleDeployment:
    metadata, current = live["metadata"], live["spec"].get("replicas", 1)
    why = f"replicas {current} → {replicas}"
    return ScaleDeployment(name=metadata["name"], uid=metadata["uid"], replicas=replicas, why=why)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """How far Kubernetes is with a Deployment of ours."""

    replicas: int = 0  # pods there are
    ready: int = 0
    updated: int = 0  # of the latest template
    seen: bool = False  # the controller has seen the latest spec
    stalled: bool = False  # no progress within the deadline
    failure: str | None = None  # why pods cannot be made (a quota, an admission plugin)


def rollout(child: ChildDeployment | None) -> Rollout:
    """Read a Deployment's status; all zero without one of ours."""
    if child is None or not child.owned:
        return Rollout()
    status = child.manifest.get("status") or {}
    conditions = {each.get("type"): each for each in status.get("conditions") or []}
    failure = conditions.get("ReplicaFailure", {})
    progressing = conditions.get("Progressing", {})
    return Rollout(
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0),
        seen=status.get("observedGeneration", 0) >= child.manifest["metadata"].get("generation", 0),
        stalled=progressing.get("reason") == "ProgressDeadlineExceeded",
        failure=failure.get("message") if failure.get("status") == "True" else None,
    )


def conflict_message(name: str, owner: Resource, *, kind: str = "Deployment") -> str:
    """For an object of the name we need that is not ours."""
    return (
        f"{kind} {name} exists and is not controlled by {owner.ref}; delete or rename it, or give the {owner.KIND} "
        "another name."
    )


def edit_undone(kind: str, name: str, lost: Mapping[str, str]) -> Note:
    """The Event of edits that are about to be put back; ``lost`` as lost_fields gives it."""
    message = f"{kind} {name}: put back what {' and '.join(sorted(set(lost.values())))} edited: {_enumerate(lost)}."
    return Note(type="Warning", reason=reasons.EDIT_UNDONE, message=message)


def edits(lost: Mapping[str, str]) -> str:
    """The same, for the log."""
    return f"edited by {', '.join(sorted(set(lost.values())))}: {_enumerate(lost)}"


def _what_changes(wanted: Manifest, live: Manifest) -> str:
    images = [_images(manifest) for manifest in (live, wanted)]
    if images[0] != images[1]:
        return f"image {', '.join(images[0])} → {', '.join(images[1])}"
    return "the rendered template changed"


def _images(manifest: Manifest) -> list[str]:
    containers = manifest["spec"]["template"]["spec"].get("containers") or []
    return [each.get("image", "?") for each in containers]


def _enumerate(paths: Mapping[str, str]) -> str:
    named = sorted(paths)[:_MOST_NAMED]
    rest = len(paths) - len(named)
    return ", ".join(named) + (f" and {rest} more" if rest else "")
