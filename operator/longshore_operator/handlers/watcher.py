"""kopf as the watcher, and nothing but the watcher: it lists, watches and reconnects; what it hears goes to the view.

It never writes: no finalizer, no annotation, no Event, no peering, no webhook. It keeps no state of our objects, and
its handlers only take in what they are told.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import kopf

from longshore_operator.cluster.connection import Connection
from longshore_operator.cluster.resources import WATCHED, Resource
from longshore_operator.cluster.streams import WatchStreams
from longshore_operator.errors import WatchEnded
from longshore_operator.observe.view import Manifest

logger = logging.getLogger(__name__)

# Patience with an API server that restarts: some 40 s, then the process starts again as a standby.
ERROR_BACKOFFS_S: Sequence[float] = (0.5, 1, 2, 3, 5, 8, 10, 10)

_WATCH_TASKS = "watcher for "  # how kopf's names of them begin
_ROUND_S = 3.0  # a watch that ends lets its workers finish for 2 s
_ROUNDS = 3

Heard = Callable[[Resource, Manifest, bool], None]  # an object's state, and whether it is gone


class Watcher:
    """Watches every kind that concerns us, in the given namespaces or in all."""

    def __init__(self, connection: Connection, *, namespaces: Sequence[str], heard: Heard) -> None:
        """Without ``namespaces``, all are watched.

        ``heard`` is called in the event loop, in the order of each object's changes; it must not wait.
        """
        self._connection = connection
        self._namespaces = tuple(namespaces)
        self._heard = heard
        self._tasks: Collection[asyncio.Task[Any]] = ()
        self._older: Collection[asyncio.Task[Any]] | None = None  # tasks that are not kopf's
        below = urlsplit(connection.server).path  # an API server may be reached through a gateway's path
        self.streams = WatchStreams(
            {
                below + resource.path(namespace): _name(resource, namespace)
                for resource in WATCHED
                for namespace in self._namespaces or (None,)
            }
        )

    async def run(self, on_signal: Callable[[], None]) -> None:
        """Watch until cancelled; ``aclose`` must follow. Raises WatchEnded as soon as a watch cannot go on.

        kopf takes over SIGTERM and SIGINT; ``on_signal`` gets them back.
        """
        self._older = asyncio.all_tasks()
        self._tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
        )
        _take_signals(on_signal)
        # Not kopf.run_tasks: it returns when the last watch has let go, and of those that are left when one has failed,
        # some lose the cancellation and go on for ever.
        ended, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            if not task.cancelled() and (error := task.exception()) is not None:
                why = error.args[0] if error.args else type(error).__name__  # what the API server said comes first
                raise WatchEnded(f"the watcher failed: {why}") from error
        raise WatchEnded("the watcher has ended by itself")

    async def aclose(self) -> None:
        """End all of kopf's tasks, in some seconds at most.

        They are known by their age alone: every task that was created after the call of ``run``, whosever it is, ends
        with them. By then, everything else must have been stopped.
        """
        if self._older is None:
            return
        # Watches before the session they use, and that by kopf's own order; then what is left, as often as it takes.
        await _end([task for task in self._younger() if task.get_name().startswith(_WATCH_TASKS)])
        await _end(self._tasks)
        for _ in range(_ROUNDS):
            left = self._younger()
            if not left:
                return
            await _end(left)
        logger.error("the watcher does not end", extra={"action": "stop", "tasks": len(self._younger())})

    def _younger(self) -> list[asyncio.Task[Any]]:
        assert self._older is not None
        others = {asyncio.current_task(), *self._older}
        return [task for task in asyncio.all_tasks() if task not in others]

    def problems(self) -> list[str]:
        """For the liveness probe: watches that have died."""
        return self.streams.problems()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        async def login(**_: Any) -> kopf.AiohttpSession:
            # A new session each time: kopf closes the one it has when a request comes back with 401.
            return kopf.AiohttpSession(
                server=self._connection.server, aiohttp_session=self._connection.open_session(self.streams)
            )

        kopf.on.login(registry=registry)(login)
        for resource in WATCHED:
            kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id=resource.plural)(
                self._listener(resource)
            )
        return registry

    def _listener(self, resource: Resource) -> Callable[..., Any]:
        async def listen(event: Any, **_: Any) -> None:
            raw = event["object"]
            # the items of a list come without these two
            manifest = {**raw, "apiVersion": resource.api_version, "kind": resource.kind}
            self._heard(resource, manifest, event["type"] == "DELETED")

        return listen


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_ROUND_S)


def _name(resource: Resource, namespace: str | None) -> str:
    """What is watched, for people."""
    kind = f"{resource.plural}.{resource.group}".rstrip(".")
    return kind if namespace is None else f"{kind} in {namespace}"


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf would copy and compare each object that it hears of, for handlers of a sort that there are none of here."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        raise NotImplementedError("the watcher never writes")


class _NoProgress(kopf.ProgressStorage):
    """Nor does it keep the progress of handlers, which it would look for in each object."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        raise NotImplementedError("the watcher never writes")

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        return None

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        raise NotImplementedError("the watcher never writes")

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = _NoProgress()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # needs no permission to watch namespaces and CRDs
    settings.process.ultimate_exiting_timeout = None  # ending the process is ours
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = ERROR_BACKOFFS_S
    for resource in WATCHED:
        if resource.selector:
            selectors: Any = settings.watching.label_selectors
            selectors[resource.group, resource.version, resource.plural] = resource.selector
    return settings


def _take_signals(on_signal: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, on_signal)
        except (RuntimeError, ValueError):
            return  # not the main thread: signals are somebody else's
