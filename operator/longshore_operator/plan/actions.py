"""What the operator can do, as frozen values with the reason for it. The ``apply`` package carries them out, in order.

Every action may be carried out twice with the effect of once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from longshore.protocol.periodic import PeriodicEntry
from longshore.protocol.snapshots import ArchiveLimits
from longshore_operator.plan.observed import PoolMemory


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyDeployment:
    """Server-side apply, as the only owner of the fields given. Skipped by the plan when nothing would change."""

    manifest: Mapping[str, Any]
    why: str  # for logs: "absent", "replicas 3 → 5", "image changed", "edited by kubectl-edit: spec.template…"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleDeployment:
    """Change only the count of a Deployment of ours, while the API server refuses its new template.

    A merge patch of ``spec.replicas`` and of the annotation that says which count we decided (plan.names).
    """

    name: str
    uid: str  # precondition: never another one of that name
    replicas: int
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeleteDeployment:
    """Delete a Deployment of ours that is no longer wanted."""

    name: str
    uid: str  # precondition: never another one of that name
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyBudget:
    """Server-side apply of a PodDisruptionBudget. Comes last: a pool without one works."""

    manifest: Mapping[str, Any]
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeleteBudget:
    """Delete a PodDisruptionBudget of ours that is no longer wanted."""

    name: str
    uid: str  # precondition: never another one of that name
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetDeletionCost:
    """Annotate a pod before a shrink, so that idle ones go first."""

    pod: str
    cost: int
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetFinalizer:
    """Add or remove a finalizer of ours on the object itself."""

    name: str
    present: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetPaused:
    """Set or clear Asynq's pause key of a queue."""

    queue: str
    paused: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitArchive:
    """Set the limits of a queue's archive and trim it by them, or undo the limits."""

    queue: str
    limits: ArchiveLimits | None  # None: undo
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RetireQueue:
    """Remove a queue from Redis once it has no tasks, a bounded step at a time."""

    queue: str
    delete_tasks: bool  # delete those that wait; otherwise only an empty one is removed
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WritePeriodic:
    """Write and remove entries of a Broker's periodic hash."""

    scope: str
    set: Mapping[str, PeriodicEntry]
    remove: frozenset[str]
    why: str


Action = (
    ApplyDeployment
    | ScaleDeployment
    | DeleteDeployment
    | ApplyBudget
    | DeleteBudget
    | SetDeletionCost
    | SetFinalizer
    | SetPaused
    | LimitArchive
    | RetireQueue
    | WritePeriodic
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A Kubernetes Event about the object: for transitions, not for every pass."""

    type: str  # Normal | Warning
    reason: str  # one of api.reasons
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do for one object, and what to say of it."""

    actions: tuple[Action, ...] = ()
    # The whole wanted .status, in the API's own spelling, conditions with kept transition times. None: do not touch it.
    status: Mapping[str, Any] | None = None
    # Whether the wanted status differs from the object's in something people wait for (conditions, replicas, decision's
    # target), so it is written now; a change of volatile numbers alone waits for the 5 s budget; no change: no write.
    urgent: bool = False
    notes: tuple[Note, ...] = ()
    # When time alone changes the plan, if that is known. Nobody needs to plan again before it for that reason.
    until: datetime | None = None
    memory: PoolMemory | None = field(default=None)  # WorkerPool only: hand this to the next plan
