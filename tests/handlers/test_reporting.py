"""What the operator says: status and Events, on a real API server.

Proved: a status is written at once when urgent, at most every 5 s when it is not, and never when it is the same or the
object is gone; what a plan no longer says goes. An Event that repeats is counted, an object that flaps is
cut short, and an Event that expired is made anew. Left out: what the plan has to say (tests/plan).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from handlers.harness import Namespace, queue
from longshore_operator.apply.events import Events
from longshore_operator.apply.status import StatusWriter
from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.connection import login
from longshore_operator.cluster.resources import QUEUES, Resource
from longshore_operator.errors import OwnerGone
from longshore_operator.plan.actions import Note, Plan

pytestmark = pytest.mark.cluster


@pytest.fixture
async def client(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiClient]:
    monkeypatch.setenv("KUBECONFIG", str(namespace.access.kubeconfig))
    client = ApiClient(await login())
    yield client
    await client.aclose()


class Desk:
    """A status writer with a clock of its own, and the object as it was last heard of."""

    def __init__(self, client: ApiClient, manifest: dict[str, Any]) -> None:
        self.now = 1000.0
        self.manifest: dict[str, Any] = manifest
        self.writer = StatusWriter(client, written=self._written, clock=lambda: self.now)

    def _written(self, _resource: Resource, manifest: dict[str, Any]) -> None:
        self.manifest = manifest

    async def write(self, *, urgent: bool = False, **status: Any) -> timedelta | None:
        return await self.writer.write(QUEUES, self.manifest, Plan(status=status, urgent=urgent))


async def test_a_status_is_written_when_it_is_time_to(namespace: Namespace, client: ApiClient) -> None:
    desk = Desk(client, namespace.apply(queue("mail")))
    assert await desk.write(pending=1, active=2) is None
    assert desk.manifest["status"] == {"pending": 1, "active": 2}

    version = desk.manifest["metadata"]["resourceVersion"]
    assert await desk.write(pending=1, active=2) is None
    assert await desk.write(pending=5, active=2) == timedelta(seconds=5)
    desk.now += 3
    assert await desk.write(pending=6, active=2) == timedelta(seconds=2)
    assert desk.manifest["metadata"]["resourceVersion"] == version

    assert await desk.write(urgent=True, pending=7) is None
    assert desk.manifest["status"] == {"pending": 7}
    desk.now += 3
    assert await desk.write(pending=8) == timedelta(seconds=2)
    desk.now += 2
    assert await desk.write(pending=9) is None
    assert (namespace.get("Queue", "mail") or {})["status"] == {"pending": 9}


async def test_numbers_of_many_objects_share_a_budget(namespace: Namespace, client: ApiClient) -> None:
    desk = Desk(client, namespace.apply(queue("mail")))
    waits = []
    for number in range(60):
        desk.manifest = {**desk.manifest, "metadata": {**desk.manifest["metadata"]}}
        desk.writer.forget(desk.manifest["metadata"]["uid"])  # as if it were another object each time
        waits.append(await desk.write(pending=number))
    assert waits[:40] == [None] * 40
    assert all(wait is not None for wait in waits[40:])
    desk.now += 1
    assert await desk.write(pending=100) is None


async def test_an_object_that_vanished_gets_no_status_and_is_told_of(namespace: Namespace, client: ApiClient) -> None:
    desk = Desk(client, namespace.apply(queue("mail")))
    namespace.delete("Queue", "mail")
    with pytest.raises(OwnerGone):
        await desk.write(urgent=True, pending=1)
    assert namespace.get("Queue", "mail") is None


async def test_events_are_counted_and_cut_short(namespace: Namespace, client: ApiClient) -> None:
    manifest = namespace.apply(queue("mail"))
    events = Events(client, identity="here", clock=asyncio.get_running_loop().time)
    running = asyncio.create_task(events.run())
    same = Note(type="Warning", reason="LatencyHigh", message="The oldest task is late.")
    try:
        for _ in range(3):
            events.post(manifest, [same])
        events.post(manifest, [Note(type="Normal", reason="OK", message="long " * 500)])
        await events.drain(20)
        (event,) = namespace.events("mail", "LatencyHigh")
        assert event["count"] == 3
        assert event["type"] == "Warning"
        assert event["involvedObject"]["uid"] == manifest["metadata"]["uid"]
        assert len(namespace.events("mail", "OK")[0]["message"]) == 1024

        namespace.delete("Event", event["metadata"]["name"])
        events.post(manifest, [same])
        await events.drain(20)
        (anew,) = namespace.events("mail", "LatencyHigh")
        assert anew["metadata"]["name"] != event["metadata"]["name"]

        for number in range(100):
            events.post(manifest, [Note(type="Normal", reason="OK", message=f"number {number}")])
        await events.drain(20)
        assert 15 <= len(namespace.events("mail")) <= 25
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
