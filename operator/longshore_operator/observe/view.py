"""The operator's picture of its objects and their children, fed by the watcher, by full lists and by our own writes."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from longshore_operator.api.broker import DEFAULT_BROKER, Broker
from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.api.queue import Queue
from longshore_operator.api.resource import Resource as Model
from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.cluster.resources import (
    BROKERS,
    CHILDREN,
    DEPLOYMENTS,
    PERIODIC_TASKS,
    PODS,
    QUEUES,
    WORKER_POOLS,
    Resource,
)
from longshore_operator.errors import InvalidResource
from longshore_operator.plan.names import POOL_LABEL

logger = logging.getLogger(__name__)

Manifest = Mapping[str, Any]
Place = tuple[str, str]  # namespace and name

_MODELS: dict[str, type[Model]] = {
    BROKERS.kind: Broker,
    QUEUES.kind: Queue,
    WORKER_POOLS.kind: WorkerPool,
    PERIODIC_TASKS.kind: PeriodicTask,
}

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Key:
    """One object, by kind and place. What is at the place may be replaced by another object of the same name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Change(Enum):
    """What an object's newer state changes for whoever depends on it."""

    NOTHING = 0  # seen before, or older than what we have
    STATUS = 1  # its status only
    CONDITIONS = 2  # its status, conditions included
    OBJECT = 3  # it came, went, was replaced, or its spec or metadata changed


