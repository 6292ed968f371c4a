"""What the operator must be allowed to do: the one list that the code needs. The chart is compared with it.

No wildcard, and Secrets by GET alone: the operator reads the one that a Broker names and can list none. The tests of
the handlers run the operator with exactly these rights.
"""

from __future__ import annotations

from dataclasses import dataclass

from longshore_operator.cluster.resources import (
    BROKERS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    EVENTS,
    LEASES,
    OWN_KINDS,
    PODS,
    QUEUES,
    SECRETS,
    WORKER_POOLS,
)

_WATCH = ("list", "watch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule of a Role or ClusterRole."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()  # empty: any
    why: str

    def manifest(self) -> dict[str, list[str]]:
        """As RBAC writes it."""
        rule = {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs)}
        return {**rule, "resourceNames": list(self.names)} if self.names else rule


OWN_GROUP = BROKERS.group

# In each namespace that is served.
RULES: tuple[Rule, ...] = (
    Rule(
        group=OWN_GROUP,
        resources=tuple(each.plural for each in OWN_KINDS),
        verbs=_WATCH,
        why="what people declare",
    ),
    Rule(
        group=OWN_GROUP,
        resources=(BROKERS.plural, QUEUES.plural),
        verbs=("patch",),
        why="the finalizers of a Broker in use, and of a Queue whose deletionPolicy has something to do",
    ),
    Rule(
        group=OWN_GROUP,
        resources=tuple(f"{each.plural}/status" for each in OWN_KINDS),
        verbs=("patch",),
        why="what the operator reports",
    ),
    Rule(
        group=OWN_GROUP,
        resources=(f"{BROKERS.plural}/finalizers", f"{WORKER_POOLS.plural}/finalizers"),
        verbs=("update",),
        why="owner references that block the owner's deletion, where OwnerReferencesPermissionEnforcement is on",
    ),
    Rule(
        group=DEPLOYMENTS.group,
        resources=(DEPLOYMENTS.plural,),
        verbs=("get", *_WATCH, "create", "patch", "delete"),
        why="workers and schedulers; server-side apply is a patch, and a create when there is none yet",
    ),
    Rule(
        group=DISRUPTION_BUDGETS.group,
        resources=(DISRUPTION_BUDGETS.plural,),
        verbs=("get", *_WATCH, "create", "patch", "delete"),
        why="what the drain of a node may take of a pool at once",
    ),
    Rule(
        group=PODS.group,
        resources=(PODS.plural,),
        verbs=(*_WATCH, "patch"),
        why="which workers are busy, and their deletion cost before a shrink",
    ),
    Rule(
        group=SECRETS.group,
        resources=(SECRETS.plural,),
        verbs=("get",),
        why="the passwords and certificates that a Broker names",
    ),
    Rule(
        group=EVENTS.group,
        resources=(EVENTS.plural,),
        verbs=("create", "patch"),
        why="one Event a transition; a patch counts one that repeats",
    ),
)

# In the operator's own namespace. A create cannot be limited to a name.
LEASE_RULES: tuple[Rule, ...] = (
    Rule(group=LEASES.group, resources=(LEASES.plural,), verbs=("create",), why="the first election"),
    Rule(
        group=LEASES.group,
        resources=(LEASES.plural,),
        verbs=("get", "update"),
        names=("longshore-operator",),
        why="leader election",
    ),
)
