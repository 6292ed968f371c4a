"""Every object visited once, by the operator's own handlers, as if all of them had just been applied."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from longshore.protocol.snapshots import BrokerSnapshot, QueueSnapshot
from longshore_operator.api.broker import Broker
from longshore_operator.api.conditions import READY
from longshore_operator.api.reasons import REASONS
from longshore_operator.apply.actions import Actions
from longshore_operator.apply.events import Events
from longshore_operator.apply.status import StatusWriter
from longshore_operator.cluster.resources import BROKERS, OWN_KINDS, SECRETS, Resource
from longshore_operator.dry_run.definitions import definitions
from longshore_operator.dry_run.manifests import Document
from longshore_operator.dry_run.memory import MemoryApi, WriteOnlyInspector, Written
from longshore_operator.handlers.broker import target
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.visits import visit
from longshore_operator.observe.children import Children
from longshore_operator.observe.redis import Poller, Target
from longshore_operator.observe.secrets import observe_secrets
from longshore_operator.observe.view import Key, View
from longshore_operator.plan.address import RedisAccess
from longshore_operator.plan.observed import BrokerReading, SecretReading
from longshore_operator.plan.settings import PlanSettings

_OWN = {resource.kind: resource for resource in OWN_KINDS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What would be done for one object."""

    source: str  # where its manifest stands
    kind: str
    namespace: str
    name: str
    refused: tuple[str, ...] = ()  # why the API server would not store it; nothing else is known then
    written: tuple[Written, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)  # as the operator would report it

    @property
    def problem(self) -> str | None:
        """Why the object would not become Ready without somebody's help."""
        for each in self.status.get("conditions") or ():
            if each["type"] == READY and each["status"] != "True" and REASONS[each["reason"]].fix is not None:
                return f"{each['reason']}: {each['message']}"
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """What would come of all manifests."""

    outcomes: tuple[Outcome, ...]  # in the order of the manifests
    others: tuple[Document, ...]  # objects of kinds that are not ours

    @property
    def good(self) -> bool:
        """Whether every object would be stored and become Ready by itself."""
        return not any(outcome.refused or outcome.problem for outcome in self.outcomes)


async def rehearse(
    documents: Iterable[Document],
    *,
    namespace: str,
    settings: PlanSettings,
    redis: str | None = None,
    backlog: Mapping[str, int] | None = None,
) -> Rehearsal:
    """Check each object and visit it. ``namespace``: of objects that name none.

    ``redis``: read this one in place of every Broker's, and write nothing to it. Without it, each queue is taken to
    have the tasks waiting that ``backlog`` gives by queue name, and otherwise none.
    """
    api, view = MemoryApi(), View()
    ours: list[tuple[Document, Resource, Mapping[str, Any], tuple[str, ...]]] = []
    others = []
    for document in documents:
        resource = _own_kind(document.manifest)
        if resource is None:
            others.append(document)
            if (document.manifest["kind"], document.manifest["apiVersion"]) == (SECRETS.kind, SECRETS.api_version):
                api.put(SECRETS, _with_data(_placed(document.manifest, namespace)))
            continue
        definition = definitions()[resource.kind]
        manifest: Mapping[str, Any] = definition.with_defaults(_placed(document.manifest, namespace))
        refused = tuple(definition.problems(manifest))
        if not refused:
            manifest = api.put(resource, manifest)
            view.put(resource, manifest)
        ours.append((document, resource, manifest, refused))

    brokers = _Brokers(api, redis=redis, backlog=backlog or {})
    context = _context(api, view, brokers, settings)
    await brokers.read(context)
    # Brokers first: the others look at what is known of theirs.
    visited: dict[Key, tuple[Written, ...]] = {}
    for _, resource, manifest, refused in sorted(ours, key=lambda each: each[1] != BROKERS):
        if not refused:
            key = _key(resource, manifest)
            api.written.clear()
            await visit(context, key)
            visited[key] = tuple(api.written)
    return Rehearsal(
        outcomes=tuple(
            [
                Outcome(
                    source=document.source,
                    kind=resource.kind,
                    namespace=manifest["metadata"]["namespace"],
                    name=manifest["metadata"]["name"],
                    refused=refused,
                    written=visited.get(_key(resource, manifest), ()),
                    status={} if refused else (view.manifest(_key(resource, manifest)) or {}).get("status") or {},
                )
                for document, resource, manifest, refused in ours
            ]
        ),
        others=tuple(others),
    )


