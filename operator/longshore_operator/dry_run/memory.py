"""What the handlers work on in a dry run: an API server in memory, and a Redis that is read but never written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from longshore.protocol.snapshots import ArchiveLimits, ArchiveTrim
from longshore_operator.api.durations import format_duration
from longshore_operator.cluster.resources import SECRETS, Resource
from longshore_operator.errors import ObjectGone
from longshore_operator.plan.timestamps import format_time

Manifest = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """One write that the operator would make."""

    verb: str  # apply | patch | create | delete for the API server; the inspector's own word for Redis
    what: str  # the kind, or "Redis"
    name: str
    content: Mapping[str, Any] = field(default_factory=dict)  # a manifest, a patch, or a call's arguments


class MemoryApi:
    """Answers like :class:`longshore_operator.cluster.client.ApiClient` and keeps what was written."""

    def __init__(self) -> None:
        self.written: list[Written] = []
        self.may_write: Callable[[], bool] = lambda: True
        self._objects: dict[tuple[str, str, str], Manifest] = {}
        self._version = 0

    def put(self, resource: Resource, manifest: Mapping[str, Any]) -> Manifest:
        """Store an object as the API server would: with a uid, a version, a generation."""
        stored = copy.deepcopy(dict(manifest))
        metadata = stored["metadata"]
        known = self._objects.get((resource.kind, metadata["namespace"], metadata["name"]))
        self._version += 1
        metadata["uid"] = known["metadata"]["uid"] if known else f"dry-run-{self._version}"
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("generation", 1)
        metadata.setdefault("creationTimestamp", format_time(datetime.now(UTC)))
        self._objects[resource.kind, metadata["namespace"], metadata["name"]] = stored
        return copy.deepcopy(stored)

    async def get(self, resource: Resource, namespace: str, name: str, **_: Any) -> Manifest | None:
        return copy.deepcopy(self._objects.get((resource.kind, namespace, name)))

    async def list(self, resource: Resource, namespace: str | None) -> list[Manifest]:
        return [
            copy.deepcopy(manifest)
            for (kind, place, _), manifest in self._objects.items()
            if kind == resource.kind and namespace in (None, place)
        ]

    async def apply(
        self, resource: Resource, namespace: str, manifest: Mapping[str, Any], *, subresource: str | None = None
    ) -> Manifest:
        name = manifest["metadata"]["name"]
        known = self._objects.get((resource.kind, namespace, name))
        if subresource is not None:
            if known is None:
                raise ObjectGone("not found", request=f"PATCH {resource.path(namespace, name, subresource)}")
            return self.put(resource, {**known, subresource: manifest.get(subresource)})
        self.written.append(Written(verb="apply", what=resource.kind, name=name, content=manifest))
        return self.put(resource, {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}})

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Mapping[str, Any]) -> Manifest:
        known = self._objects.get((resource.kind, namespace, name))
        if known is None:
            raise ObjectGone("not found", request=f"PATCH {resource.path(namespace, name)}")
        self.written.append(Written(verb="patch", what=resource.kind, name=name, content=patch))
        return self.put(resource, _merged(known, patch))

    async def create(self, resource: Resource, namespace: str, manifest: Mapping[str, Any], **_: Any) -> Manifest:
        name = manifest["metadata"]["name"]
        self.written.append(Written(verb="create", what=resource.kind, name=name, content=manifest))
        return self.put(resource, {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}})

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        known = self._objects.get((resource.kind, namespace, name))
        if known is not None and known["metadata"]["uid"] == uid:
            self.written.append(Written(verb="delete", what=resource.kind, name=name))
            del self._objects[resource.kind, namespace, name]

    def holds_secret(self, namespace: str, name: str) -> bool:
        """Whether that Secret was among the manifests."""
        return (SECRETS.kind, namespace, name) in self._objects


class WriteOnlyInspector:
    """Takes the writes that handlers make to Redis, and does none of them."""

    def __init__(self, record: Callable[[Written], None]) -> None:
        self._record = record

    async def pause(self, queue: str) -> None:
        self._note("pause", queue)

    async def unpause(self, queue: str) -> None:
        self._note("unpause", queue)

    async def limit_archive(self, queue: str, limits: ArchiveLimits) -> ArchiveTrim:
        self._note("limit_archive", queue, max_tasks=limits.max_tasks, max_age=format_duration(limits.max_age))
        return ArchiveTrim(deleted=0, deleted_ever=0, left=0, oldest_at=None)

    async def unlimit_archive(self, queue: str) -> None:
        self._note("unlimit_archive", queue)

    async def retire_queue(self, queue: str, *, delete_tasks: bool) -> bool:
        self._note("retire_queue", queue, delete_tasks=delete_tasks)
        return False

    async def write_periodic(self, scope: str, **changes: Any) -> None:
        self._note("write_periodic", scope, **changes)

    def _note(self, verb: str, name: str, **content: Any) -> None:
        self._record(Written(verb=verb, what="Redis", name=name, content=content))


def _merged(value: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(value) if isinstance(value, Mapping) else {}
    for name, each in patch.items():
        if each is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), each)
    return merged
