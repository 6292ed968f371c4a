"""A thin, throttled client of the API server: JSON in, JSON out, typed errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp

from longshore_operator.cluster.answers import decode
from longshore_operator.cluster.connection import Connection
from longshore_operator.cluster.resources import Resource
from longshore_operator.cluster.throttle import TokenBucket
from longshore_operator.errors import (
    ApiError,
    ApiForbidden,
    ApiUnavailable,
    NamespaceTerminating,
    ObjectConflict,
    ObjectGone,
    ObjectInvalid,
)
from longshore_operator.measures import Distributions, Tally

Manifest = dict[str, Any]

FIELD_MANAGER = "longshore"
_PAGE = 500  # objects a list request
# What keeps an API server from being flooded is how many requests it has to work on at once; one that is slow is asked
# less often by that alone. The rate only bounds what a defect of ours could do.
_REQUESTS_AT_ONCE = 16
_REQUESTS_A_SECOND = 300.0
_REQUESTS_BURST = 600
_TIMEOUT_S = 15.0
_PAUSE_AT_MOST_S = 10.0  # however long the API server asks us to stay away
_NO_WAIT_S = 0.001  # a turn that came at once
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


# What the API server refuses for good with status 500: fields and types that an apply gets wrong, and what is too large
# for etcd or for the way to it.
_REFUSED_WITH_500 = (
    "failed to create typed patch object",
    "etcdserver: request is too large",
    "trying to send message larger than max",
)
# An admission webhook that cannot be reached refuses all that it guards, and the API server calls that a failure of its
# own. It may last for days: whoever waits for the object must hear why it is not made.
_WEBHOOK_AWAY = "failed calling webhook"


class ApiClient:
    """Each method is one request, or one a page, and raises an :class:`ApiError` of the kind that fits.

    Requests wait for a place (16 at once) and for a token (300 a second on average), so that thousands of objects do
    not flood the API server; ``timeout_s`` counts from the moment a request is sent. ``priority`` skips both waits:
    for the Lease. An overloaded server that says when to come back (Retry-After) gets no other request until then.

    ``may_write`` is asked before each other request that changes something; a process that was suspended may wake up
    as a leader of the past, with writes under way.
    """

    def __init__(self, connection: Connection) -> None:
        self.may_write: Callable[[], bool] = lambda: True
        self.requests = Tally()  # by Kubernetes' verb, the resource, and the answer's status or "none"
        self.durations = Distributions()  # from sending to the answer, by verb
        self.throttled = Tally()  # how many requests had to wait for their turn, and how many seconds in all
        self._connection = connection
        self._session = connection.open_session()
        self._resume_at = 0.0  # loop time
        self._places = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._tokens = TokenBucket(
            rate=_REQUESTS_A_SECOND, burst=_REQUESTS_BURST, clock=asyncio.get_running_loop().time
        )

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        await self._session.close()

    async def serves(self, resource: Resource) -> bool:
        """Whether the API server knows the kind (its CustomResourceDefinition is established)."""
        try:
            found = await self._request("GET", resource.root)
        except ObjectGone:
            return False
        return any(each.get("name") == resource.plural for each in found.get("resources", ()))

    async def get(
        self, resource: Resource, namespace: str, name: str, *, priority: bool = False, timeout_s: float = _TIMEOUT_S
    ) -> Manifest | None:
        """The object, or None when there is none of that name."""
        try:
            return await self._request("GET", resource.path(namespace, name), priority=priority, timeout_s=timeout_s)
        except ObjectGone:
            return None

    async def list(self, resource: Resource, namespace: str | None) -> list[Manifest]:
        """Every object of the kind, in one namespace or (None) in all, by its selector; with kind and apiVersion."""
        found: list[Manifest] = []
        query = {"limit": str(_PAGE)}
        if resource.selector:
            query["labelSelector"] = resource.selector
        while True:
            page = await self._request("GET", resource.path(namespace), query=query)
            found += (
                {**item, "apiVersion": resource.api_version, "kind": resource.kind} for item in page.get("items") or ()
            )
            proceed = page["metadata"].get("continue")
            if not proceed:
                return found
            query["continue"] = proceed

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        manifest: Mapping[str, Any],
        *,
        subresource: str | None = None,
    ) -> Manifest:
        """Server-side apply as the forced owner of the fields given; unknown fields are refused, not dropped."""
        return await self._request(
            "PATCH",
            resource.path(namespace, manifest["metadata"]["name"], subresource),
            query={"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Mapping[str, Any]) -> Manifest:
        """JSON merge patch: lists are replaced whole, null removes."""
        return await self._request(
            "PATCH",
            resource.path(namespace, name),
            query={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
            body=patch,
            content_type="application/merge-patch+json",
        )

    async def create(
        self,
        resource: Resource,
        namespace: str,
        manifest: Mapping[str, Any],
        *,
        priority: bool = False,
        timeout_s: float = _TIMEOUT_S,
    ) -> Manifest:
        """Create it. ObjectConflict when there is one of that name."""
        return await self._request(
            "POST",
            resource.path(namespace),
            query={"fieldManager": FIELD_MANAGER},
            body=manifest,
            priority=priority,
            timeout_s=timeout_s,
        )

    async def replace(
        self,
        resource: Resource,
        namespace: str,
        manifest: Mapping[str, Any],
        *,
        priority: bool = False,
        timeout_s: float = _TIMEOUT_S,
    ) -> Manifest:
        """Replace it, if its resourceVersion is still the one given; ObjectConflict otherwise."""
        return await self._request(
            "PUT",
            resource.path(namespace, manifest["metadata"]["name"]),
            query={"fieldManager": FIELD_MANAGER},
            body=manifest,
            priority=priority,
            timeout_s=timeout_s,
        )

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete that very object (ObjectConflict when it is another one by now); nothing happens when it is gone."""
        with contextlib.suppress(ObjectGone):
            await self._request(
                "DELETE",
                resource.path(namespace, name),
                body={
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "preconditions": {"uid": uid},
                    "propagationPolicy": "Background",
                },
            )

    @contextlib.asynccontextmanager
    async def _turn(self, priority: bool) -> AsyncIterator[None]:
        if priority:
            yield
            return
        clock = asyncio.get_running_loop().time
        asked = clock()
        await self._tokens.take()
        async with self._places:
            while (pause_s := self._resume_at - clock()) > 0:  # noqa: ASYNC110 - others may have moved it meanwhile
                await asyncio.sleep(pause_s)
            waited = clock() - asked
            if waited > _NO_WAIT_S:
                self.throttled.add("requests")
                self.throttled.add("seconds", by=waited)
            yield

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        priority: bool = False,
        timeout_s: float = _TIMEOUT_S,
    ) -> Manifest:
        request = f"{method} {path}"
        async with self._turn(priority):
            if method != "GET" and not priority and not self.may_write():
                raise ApiUnavailable("not sent: this process may no longer lead", request=request)
            verb, resource = _asked(method, path)
            clock = asyncio.get_running_loop().time
            started, code = clock(), "none"
            try:
                async with self._session.request(
                    method,
                    self._connection.server + path,
                    params=query,
                    data=None if body is None else json.dumps(body),
                    headers={"Content-Type": content_type} if body is not None else None,
                    timeout=aiohttp.ClientTimeout(total=timeout_s),
                ) as response:
                    text = await response.text()
                    code = str(response.status)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise ApiUnavailable(str(error) or "no answer in time", request=request) from error
            finally:
                self.requests.add(verb, resource, code)
                self.durations.observe(clock() - started, verb)
        try:
            answer = decode(text) if text else {}
        except ValueError:
            answer = {"message": text[:500]}
        if not isinstance(answer, dict):
            answer = {"message": str(answer)[:500]}
        if response.status < 400:
            return answer
        failure = _error(response, answer, request)
        if isinstance(failure, ApiUnavailable) and failure.retry_after_s is not None:
            self._resume_at = max(self._resume_at, clock() + min(failure.retry_after_s, _PAUSE_AT_MOST_S))
        raise failure