class View:
    """In memory; every method is quick and none waits."""

    def __init__(self) -> None:
        self._manifests: dict[str, dict[Place, Manifest]] = defaultdict(dict)
        self._models: dict[Key, Model] = {}
        self._unreadable: dict[Key, InvalidResource] = {}
        self._by_broker: dict[Place, _Users] = {}
        # By Broker and queue name: a visit must not look through all objects of a Broker, of which there are thousands.
        self._by_queue: dict[tuple[Place, str], set[Key]] = defaultdict(set)
        self._pods_of_pool: dict[Place, set[Place]] = defaultdict(set)

    # -- feeding -----------------------------------------------------------------------------------------------------

    def put(self, resource: Resource, manifest: Manifest) -> Change:
        """Take in an object's state, unless it is older than what is known."""
        metadata = manifest["metadata"]
        place = (metadata["namespace"], metadata["name"])
        known = self._manifests[resource.kind].get(place)
        if known is not None and not _newer(manifest, known):
            return Change.NOTHING
        manifest = _slim(resource, manifest)
        change = Change.OBJECT if known is None else _change(known, manifest)
        self._manifests[resource.kind][place] = manifest
        if known is None:
            self._link(resource, place, manifest)
        elif change is Change.OBJECT:
            self._unlink(resource, place, known)
            self._link(resource, place, manifest)
        else:
            self._set_status(resource, place, manifest)
        return change

    def remove(self, resource: Resource, namespace: str, name: str, *, uid: str | None = None) -> bool:
        """Forget an object (of that uid, when one is given). Whether it was known."""
        place = (namespace, name)
        known = self._manifests[resource.kind].get(place)
        if known is None or (uid is not None and known["metadata"].get("uid") != uid):
            return False
        self._unlink(resource, place, known)
        del self._manifests[resource.kind][place]
        return True

    def _link(self, resource: Resource, place: Place, manifest: Manifest) -> None:
        key = Key(kind=resource.kind, namespace=place[0], name=place[1])
        if resource == PODS:
            pool = _labels(manifest).get(POOL_LABEL)
            if pool:
                self._pods_of_pool[place[0], pool].add(place)
        model_type = _MODELS.get(resource.kind)
        if model_type is None:
            return
        broker = broker_ref(resource, manifest)
        if broker is not None:
            self._by_broker.setdefault((place[0], broker), _Users()).add(key)
        try:
            model = model_type.parse(manifest)
        except InvalidResource as error:
            # The schema should have refused it: an older or newer CRD is installed.
            self._unreadable[key] = error
            logger.warning(
                "an object cannot be read", extra={"action": "parse", "object": str(key), "error": error.problem}
            )
            return
        self._models[key] = model
        for place_of_queue in _queues(model):
            self._by_queue[place_of_queue].add(key)

    def _set_status(self, resource: Resource, place: Place, manifest: Manifest) -> None:
        """For an object of which nothing else has changed: most of what is heard are our own writes of status."""
        key = Key(kind=resource.kind, namespace=place[0], name=place[1])
        model = self._models.get(key)
        if model is not None:
            self._models[key] = model.model_copy(update={"status": manifest.get("status") or {}})

    def _unlink(self, resource: Resource, place: Place, manifest: Manifest) -> None:
        key = Key(kind=resource.kind, namespace=place[0], name=place[1])
        if resource == PODS:
            pool = _labels(manifest).get(POOL_LABEL)
            if pool:
                _discard(self._pods_of_pool, (place[0], pool), place)
        self._unreadable.pop(key, None)
        model = self._models.pop(key, None)
        for place_of_queue in () if model is None else _queues(model):
            _discard(self._by_queue, place_of_queue, key)
        broker = broker_ref(resource, manifest)
        users = None if broker is None else self._by_broker.get((place[0], broker))
        if users is not None and broker is not None:
            users.discard(key)
            if not users:
                del self._by_broker[place[0], broker]

    # -- looking -----------------------------------------------------------------------------------------------------

    def manifest(self, key: Key) -> Manifest | None:
        """The object as the API server sent it."""
        return self._manifests[key.kind].get((key.namespace, key.name))

    def manifest_at(self, resource: Resource, place: Place) -> Manifest | None:
        """The object of a kind at a place."""
        return self._manifests[resource.kind].get(place)

    def places(self, resource: Resource) -> Iterable[Place]:
        """Where the known objects of a kind are."""
        return list(self._manifests[resource.kind])

    def keys(self) -> Iterator[Key]:
        """Every object of our own kinds."""
        yield from [*self._models, *self._unreadable]

    def unreadable(self, key: Key) -> InvalidResource | None:
        """Why the object cannot be read, if it cannot."""
        return self._unreadable.get(key)

    def broker(self, namespace: str, name: str) -> Broker | None:
        """The Broker of that name."""
        return self._model(Broker, namespace, name)

    def queue(self, namespace: str, name: str) -> Queue | None:
        """The Queue object of that name."""
        return self._model(Queue, namespace, name)

    def worker_pool(self, namespace: str, name: str) -> WorkerPool | None:
        """The WorkerPool of that name."""
        return self._model(WorkerPool, namespace, name)

    def periodic_task(self, namespace: str, name: str) -> PeriodicTask | None:
        """The PeriodicTask of that name."""
        return self._model(PeriodicTask, namespace, name)

    def users(self, namespace: str, broker: str) -> list[Key]:
        """Everything that refers to the Broker of that name, readable or not, sorted."""
        users = self._by_broker.get((namespace, broker))
        return [] if users is None else [key for kind in users.kinds() for key in users.of(kind)]

    def queues_of(self, namespace: str, broker: str) -> list[Queue]:
        """The Queue objects of a Broker, by name."""
        return self._models_of(Queue, namespace, broker)

    def pools_of(self, namespace: str, broker: str) -> list[WorkerPool]:
        """The WorkerPools of a Broker, by name."""
        return self._models_of(WorkerPool, namespace, broker)

    def queues_named(self, namespace: str, broker: str, names: Iterable[str]) -> list[Queue]:
        """The Queue objects of a Broker that stand for one of these queues, by name."""
        return self._serving(Queue, namespace, broker, names)

    def pools_serving(self, namespace: str, broker: str, names: Iterable[str]) -> list[WorkerPool]:
        """The WorkerPools of a Broker that serve at least one of these queues, by name."""
        return self._serving(WorkerPool, namespace, broker, names)

    def periodic_tasks_of(self, namespace: str, broker: str) -> list[PeriodicTask]:
        """The PeriodicTasks of a Broker, by name."""
        return self._models_of(PeriodicTask, namespace, broker)

    def deployment(self, namespace: str, name: str) -> Manifest | None:
        """A Deployment that carries our label."""
        return self._manifests[DEPLOYMENTS.kind].get((namespace, name))

    def pods_of_pool(self, namespace: str, pool: str) -> list[Manifest]:
        """The pods that carry the pool's label, by name."""
        pods = self._manifests[PODS.kind]
        return [pods[place] for place in sorted(self._pods_of_pool.get((namespace, pool), ()))]

    def _model(self, model_type: type[M], namespace: str, name: str) -> M | None:
        model = self._models.get(Key(kind=model_type.KIND, namespace=namespace, name=name))
        return model if isinstance(model, model_type) else None

    def _models_of(self, model_type: type[M], namespace: str, broker: str) -> list[M]:
        users = self._by_broker.get((namespace, broker))
        models = () if users is None else (self._models.get(key) for key in users.of(model_type.KIND))
        return [model for model in models if isinstance(model, model_type)]

    def _serving(self, model_type: type[M], namespace: str, broker: str, names: Iterable[str]) -> list[M]:
        keys = {key for name in names for key in self._by_queue.get(((namespace, broker), name), ())}
        models = (self._models.get(key) for key in sorted(keys))
        return [model for model in models if isinstance(model, model_type)]


