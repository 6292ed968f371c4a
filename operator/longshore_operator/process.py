"""The life of one operator process: probes, election, and, while it leads, the watcher and everything fed by it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
import uuid
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from longshore_operator.apply.actions import Actions
from longshore_operator.apply.events import Events
from longshore_operator.apply.status import StatusWriter
from longshore_operator.cluster.client import ApiClient
from longshore_operator.cluster.connection import Connection, login
from longshore_operator.cluster.resources import OWN_KINDS, Resource
from longshore_operator.errors import ApiError, WatchEnded
from longshore_operator.handlers.context import Context
from longshore_operator.handlers.reconciler import Reconciler
from longshore_operator.handlers.triggers import Triggers
from longshore_operator.handlers.visits import visit
from longshore_operator.handlers.watcher import Watcher
from longshore_operator.leadership import Elector
from longshore_operator.metrics.exposition import Exposition
from longshore_operator.metrics.leading import Leading
from longshore_operator.observe.children import Children
from longshore_operator.observe.full_list import observe_all
from longshore_operator.observe.memory_usage import MemoryUsage
from longshore_operator.observe.redis import Pollers
from longshore_operator.observe.secrets import observe_secrets
from longshore_operator.observe.view import Change, Manifest, View
from longshore_operator.plan.settings import PlanSettings
from longshore_operator.probes import Probes
from longshore_operator.settings import Settings

logger = logging.getLogger(__name__)

_KINDS_EVERY_S = 2.0  # between looks for our kinds, while their CRDs are not installed
_LIST_AGAIN_AT_MOST_S = 15.0  # while the first list fails
_LOOK_EVERY_S = 1.0  # at the watch streams
_EVENTS_WITHIN_S = 3.0  # for the last Events, at a stop


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Run until SIGTERM, SIGINT or ``stop``; returns after a clean end, with the Lease given back.

    Raises OperatorError (LeaseLost, WatchEnded, LoginError, SettingsError) when the process must end otherwise.
    """
    stop = stop or asyncio.Event()
    _take_signals(stop)
    connection = await login()
    client = ApiClient(connection)
    probes = Probes()
    elector = Elector(
        client,
        namespace=settings.namespace,
        name=settings.lease_name,
        # A restarted container has the host name of the one before it, and must not be taken for it.
        identity=f"{settings.identity}_{uuid.uuid4().hex[:8]}",
        clock=_time_since_boot,
    )
    client.may_write = elector.may_write
    probes.live["elector"] = elector.problems
    async with contextlib.AsyncExitStack() as cleanup:
        cleanup.push_async_callback(client.aclose)
        server = await probes.serve(settings.health_host, settings.health_port)
        cleanup.push_async_callback(server.cleanup)
        exposition = Exposition(client, is_leading=lambda: elector.leading)
        if settings.metrics is not None:
            cleanup.push_async_callback((await exposition.serve(*settings.metrics)).cleanup)
        # Started before kopf, which ends every task that is younger than itself when it ends.
        election = asyncio.create_task(elector.run(), name="elector")
        try:
            if not await _first(election, elector.wait_elected(), stop.wait()):
                return
            leading = asyncio.create_task(_lead(settings, connection, client, probes, exposition, stop), name="leader")
            try:
                # The loss of the Lease ends everything at once, whatever it is doing.
                await asyncio.wait({election, leading}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _cancelled(leading) if not leading.done() else None
            if election.done():
                election.result()
            leading.result()
        finally:
            await _cancelled(election)
            if not _failed(election):
                await elector.release()
            logger.info("stopped", extra={"action": "stop"})


async def _lead(
    settings: Settings,
    connection: Connection,
    client: ApiClient,
    probes: Probes,
    exposition: Exposition,
    stop: asyncio.Event,
) -> None:
    """Everything that only the leader does. Returns after ``stop``; raises what ended it otherwise."""
    loop = asyncio.get_running_loop()
    view = View()

    async def visit_one(key: Any) -> Any:
        return await visit(context, key)

    reconciler = Reconciler(visit_one)
    triggers = Triggers(view, reconciler.add)

    def heard(resource: Resource, manifest: Manifest, gone: bool) -> None:
        metadata = manifest["metadata"]
        if not gone:
            triggers.changed(resource, manifest, view.put(resource, manifest))
        elif view.remove(resource, metadata["namespace"], metadata["name"], uid=metadata.get("uid")):
            context.forget(metadata["uid"])
            triggers.changed(resource, manifest, Change.OBJECT)

    pollers = Pollers(
        read_secrets=lambda namespace, refs: observe_secrets(client, namespace, refs),
        on_news=triggers.read,
        clock=loop.time,
    )
    events = Events(client, identity=settings.identity, clock=loop.time)
    context = Context(
        view=view,
        children=Children(client, view, clock=loop.time),
        pollers=pollers,
        actions=Actions(client, written=view.put, clock=loop.time),
        status=StatusWriter(client, written=view.put, clock=loop.time),
        events=events,
        settings=PlanSettings(image=settings.image, image_pull_policy=settings.image_pull_policy),
        now=lambda: datetime.now(UTC),
        lost=lambda resource, manifest: heard(resource, manifest, True),
    )
    waiting_for = ["the first list is not complete"]
    probes.ready["leader"] = lambda: waiting_for

    await _first_picture(settings, client, view, stop, waiting_for)
    if stop.is_set():
        return
    watcher = Watcher(connection, namespaces=settings.watch_namespaces, heard=heard)
    probes.live["watcher"] = watcher.problems
    probes.live["reconciler"] = reconciler.problems
    probes.live["pollers"] = pollers.problems
    memory = MemoryUsage(pollers, clock=loop.time)
    exposition.leading = Leading(context=context, reconciler=reconciler, streams=watcher.streams, memory=memory)
    triggers.everything()
    waiting_for.clear()

    async def look_at_streams() -> None:
        while True:
            watcher.streams.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def list_again() -> None:
        while True:
            await asyncio.sleep(settings.full_list_interval.total_seconds())
            try:
                async for repair in observe_all(client, view, settings.watch_namespaces):
                    logger.warning(
                        "a full list found what the watch had not told",
                        extra={
                            "action": "repair",
                            "object": f"{repair.resource.kind} {repair.manifest['metadata']['name']}",
                            "gone": repair.gone,
                        },
                    )
                    if repair.gone:
                        context.forget(repair.manifest["metadata"]["uid"])
                    triggers.changed(repair.resource, repair.manifest, repair.change)
            except ApiError as error:
                logger.warning("the full list failed", extra={"action": "list", "error": str(error)})

    duties: dict[str, Coroutine[Any, Any, None]] = {
        "reconciler": reconciler.run(),
        "events": events.run(),
        "streams": look_at_streams(),
        "full list": list_again(),
    }
    tasks = [asyncio.create_task(duty, name=name) for name, duty in duties.items()]
    watching = asyncio.create_task(watcher.run(stop.set), name="watcher")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({*tasks, watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, watching):
            if task.done():
                task.result()
                raise WatchEnded(f"{task.get_name()} has ended by itself")
    finally:
        # What acts stops first; what was said is still posted; the watcher last, for its end takes younger tasks along.
        await _cancelled(tasks[0], stopping)
        exposition.leading = None
        await memory.aclose()
        await pollers.aclose()
        if stop.is_set():
            await events.drain(_EVENTS_WITHIN_S)
        await _cancelled(*tasks[1:], watching)
        await watcher.aclose()


async def _first_picture(
    settings: Settings, client: ApiClient, view: View, stop: asyncio.Event, waiting_for: list[str]
) -> None:
    """Wait for our kinds to exist, then list everything, so that the first plan sees all there is.

    ``waiting_for`` always has one line, for people: what keeps it from being complete.
    """
    said, failures = False, 0
    while not stop.is_set():
        wait_s = _KINDS_EVERY_S
        try:
            missing = [resource.plural for resource in OWN_KINDS if not await client.serves(resource)]
            if not missing:
                async for _ in observe_all(client, view, settings.watch_namespaces):
                    pass
                return
            waiting_for[:] = [f"the custom resource definitions are not installed: {', '.join(missing)}"]
            if not said:
                said = True
                logger.warning(
                    "the custom resource definitions are not installed; waiting",
                    extra={"action": "start", "missing": ", ".join(missing)},
                )
        except ApiError as error:
            waiting_for[:] = [f"the first list failed: {error}"]
            logger.warning("the first list failed; trying again", extra={"action": "start", "error": str(error)})
            # Thousands of objects may have been listed until then.
            wait_s = min(_LIST_AGAIN_AT_MOST_S, _KINDS_EVERY_S * 2**failures)
            failures = min(failures + 1, 8)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await stop.wait()


async def _first(
    election: asyncio.Task[None], elected: Coroutine[Any, Any, None], stop: Coroutine[Any, Any, Any]
) -> bool:
    """Whether this process was elected before it was told to stop. Raises what ended the election early."""
    waits = [asyncio.create_task(elected), asyncio.create_task(stop)]
    try:
        await asyncio.wait({election, *waits}, return_when=asyncio.FIRST_COMPLETED)
        if election.done():
            election.result()
        return waits[0].done() and not waits[1].done()
    finally:
        await _cancelled(*waits)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _time_since_boot() -> float:
    """Seconds. It goes on while the machine sleeps, and with it the Lease; the event loop's clock does not."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def _take_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(RuntimeError, ValueError):  # not the main thread: signals are somebody else's
            loop.add_signal_handler(number, stop.set)
