"""What an answer of the API server means, and so whether it is tried again, told to a person, or both.

Proved on the client alone, with a server that gives the answers a real one gives only when it is in trouble.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from longshore_operator.api.broker import Credential, SecretKeyRef
from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.connection import Connection
from longshore_operator.cluster.resources import DEPLOYMENTS, LEASES
from longshore_operator.errors import (
    ApiForbidden,
    ApiUnavailable,
    NamespaceTerminating,
    ObjectConflict,
    ObjectGone,
    ObjectInvalid,
)
from longshore_operator.observe.secrets import observe_secrets


class Server:
    """Gives one answer to whatever is asked."""

    def __init__(self) -> None:
        self.status = 200
        self.message = ""
        self.headers: dict[str, str] = {}
        self.details: dict[str, object] = {}
        self.asked_at: list[float] = []

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked_at.append(asyncio.get_running_loop().time())
        body = {"message": self.message, "details": self.details}
        return web.json_response(body, status=self.status, headers=self.headers)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, ApiClient]]:
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = ApiClient(Connection(Configuration(host=f"http://127.0.0.1:{port}")))
    yield server, client
    await client.aclose()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        pytest.param(401, "Unauthorized", ApiUnavailable, id="our credentials have run out: later"),
        pytest.param(403, "exceeded quota", ApiForbidden, id="access control says no"),
        pytest.param(404, "not found", ObjectGone, id="it is not there"),
        pytest.param(409, "the object has been modified", ObjectConflict, id="somebody was faster"),
        pytest.param(422, "invalid", ObjectInvalid, id="it is refused"),
        pytest.param(413, "limit is 3145728", ObjectInvalid, id="it is too large for the API server"),
        pytest.param(500, "etcdserver: request is too large", ObjectInvalid, id="it is too large for etcd"),
        pytest.param(
            500,
            "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097290 vs. 2097152)",
            ObjectInvalid,
            id="it is too large for the way to etcd",
        ),
        pytest.param(500, "failed to create typed patch object (…): .x: field not declared", ObjectInvalid, id="typed"),
        pytest.param(500, 'Internal error: failed calling webhook "x"', ApiForbidden, id="whoever admits is not there"),
        pytest.param(500, "etcdserver: leader changed", ApiUnavailable, id="its store is in trouble: later"),
        pytest.param(503, "", ApiUnavailable, id="it is not there: later"),
    ],
)
async def test_an_answer_is_told_by_whose_fault_it_is(
    server: tuple[Server, ApiClient], status: int, message: str, error: type[Exception]
) -> None:
    answering, client = server
    answering.status, answering.message = status, message
    with pytest.raises(error, match=message[:20] or None):
        await client.apply(DEPLOYMENTS, "shop", {"metadata": {"name": "mail-worker"}})


async def test_an_overloaded_server_says_when_to_come_back(server: tuple[Server, ApiClient]) -> None:
    answering, client = server
    answering.status, answering.headers = 429, {"Retry-After": "1"}
    with pytest.raises(ApiUnavailable) as caught:
        await client.list(DEPLOYMENTS, None)
    assert caught.value.retry_after_s == 1
    answering.status, answering.headers = 404, {}
    # Nobody else asks before that, but for the Lease.
    await asyncio.gather(
        client.get(DEPLOYMENTS, "shop", "mail-worker"), client.get(LEASES, "shop", "operator", priority=True)
    )
    first, lease, other = answering.asked_at
    assert lease < first + 1 <= other


async def test_a_namespace_that_is_being_deleted_is_told_from_a_missing_right(server: tuple[Server, ApiClient]) -> None:
    answering, client = server
    answering.status, answering.message = 403, "because it is being terminated"
    answering.details = {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}
    with pytest.raises(NamespaceTerminating):
        await client.apply(DEPLOYMENTS, "shop", {"metadata": {"name": "mail-worker"}})


async def test_credentials_that_have_run_out_do_not_make_a_secret_missing(server: tuple[Server, ApiClient]) -> None:
    answering, client = server
    answering.status, answering.message = 401, "Unauthorized"
    with pytest.raises(ApiUnavailable):
        await observe_secrets(client, "shop", {Credential.PASSWORD: SecretKeyRef(name="redis")})