class _Users:
    """What refers to one Broker, in order. Thousands of objects are sorted when they came or went, not at each look."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, Key]] = {}  # by kind and name: one Broker's users are of one namespace
        self._sorted: dict[str, list[Key]] = {}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def kinds(self) -> list[str]:
        return sorted(self._keys)

    def of(self, kind: str) -> list[Key]:
        """Those of a kind, by name."""
        found = self._sorted.get(kind)
        if found is None:
            keys = self._keys.get(kind, {})
            found = self._sorted[kind] = [keys[name] for name in sorted(keys)]
        return found

    def add(self, key: Key) -> None:
        named = self._keys.setdefault(key.kind, {})
        if key.name not in named:
            self._sorted.pop(key.kind, None)
        named[key.name] = key

    def discard(self, key: Key) -> None:
        named = self._keys.get(key.kind, {})
        if named.pop(key.name, None) is not None:
            self._sorted.pop(key.kind, None)
        if not named:
            self._keys.pop(key.kind, None)


def _queues(model: Model) -> Iterator[tuple[Place, str]]:
    """The Broker and the name of each queue that a Queue stands for, or that a WorkerPool serves."""
    match model:
        case Queue():
            yield (model.namespace, model.spec.broker_ref), model.queue_name
        case WorkerPool():
            for queue in model.spec.queues:
                yield (model.namespace, model.spec.broker_ref), queue.name


def broker_ref(resource: Resource, manifest: Manifest) -> str | None:
    """The name of the Broker that an object refers to; None for a Broker, and for kinds that know of none."""
    if resource not in (QUEUES, WORKER_POOLS, PERIODIC_TASKS):
        return None
    reference = (manifest.get("spec") or {}).get("brokerRef")
    return reference if isinstance(reference, str) else DEFAULT_BROKER


def _newer(manifest: Manifest, known: Manifest) -> bool:
    """Whether ``manifest`` is a later state of the place than ``known``.

    Watch events, lists and the answers to our own writes overtake each other. The API server's resource versions are
    decimal numbers that grow, over all objects of a kind; if they are ever anything else, the last one heard counts.
    """
    old, new = known["metadata"].get("resourceVersion", ""), manifest["metadata"].get("resourceVersion", "")
    if old == new:
        return False
    if old.isdigit() and new.isdigit():
        return int(new) > int(old)
    return True


_OF_THE_SERVER = frozenset({"resourceVersion", "managedFields"})  # metadata that changes with every write


def _slim(resource: Resource, manifest: Manifest) -> Manifest:
    """What is kept of an object. Of thousands, the records of who wrote what would take more memory than all else."""
    if resource in CHILDREN and resource != PODS:
        return manifest  # by these records an edit of what we applied is found out
    slim = {**manifest, "metadata": {**manifest["metadata"]}}
    slim["metadata"].pop("managedFields", None)
    if resource == PODS:
        slim.pop("spec", None)
    return slim


def _change(known: Manifest, manifest: Manifest) -> Change:
    if any(known.get(part) != manifest.get(part) for part in known.keys() | manifest.keys() if part not in _PARTS):
        return Change.OBJECT
    old, new = known["metadata"], manifest["metadata"]
    if any(old.get(name) != new.get(name) for name in (old.keys() | new.keys()) - _OF_THE_SERVER):
        return Change.OBJECT
    old_status, new_status = known.get("status") or {}, manifest.get("status") or {}
    if old_status.get("conditions") != new_status.get("conditions"):
        return Change.CONDITIONS
    return Change.STATUS


_PARTS = frozenset({"metadata", "status"})


def _labels(manifest: Manifest) -> Mapping[str, str]:
    return manifest["metadata"].get("labels") or {}


K = TypeVar("K")
V = TypeVar("V")


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(value)
        if not members:
            del index[key]
