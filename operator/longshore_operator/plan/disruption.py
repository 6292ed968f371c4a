"""The PodDisruptionBudget of a pool: how many of its workers the drain of a node may take at once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.plan.actions import Action, ApplyBudget, DeleteBudget, Note
from longshore_operator.plan.child import edit_undone, edits, metadata_of_child
from longshore_operator.plan.names import DIGEST_ANNOTATION, selector, worker_disruption_budget, worker_labels
from longshore_operator.plan.observed import ChildBudget, Manifest
from longshore_operator.plan.ownership import lost_fields


def desired_disruption_budget(pool: WorkerPool) -> dict[str, Any] | None:
    """The manifest to apply; None when none is wanted.

    Whether there is one depends on how many workers the spec allows, not on how many there are: a pool that scales
    between zero and thirty would otherwise make and delete it all day, and be without it in the very moment of growth.
    For a pool of at most one worker it would say nothing, since one may always be missing.
    """
    spec = pool.spec
    most = spec.autoscaling.max_replicas if spec.autoscaling is not None else spec.replicas
    if spec.disruption is None or most < 2:
        return None
    labels = worker_labels(pool)
    metadata = metadata_of_child(name=worker_disruption_budget(pool), owner=pool, labels=labels)
    budget = {
        "maxUnavailable": spec.disruption.max_unavailable,
        "selector": {"matchLabels": selector(labels)},
        # Workers that are not ready anyway must not keep a node from being drained.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    digest = hashlib.sha256(json.dumps([metadata, budget], sort_keys=True).encode()).hexdigest()[:16]
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {**metadata, "annotations": {DIGEST_ANNOTATION: digest}},
        "spec": budget,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetPlan:
    """What to do about a pool's PodDisruptionBudget."""

    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    conflict: bool = False  # one is wanted, and another one of its name is not ours


def plan_disruption_budget(wanted: Manifest | None, child: ChildBudget | None) -> BudgetPlan:
    """Compare ``wanted`` with what is there. One that is not ours is left alone."""
    if child is not None and not child.owned:
        return BudgetPlan(conflict=wanted is not None)
    if child is None:
        return BudgetPlan(actions=() if wanted is None else (ApplyBudget(manifest=wanted, why="absent"),))
    metadata = child.manifest["metadata"]
    if metadata.get("deletionTimestamp"):
        return BudgetPlan()
    if wanted is None:
        why = "spec.disruption or the bound of two workers is gone"
        return BudgetPlan(actions=(DeleteBudget(name=metadata["name"], uid=metadata["uid"], why=why),))
    asked = wanted["metadata"]["annotations"][DIGEST_ANNOTATION]
    if (metadata.get("annotations") or {}).get(DIGEST_ANNOTATION) not in (None, asked):
        return BudgetPlan(actions=(ApplyBudget(manifest=wanted, why="spec.disruption changed"),))
    lost = lost_fields(wanted, child.manifest)
    if not lost:
        return BudgetPlan()
    return BudgetPlan(
        actions=(ApplyBudget(manifest=wanted, why=edits(lost)),),
        notes=(edit_undone("PodDisruptionBudget", metadata["name"], lost),),
    )
