"""Which objects a change concerns: from what the watcher, the full list and the pollers saw to visits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from longshore_operator.api.broker import DEFAULT_BROKER
from longshore_operator.cluster.resources import (
    BROKERS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    PERIODIC_TASKS,
    PODS,
    QUEUES,
    WORKER_POOLS,
    Resource,
)
from longshore_operator.observe.redis import News
from longshore_operator.observe.view import Change, Key, Manifest, View, broker_ref
from longshore_operator.plan.names import BROKER_LABEL, POOL_LABEL


class Triggers:
    """Tells the reconciler. Quick; never waits."""

    def __init__(self, view: View, add: Callable[..., None]) -> None:
        """``add(key, fresh=…)`` is the reconciler's."""
        self._view = view
        self._add = add

    def changed(self, resource: Resource, manifest: Manifest, change: Change) -> None:
        """An object came, changed or went. The view has it already; ``manifest`` is its last known state."""
        if change is Change.NOTHING:
            return
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        if resource == DISRUPTION_BUDGETS and change is not Change.OBJECT:
            return  # Kubernetes counts pods there, which the pods' own changes tell already
        if resource in (DEPLOYMENTS, DISRUPTION_BUDGETS, PODS):
            self._add_all(self._owners(resource, manifest))
            return
        self._add(Key(kind=resource.kind, namespace=namespace, name=name), fresh=change is Change.OBJECT)
        if change is not Change.OBJECT:
            return
        if resource == BROKERS:
            self._add_all(self._view.users(namespace, name), fresh=True)
            return
        broker = broker_ref(resource, manifest) or DEFAULT_BROKER
        self._add(Key(kind=BROKERS.kind, namespace=namespace, name=broker))
        if resource == QUEUES:
            queue = (manifest.get("spec") or {}).get("queueName") or name
            self._add_all(self._queues_named(namespace, broker, [queue]))
        elif resource == WORKER_POOLS:
            served = (manifest.get("spec") or {}).get("queues") or ()
            self._add_all(self._pools_serving(namespace, broker, {each["name"] for each in served}))

    def read(self, place: tuple[str, str], news: News) -> None:
        """A poll of the Broker at this place brought news."""
        namespace, broker = place
        if news.everything:
            self._add(Key(kind=BROKERS.kind, namespace=namespace, name=broker))
            self._add_all(self._view.users(namespace, broker))
            return
        if news.scheduler or news.hosts or news.other_queues:
            self._add(Key(kind=BROKERS.kind, namespace=namespace, name=broker))
        if news.queues:
            self._add_all(self._queues_named(namespace, broker, news.queues))
            self._add_all(self._pools_serving(namespace, broker, news.queues))
        for host in news.hosts:
            # a worker's host name is its pod's name
            pod = self._view.manifest(Key(kind=PODS.kind, namespace=namespace, name=host))
            if pod is not None:
                self._add_all(self._owners(PODS, pod))
        tasks = (
            [task.name for task in self._view.periodic_tasks_of(namespace, broker)] if news.scheduler else news.ticks
        )
        self._add_all(Key(kind=PERIODIC_TASKS.kind, namespace=namespace, name=task) for task in tasks)

    def everything(self) -> None:
        """At the start: visit each object once."""
        self._add_all(self._view.keys())

    def _owners(self, resource: Resource, manifest: Manifest) -> Iterator[Key]:
        """Whom a child belongs to, by its labels, and by its owner reference when somebody has removed those."""
        metadata = manifest["metadata"]
        namespace, labels = metadata["namespace"], metadata.get("labels") or {}
        owners = {each["kind"]: each["name"] for each in metadata.get("ownerReferences") or ()}
        pool = labels.get(POOL_LABEL) or owners.get(WORKER_POOLS.kind)
        if pool:
            yield Key(kind=WORKER_POOLS.kind, namespace=namespace, name=pool)
        broker = labels.get(BROKER_LABEL) or owners.get(BROKERS.kind)
        if broker and resource == DEPLOYMENTS:
            yield Key(kind=BROKERS.kind, namespace=namespace, name=broker)
            for task in self._view.periodic_tasks_of(namespace, broker):
                yield Key(kind=PERIODIC_TASKS.kind, namespace=namespace, name=task.name)

    def _queues_named(self, namespace: str, broker: str, names: Iterable[str]) -> Iterator[Key]:
        for queue in self._view.queues_named(namespace, broker, names):
            yield Key(kind=QUEUES.kind, namespace=namespace, name=queue.name)

    def _pools_serving(self, namespace: str, broker: str, queues: Iterable[str]) -> Iterator[Key]:
        for pool in self._view.pools_serving(namespace, broker, queues):
            yield Key(kind=WORKER_POOLS.kind, namespace=namespace, name=pool.name)

    def _add_all(self, keys: Iterable[Key], *, fresh: bool = False) -> None:
        for key in keys:
            self._add(key, fresh=fresh)
