"""One leader among the replicas of the operator, by a Lease (coordination.k8s.io), with the timing of Kubernetes' own.

A leader renews every 2 s; one that could not for 10 s gives up by itself, before another may take over 15 s after the
last renewal. Clocks of different machines are never compared: a Lease counts as alive for its duration after *we* last
saw it change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.resources import LEASES
from longshore_operator.errors import ApiError, LeaseLost, ObjectConflict

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Seconds. ``duration > renew_within > retry_every`` keeps two leaders apart."""

    duration: float = 15.0  # others wait this long after the last renewal they saw
    renew_within: float = 10.0  # the leader gives up after this long without a successful renewal
    retry_every: float = 2.0  # between attempts to acquire or to renew


class Elector:
    """Acquires the Lease, keeps it, and says so. ``run`` is the one task; start it before anything that acts."""

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: Timing | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``identity`` is this process' own and nobody else's, past or present."""
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing or Timing()
        self._clock = clock or asyncio.get_running_loop().time
        self._lease: dict[str, Any] | None = None  # as last read or written
        self._seen: tuple[str | None, str | None] = (None, None)  # holder and renewTime as last seen
        self._seen_at = 0.0  # when they last changed
        self._attempt_at = self._clock()  # when the loop last came round
        self._renewed_at = self._clock()  # when the last renewal that succeeded was begun
        self._elected = asyncio.Event()

    @property
    def leading(self) -> bool:
        """Whether this process holds the Lease, as far as it knows."""
        return self._elected.is_set()

    def may_write(self) -> bool:
        """Whether nobody else can lead yet, by this process' own clock: stricter than ``leading``, for a late riser."""
        return self.leading and self._clock() - self._renewed_at < self._timing.duration

    async def wait_elected(self) -> None:
        """Block until this process leads."""
        await self._elected.wait()

    async def run(self) -> None:
        """Acquire, then renew for ever. Raises LeaseLost when leadership ends. Cancellation leaves the Lease alone."""
        await self._acquire()
        logger.info("leading", extra={"action": "elected", "lease": self._name, "identity": self._identity})
        self._elected.set()
        try:
            await self._keep()
        finally:
            self._elected.clear()

    async def release(self) -> None:
        """Give the Lease back, so that a standby need not wait for its end. Best effort; after ``run`` has ended."""
        if self._lease is None or self._lease["spec"].get("holderIdentity") != self._identity:
            return
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time()}
        try:
            await self._replace({**self._lease, "spec": spec})
        except ApiError as error:
            logger.warning("the Lease could not be given back", extra={"action": "release", "error": str(error)})

    def problems(self) -> list[str]:
        """For the liveness probe: whether the loop still comes round."""
        silent = self._clock() - self._attempt_at
        return [f"the elector has been stuck for {silent:.0f} s"] if silent > 4 * self._timing.duration else []

    async def _acquire(self) -> None:
        waiting_for: str | None = None
        while True:
            self._attempt_at = self._renewed_at = self._clock()
            try:
                if await self._try_acquire():
                    return
                holder = self._seen[0]
                if holder != waiting_for:
                    waiting_for = holder
                    logger.info("standing by", extra={"action": "standby", "leader": holder})
            except ApiError as error:
                logger.warning("the Lease could not be acquired", extra={"action": "acquire", "error": str(error)})
            await asyncio.sleep(self._timing.retry_every)

    async def _try_acquire(self) -> bool:
        lease = await self._client.get(
            LEASES, self._namespace, self._name, priority=True, timeout_s=self._timing.renew_within / 2
        )
        try:
            if lease is None:
                self._lease = await self._client.create(
                    LEASES,
                    self._namespace,
                    {
                        "apiVersion": LEASES.api_version,
                        "kind": LEASES.kind,
                        "metadata": {"name": self._name, "namespace": self._namespace},
                        "spec": self._spec(acquired=_micro_time(), transitions=0),
                    },
                    priority=True,
                    timeout_s=self._timing.renew_within / 2,
                )
                return True
            if self._held_by_another(lease):
                return False
            transitions = int(lease["spec"].get("leaseTransitions") or 0) + 1
            await self._replace({**lease, "spec": self._spec(acquired=_micro_time(), transitions=transitions)})
        except ObjectConflict:
            return False  # somebody was faster
        return True

    def _held_by_another(self, lease: dict[str, Any]) -> bool:
        spec = lease.get("spec") or {}
        holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
        if (holder, renewed) != self._seen:
            self._seen, self._seen_at = (holder, renewed), self._clock()
        if not holder or holder == self._identity:
            return False
        duration = float(spec.get("leaseDurationSeconds") or self._timing.duration)
        return self._clock() < self._seen_at + duration

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._timing.retry_every)
            self._attempt_at = self._clock()
            left = self._renewed_at + self._timing.renew_within - self._clock()
            try:
                if left <= 0:
                    raise TimeoutError
                async with asyncio.timeout(left):
                    started = self._clock()
                    await self._renew(left)
                    self._renewed_at = started
            except ApiError as error:
                logger.warning("the Lease could not be renewed", extra={"action": "renew", "error": str(error)})
            except TimeoutError as error:
                raise LeaseLost(
                    f"the Lease {self._namespace}/{self._name} could not be renewed for {self._timing.renew_within:g} s"
                ) from error

    async def _renew(self, timeout_s: float) -> None:
        assert self._lease is not None
        spec = {**self._lease["spec"], "renewTime": _micro_time()}
        try:
            await self._replace({**self._lease, "spec": spec}, timeout_s)
        except ObjectConflict:
            # Somebody wrote to it: a label, or a new leader.
            lease = await self._client.get(LEASES, self._namespace, self._name, priority=True, timeout_s=timeout_s)
            holder = None if lease is None else lease["spec"].get("holderIdentity")
            if lease is None or holder != self._identity:
                self._lease = None
                raise LeaseLost(
                    f"the Lease {self._namespace}/{self._name} is held by {holder or 'nobody'} now"
                ) from None
            await self._replace({**lease, "spec": {**lease["spec"], "renewTime": _micro_time()}}, timeout_s)

    async def _replace(self, lease: dict[str, Any], timeout_s: float | None = None) -> None:
        self._lease = await self._client.replace(
            LEASES, self._namespace, lease, priority=True, timeout_s=timeout_s or self._timing.renew_within / 2
        )

    def _spec(self, *, acquired: str, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._timing.duration)),
            "acquireTime": acquired,
            "renewTime": acquired,
            "leaseTransitions": transitions,
        }


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