def _asked(method: str, path: str) -> tuple[str, str]:
    """Kubernetes' verb and resource (``workerpools/status``) of a request; ``discovery`` for one of no resource."""
    parts = path.split("/")[4 if path.startswith("/apis/") else 3 :]
    if parts[:1] == ["namespaces"]:
        parts = parts[2:]
    match parts:
        case []:
            return "get", "discovery"
        case [plural]:
            return _VERBS.get(method, "list"), plural
        case [plural, _, *below]:
            return _VERBS.get(method, "get"), "/".join([plural, *below])
    raise AssertionError(path)


def _error(response: aiohttp.ClientResponse, answer: Manifest, request: str) -> ApiError:
    status = response.status
    message = str(answer.get("message") or response.reason or f"HTTP {status}")
    reason = answer.get("reason")
    if status in (404, 410):
        return ObjectGone(message, request=request, status=status, reason=reason)
    if status == 409:
        return ObjectConflict(message, request=request, status=status, reason=reason)
    if status == 403 and "NamespaceTerminating" in _causes(answer):
        return NamespaceTerminating(message, request=request, status=status, reason=reason)
    if status == 403 or _WEBHOOK_AWAY in message:
        return ApiForbidden(message, request=request, status=status, reason=reason)
    if status in (400, 413, 415, 422) or any(words in message for words in _REFUSED_WITH_500):
        return ObjectInvalid(message, request=request, status=status, reason=reason)
    retry_after = response.headers.get("Retry-After", "")
    return ApiUnavailable(
        message,
        request=request,
        status=status,
        reason=reason,
        retry_after_s=float(retry_after) if retry_after.isdigit() else None,
    )


def _causes(answer: Manifest) -> set[str]:
    """Reasons of the causes in a Status' details."""
    details = answer.get("details") or {}
    return {str(each.get("reason")) for each in details.get("causes") or ()}
