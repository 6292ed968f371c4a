"""A full list of everything watched: the first picture, and later the repair of what a watch has missed.

A watch that is cut off for long (410 Gone) starts over with a list, but nobody tells it what was deleted meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.resources import WATCHED, Resource
from longshore_operator.observe.view import Change, Manifest, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """A difference between the list and the picture, already taken into the picture."""

    resource: Resource
    manifest: Manifest  # the last known state, when it is gone
    change: Change
    gone: bool


async def observe_all(client: ApiClient, view: View, namespaces: Sequence[str]) -> AsyncIterator[Repair]:
    """List each kind, in the given namespaces or (none given) all, and bring ``view`` up to date. Raises ApiError."""
    for resource in WATCHED:
        before = {place: _uid(view, resource, place) for place in view.places(resource)}
        listed = [manifest for each in namespaces or (None,) for manifest in await client.list(resource, each)]
        seen = set()
        for manifest in listed:
            seen.add((manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
            change = view.put(resource, manifest)
            if change is not Change.NOTHING:
                yield Repair(resource=resource, manifest=manifest, change=change, gone=False)
        # Only what was known before the request may be missing from its answer; newer objects are not in the list yet.
        for place in before.keys() - seen:
            manifest_gone = view.manifest_at(resource, place)
            if manifest_gone is not None and view.remove(resource, *place, uid=before[place]):
                yield Repair(resource=resource, manifest=manifest_gone, change=Change.OBJECT, gone=True)


def _uid(view: View, resource: Resource, place: tuple[str, str]) -> str | None:
    manifest = view.manifest_at(resource, place)
    return manifest["metadata"].get("uid") if manifest else None
