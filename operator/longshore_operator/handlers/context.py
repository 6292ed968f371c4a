"""What every handler works with: one value for the life of a leading process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from longshore_operator.apply.actions import Actions
from longshore_operator.apply.events import Events
from longshore_operator.apply.status import StatusWriter
from longshore_operator.cluster.resources import Resource
from longshore_operator.measures import Tally
from longshore_operator.observe.children import Children
from longshore_operator.observe.redis import Pollers
from longshore_operator.observe.view import Key, Manifest, View
from longshore_operator.plan.observed import BrokerReading, PoolMemory, SecretReading
from longshore_operator.plan.settings import PlanSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """The API server's last word on a child of an object, as it was in that generation."""

    generation: int
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Eyes, hands and memory."""

    view: View
    children: Children
    pollers: Pollers
    actions: Actions
    status: StatusWriter
    events: Events
    settings: PlanSettings
    now: Callable[[], datetime]
    # Told of an object that a write did not find, as the watch tells of a deletion: it may never tell of this one.
    lost: Callable[[Resource, Manifest], None] = lambda *_: None
    memories: dict[str, PoolMemory] = field(default_factory=dict)  # by the pool's uid
    refusals: dict[str, Refusal] = field(default_factory=dict)  # of Deployments, by the owner's uid
    budget_refusals: dict[str, Refusal] = field(default_factory=dict)  # of PodDisruptionBudgets, by the pool's uid
    reported: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # by uid: status as last planned
    decisions: Tally = field(default_factory=Tally)  # new counts, by direction and ScalingLimited's reason
    # By the Broker's uid: what its periodic entries were made of when they were last found to be as they should.
    settled_entries: dict[str, object] = field(default_factory=dict)
    limited: dict[Key, tuple[str, str]] = field(default_factory=dict)  # Queues with limits in Redis: Broker and queue

    def reading(self, namespace: str, broker: str) -> BrokerReading | None:
        """What is known of a Broker's Redis; None while its first poll has no outcome yet, so nothing can be said.

        A Broker that does not exist has an empty reading.
        """
        if self.view.broker(namespace, broker) is None:
            return BrokerReading()
        poller = self.pollers.get((namespace, broker))
        if poller is None or (poller.reading.snapshot is None and poller.reading.error is None):
            return None
        return poller.reading

    def secret(self, namespace: str, broker: str) -> SecretReading | None:
        """What is known of the Secret that a Broker names."""
        poller = self.pollers.get((namespace, broker))
        return poller.secret if poller else None

    def refusal(self, uid: str, generation: int) -> str | None:
        """Why the API server refused the Deployment of this very generation."""
        return _message(self.refusals.get(uid), generation)

    def budget_refusal(self, uid: str, generation: int) -> str | None:
        """Why the API server refused the PodDisruptionBudget of this very generation."""
        return _message(self.budget_refusals.get(uid), generation)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self.memories.pop(uid, None)
        self.refusals.pop(uid, None)
        self.budget_refusals.pop(uid, None)
        self.reported.pop(uid, None)
        self.settled_entries.pop(uid, None)
        self.actions.forget(uid)
        self.status.forget(uid)


def _message(refusal: Refusal | None, generation: int) -> str | None:
    return refusal.message if refusal is not None and refusal.generation == generation else None
