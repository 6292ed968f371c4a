"""Writes ``.status``: only when it differs, at once when people wait for it, otherwise within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from longshore_operator.cluster.client import ApiClient, Manifest
from longshore_operator.cluster.resources import Resource
from longshore_operator.cluster.throttle import TokenBucket
from longshore_operator.errors import ObjectGone, OwnerGone
from longshore_operator.measures import Tally
from longshore_operator.plan.actions import Plan

EVERY_S = 5.0  # volatile numbers of one object are written at most this often
_BUDGET_A_SECOND = 20.0  # … and so many a second of all objects together
_BUDGET_BURST = 40


class StatusWriter:
    """One a process. Server-side apply: what the plan no longer says, goes."""

    def __init__(
        self, client: ApiClient, *, written: Callable[[Resource, Manifest], object], clock: Callable[[], float]
    ) -> None:
        """``written`` hears of each object as the API server now has it."""
        self._client = client
        self._written = written
        self._clock = clock
        self._budget = TokenBucket(rate=_BUDGET_A_SECOND, burst=_BUDGET_BURST, clock=clock)
        self._written_at: dict[str, float] = {}  # by uid
        self.writes = Tally()  # by kind
        self.deferrals = Tally()  # by kind: writes that were put off to keep within the budgets

    async def write(self, resource: Resource, manifest: Mapping[str, Any], plan: Plan) -> timedelta | None:
        """Write the plan's status of ``manifest``'s object, or say how long to wait before the next try.

        None: all is said.
        Raises ApiError; OwnerGone when the object has vanished. (One of the same name that came after it would get this
        status for a moment: the API server ignores preconditions here. It is visited itself then.)
        """
        wanted = plan.status
        if wanted is None or wanted == (manifest.get("status") or {}):
            return None
        metadata = manifest["metadata"]
        if not plan.urgent:
            wait_s = self._written_at.get(metadata["uid"], -EVERY_S) + EVERY_S - self._clock()
            if wait_s > 0:
                self.deferrals.add(resource.kind)
                return timedelta(seconds=wait_s)
            if not self._budget.take_nowait():
                self.deferrals.add(resource.kind)
                return timedelta(seconds=max(self._budget.wait_s(), 0.5))
        try:
            written = await self._client.apply(
                resource,
                metadata["namespace"],
                {
                    "apiVersion": resource.api_version,
                    "kind": resource.kind,
                    "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
                    "status": wanted,
                },
                subresource="status",
            )
        except ObjectGone as error:
            raise OwnerGone.of(error) from error
        self.writes.add(resource.kind)
        self._written_at[metadata["uid"]] = self._clock()
        self._written(resource, written)
        return None

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._written_at.pop(uid, None)
