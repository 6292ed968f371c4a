"""Posts Kubernetes Events, one a transition, in the background: an Event that cannot be posted holds up nothing.

A transition that repeats within ten minutes raises the count of its Event instead of making another, and an object that
flaps gets no more than a few a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from longshore_operator.cluster.client import ApiClient, Manifest
from longshore_operator.cluster.resources import EVENTS
from longshore_operator.cluster.throttle import TokenBucket
from longshore_operator.errors import ApiError, ApiUnavailable, NamespaceTerminating, ObjectGone
from longshore_operator.measures import Tally
from longshore_operator.plan.actions import Note

logger = logging.getLogger(__name__)

COMPONENT = "longshore-operator"
_SAME_WITHIN_S = 600.0
_BURST = 25  # Events of one object at once …
_A_SECOND = 1 / 10  # … and then one in ten seconds
_REMEMBERED = 5_000  # Events, and objects
_WAITING_AT_MOST = 20_000  # a start with thousands of objects has two or three for each
_ATTEMPTS = 4
_MESSAGE_AT_MOST = 1024  # the API server refuses longer ones

_Identity = tuple[str, str, str, str]  # uid, type, reason, message


@dataclass(kw_only=True, slots=True)
class _Posted:
    name: str
    count: int
    at: float


class Events:
    """One a process; ``run`` is its task."""

    def __init__(self, client: ApiClient, *, identity: str, clock: Callable[[], float]) -> None:
        """``identity`` of this replica is named as the reporting instance."""
        self._client = client
        self._identity = identity
        self._clock = clock
        self._queue: asyncio.Queue[tuple[Mapping[str, Any], Note, datetime]] = asyncio.Queue(_WAITING_AT_MOST)
        self._posted: OrderedDict[_Identity, _Posted] = OrderedDict()
        self._budgets: OrderedDict[str, TokenBucket] = OrderedDict()  # by uid
        self.outcomes = Tally()  # Posted, Counted (an earlier one's count was raised), Dropped or Failed

    @property
    def waiting(self) -> int:
        """How many wait to be posted."""
        return self._queue.qsize()

    def post(self, about: Mapping[str, Any], notes: Sequence[Note]) -> None:
        """Have these Events posted about an object of ours, given as its manifest."""
        for note in notes:
            if not self._within_budget(about["metadata"]["uid"]):
                self.outcomes.add("Dropped")
                logger.debug(
                    "an object has too many Events",
                    extra={"action": "event", "object": about["metadata"]["name"], "reason": note.reason},
                )
                continue
            try:
                self._queue.put_nowait((about, note, datetime.now(UTC)))
            except asyncio.QueueFull:
                self.outcomes.add("Dropped")
                logger.warning("too many Events wait to be posted", extra={"action": "event", "reason": note.reason})

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            about, note, at = await self._queue.get()
            try:
                await self._deliver(about, note, at)
            except NamespaceTerminating:
                self.outcomes.add("Dropped")  # nobody is left to read it
            except ApiError as error:
                self.outcomes.add("Failed")
                logger.warning("an Event could not be posted", extra={"action": "event", "error": str(error)})
            finally:
                self._queue.task_done()

    async def drain(self, timeout_s: float) -> None:
        """Wait until what was handed over is posted, at most that long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            logger.warning("some Events were not posted", extra={"action": "event"})

    async def _deliver(self, about: Mapping[str, Any], note: Note, at: datetime) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._post(about, note, at)
                return
            except ApiUnavailable:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(2.0**attempt / 2)

    async def _post(self, about: Mapping[str, Any], note: Note, at: datetime) -> None:
        metadata = about["metadata"]
        message = note.message if len(note.message) <= _MESSAGE_AT_MOST else note.message[: _MESSAGE_AT_MOST - 1] + "…"
        identity = (metadata["uid"], note.type, note.reason, message)
        posted = self._posted.get(identity)
        if posted is not None and self._clock() < posted.at + _SAME_WITHIN_S:
            patch = {"count": posted.count + 1, "lastTimestamp": _time(at)}
            try:
                await self._client.merge(EVENTS, metadata["namespace"], posted.name, patch)
            except ObjectGone:
                pass  # Events do not live long: make it anew
            else:
                self.outcomes.add("Counted")
                posted.count += 1
                posted.at = self._clock()
                self._posted.move_to_end(identity)
                return
        created = await self._client.create(EVENTS, metadata["namespace"], self._event(about, note, message, at))
        self.outcomes.add("Posted")
        self._posted[identity] = _Posted(name=created["metadata"]["name"], count=1, at=self._clock())
        while len(self._posted) > _REMEMBERED:
            self._posted.popitem(last=False)

    def _event(self, about: Mapping[str, Any], note: Note, message: str, at: datetime) -> Manifest:
        metadata = about["metadata"]
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": note.type,
            "reason": note.reason,
            "message": message,
            "count": 1,
            "firstTimestamp": _time(at),
            "lastTimestamp": _time(at),
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._identity,
        }

    def _within_budget(self, uid: str) -> bool:
        bucket = self._budgets.get(uid)
        if bucket is None:
            bucket = self._budgets[uid] = TokenBucket(rate=_A_SECOND, burst=_BURST, clock=self._clock)
            while len(self._budgets) > _REMEMBERED:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(uid)
        return bucket.take_nowait()


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
