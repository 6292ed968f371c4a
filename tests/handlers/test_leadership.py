"""Leader election on a real API server.

Proved: one leader at a time; a release hands over at once; a leader that vanishes is replaced when its Lease has run
out; a leader whose Lease was taken, or that cannot renew, stops leading.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from handlers.harness import Namespace
from handlers.waiting import until
from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.connection import login
from longshore_operator.errors import LeaseLost
from longshore_operator.leadership import Elector, Timing

pytestmark = pytest.mark.cluster
FAST = Timing(duration=2.0, renew_within=1.4, retry_every=0.2)


@pytest.fixture
async def client(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiClient]:
    monkeypatch.setenv("KUBECONFIG", str(namespace.access.kubeconfig))
    client = ApiClient(await login())
    yield client
    await client.aclose()


def elector(client: ApiClient, namespace: Namespace, identity: str) -> Elector:
    return Elector(client, namespace=namespace.name, name="lease", identity=identity, timing=FAST)


@asynccontextmanager
async def running(elector: Elector) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(elector.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_leads_and_a_release_hands_over(client: ApiClient, namespace: Namespace) -> None:
    first, second = elector(client, namespace, "first"), elector(client, namespace, "second")
    async with running(first) as task:
        await until(lambda: first.leading)
        async with running(second):
            await asyncio.sleep(3 * FAST.duration)
            assert (first.leading, second.leading) == (True, False)
            assert first.problems() == second.problems() == []
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await first.release()
            await until(lambda: second.leading)
            lease = namespace.get("Lease", "lease")
            assert lease is not None
            assert lease["spec"]["holderIdentity"] == "second"
            assert lease["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_vanishes_is_replaced(client: ApiClient, namespace: Namespace) -> None:
    first, second = elector(client, namespace, "first"), elector(client, namespace, "second")
    async with running(first):
        await until(lambda: first.leading)
    async with running(second):
        await until(lambda: second.leading)


async def test_a_leader_whose_lease_was_taken_stops_and_leaves_it_alone(
    client: ApiClient, namespace: Namespace
) -> None:
    first = elector(client, namespace, "first")
    async with running(first) as task:
        await until(lambda: first.leading)
        namespace.patch("Lease", "lease", {"spec": {"holderIdentity": "other"}})
        with pytest.raises(LeaseLost, match="held by other now"):
            await asyncio.wait_for(task, 20)
        assert not first.leading
        await first.release()
        lease = namespace.get("Lease", "lease")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == "other"


async def test_a_label_on_the_lease_does_not_end_leadership(client: ApiClient, namespace: Namespace) -> None:
    first = elector(client, namespace, "first")
    async with running(first) as task:
        await until(lambda: first.leading)
        namespace.patch("Lease", "lease", {"metadata": {"labels": {"team": "a"}}})
        await asyncio.sleep(2 * FAST.renew_within)
        assert first.leading
        assert not task.done()
        assert json.dumps(namespace.get("Lease", "lease")).count('"team": "a"') == 1


async def test_a_leader_that_cannot_renew_gives_up_by_itself(client: ApiClient, namespace: Namespace) -> None:
    first = elector(client, namespace, "first")
    async with running(first) as task:
        await until(lambda: first.leading)
        client._connection._configuration.host = "https://127.0.0.1:1"  # where nobody listens
        with pytest.raises(LeaseLost, match=r"could not be renewed for 1\.4 s"):
            await asyncio.wait_for(task, 20)