class _Brokers:
    """Stands for the poll loops: what each of them would have read once."""

    def __init__(self, api: MemoryApi, *, redis: str | None, backlog: Mapping[str, int]) -> None:
        self._api = api
        self._redis = redis
        self._backlog = backlog
        self._polled: dict[tuple[str, str], _Polled] = {}

    async def read(self, context: Context) -> None:
        """Poll each Broker of the view once."""
        for place in context.view.places(BROKERS):
            broker = context.view.broker(*place)
            if broker is not None:
                reading = await self._reading(context, broker)
                self._polled[place] = _Polled(reading, await self._secret(broker), self._api.written.append)

    async def _reading(self, context: Context, broker: Broker) -> BrokerReading:
        if self._redis is not None:
            given = RedisAccess(url=self._redis, timeout=broker.spec.timeout)
            return await _poll(replace(target(context, broker), access=given))
        names = target(context, broker).queues
        queues = {name: QueueSnapshot(name=name, pending=self._backlog.get(name, 0)) for name in names}
        snapshot = BrokerSnapshot(redis_version="", latency=timedelta(), queues=queues)
        return BrokerReading(snapshot=snapshot, read_at=datetime.now(UTC))

    async def _secret(self, broker: Broker) -> SecretReading | None:
        """Secrets among the manifests must have the keys that are named; others count as there."""
        if not broker.secrets:
            return None
        given = {
            credential: ref
            for credential, ref in broker.secrets.items()
            if self._api.holds_secret(broker.namespace, ref.name)
        }
        client: Any = self._api
        reading = (await observe_secrets(client, broker.namespace, given)).reading
        # Nothing of a Secret is printed, not even a digest of it.
        return SecretReading(found=True, version="dry-run") if reading.found else reading

    def aim(self, place: tuple[str, str], _: Target) -> _Polled:
        return self._polled[place]

    def get(self, place: tuple[str, str]) -> _Polled | None:
        return self._polled.get(place)

    def drop(self, place: tuple[str, str]) -> None:
        self._polled.pop(place, None)


class _Polled:
    """One Broker's loop after its first poll."""

    def __init__(self, reading: BrokerReading, secret: SecretReading | None, record: Callable[[Written], None]) -> None:
        self.reading = reading
        self.secret = secret
        self.inspector = WriteOnlyInspector(record)

    def hurry(self) -> None:
        """There is no next poll."""


async def _poll(aim: Target) -> BrokerReading:
    """Read a Redis as the operator does, once."""
    outcome = asyncio.Event()

    async def no_secrets(*_: Any) -> Any:
        raise AssertionError("the address given has its own password")

    poller = Poller(
        ("", ""),
        aim,
        read_secrets=no_secrets,
        on_news=lambda *_: outcome.set(),
        clock=asyncio.get_running_loop().time,
    )
    polling = asyncio.create_task(poller.run())
    await outcome.wait()
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    return poller.reading


def _context(api: MemoryApi, view: View, brokers: _Brokers, settings: PlanSettings) -> Context:
    loop = asyncio.get_running_loop()
    client: Any = api
    pollers: Any = brokers
    return Context(
        view=view,
        children=Children(client, view, clock=loop.time),
        pollers=pollers,
        actions=Actions(client, written=view.put, clock=loop.time),
        status=StatusWriter(client, written=view.put, clock=loop.time),
        events=Events(client, identity="dry-run", clock=loop.time),
        settings=settings,
        now=lambda: datetime.now(UTC),
    )


def _own_kind(manifest: Mapping[str, Any]) -> Resource | None:
    resource = _OWN.get(manifest["kind"])
    return resource if resource is not None and manifest["apiVersion"] == resource.api_version else None


def _placed(manifest: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "namespace": metadata.get("namespace") or namespace}}


def _with_data(secret: Mapping[str, Any]) -> dict[str, Any]:
    """A Secret as the API server stores it: stringData is for writing only."""
    texts = secret.get("stringData") or {}
    encoded = {name: base64.b64encode(str(text).encode()).decode() for name, text in texts.items()}
    return {**secret, "data": {**(secret.get("data") or {}), **encoded}}


def _key(resource: Resource, manifest: Mapping[str, Any]) -> Key:
    metadata = manifest["metadata"]
    return Key(kind=resource.kind, namespace=metadata["namespace"], name=metadata["name"])
