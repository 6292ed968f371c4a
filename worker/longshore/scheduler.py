"""A scheduler: runs the periodic entries of one scope, each tick once; one is active, any number stand by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from longshore.app import App
from longshore.broker.base import RedisSettings
from longshore.broker.opening import opened
from longshore.broker.periodic import RedisPeriodicStore
from longshore.broker.periodic_base import PeriodicStore
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import BrokerUnavailable, InvalidOption, LongshoreError
from longshore.periodic_task import EntryProvider, PeriodicTask
from longshore.policy.agenda import Agenda
from longshore.protocol.periodic import PeriodicEntry
from longshore.protocol.snapshots import NO_ENTRIES
from longshore.runtime.declared_entries import DeclaredEntries
from longshore.runtime.entry_provider import EntryPoll
from longshore.runtime.entry_publisher import EntryPublisher
from longshore.runtime.scheduler_lease import SchedulerLease
from longshore.runtime.service import Service
from longshore.runtime.tick_runner import TickRunner
from longshore.runtime.timing import Clock, utc_now

_logger = logging.getLogger("longshore.scheduler")


DEFAULT_SYNC_INTERVAL = timedelta(minutes=1)  # Asynq: 3 minutes


class EntrySource(Protocol):
    """Where a scheduler finds its entries."""

    async def read(self) -> Mapping[str, bytes]:
        """Name to entry, as :func:`longshore.protocol.periodic.encode_entry` writes it; asked every second.

        The very same mapping as before says that nothing has changed.
        Raises BrokerUnavailable, or another LongshoreError when there is nothing readable; the scheduler goes on.
        """

    @property
    def errors(self) -> Mapping[str, str]:
        """What could not be made an entry at the last ``read``, and why."""

    async def aclose(self) -> None:
        """Stop whatever it does by itself. Called once, at the end."""


class StoredEntries:
    """The entries that lie in Redis, where the operator writes them."""

    def __init__(self, store: PeriodicStore, scope: str) -> None:
        self._store = store
        self._scope = scope
        self._known = NO_ENTRIES

    async def read(self) -> Mapping[str, bytes]:
        self._known = await self._store.read_entries(self._scope, self._known)
        return self._known

    @property
    def errors(self) -> Mapping[str, str]:
        return {}

    async def aclose(self) -> None: ...


def application_scope(name: str) -> str:
    """The scope of an application's own entries: never one of the operator's, since no namespace begins like this.

    Raises InvalidOption for a name with a slash or blanks.
    """
    if "/" in name or name.split() != [name]:
        raise InvalidOption("scope", f"{name!r} cannot name an application's entries; give a name without / and blanks")
    return f"_app/{name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerTiming:
    """How often and how long."""

    lease: timedelta = timedelta(seconds=6)  # a standby takes over so long after the active one's last sign of life
    renewal: timedelta = timedelta(seconds=2)  # three tries within a lease
    standby: timedelta = timedelta(milliseconds=500)  # a standby's look at the lease: the gap after a clean stop
    publish: timedelta = timedelta(seconds=5)  # entries in Asynq's form; Go's scheduler: 10 s
    published_lifetime: timedelta = timedelta(seconds=15)  # how long a killed scheduler stays visible
    stop: timedelta = timedelta(seconds=2)  # for giving up the lease and the published entries
    stuck: timedelta = timedelta(seconds=60)  # busy with one step for longer is not alive


class Scheduler(Service):
    """Runs the periodic entries of a scope: those that lie in Redis, or those that ``app`` and ``provider`` declare.

    ``async with Scheduler(scope, redis=…)`` runs it beside other code; ``serve()`` runs it until SIGTERM or SIGINT.
    A scheduler runs once. It starts also while Redis is away. Any number may run for one scope: a lease in Redis makes
    one of them active, and whatever runs twice all the same, a tick creates its task at most once.
    """

    def __init__(
        self,
        scope: str,
        *,
        redis: str | RedisSettings | None = None,
        broker: RedisBroker | None = None,
        app: App | None = None,
        provider: EntryProvider | None = None,
        sync_interval: timedelta = DEFAULT_SYNC_INTERVAL,
        entries: EntrySource | None = None,
        health_address: tuple[str, int] | None = None,
        timing: SchedulerTiming | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """``scope``: whose entries; the operator's are ``<namespace>/<broker>``. ``redis``: a URL, or settings; the
        default is a local Redis. Or a ``broker``, which the caller closes. ``app``: runs what it declares as periodic.
        ``provider``: asked every ``sync_interval`` for all there is; the default is the app's own. With one of the two
        ``scope`` is a name of the application's choice, unique in its Redis: what lies there and is not declared is
        removed. ``entries``: another source; the default is the scope's hash in Redis. ``health_address``: host ("" for
        every interface) and port of the probes; None: no probes.

        Raises InvalidOption for what cannot be used.
        """
        self._broker, self._owns_broker = opened(redis, broker)
        if app is not None and provider is None:
            provider = app.entry_provider
        declares = app is not None or provider is not None
        if declares and entries is not None:
            raise InvalidOption("entries", "give either a source of entries, or an app and a provider")
        if sync_interval < timedelta(seconds=1):
            raise InvalidOption("sync interval", "must be at least 1 second")
        if declares:
            scope = application_scope(scope)
        elif scope.split() != [scope]:
            raise InvalidOption("scope", f"{scope!r} is not a name without blanks")
        self._timing = timing or SchedulerTiming()
        super().__init__("scheduler", health_address=health_address, stuck=self._timing.stuck)
        self._scope = scope
        self._store: PeriodicStore = RedisPeriodicStore(self._broker.connection)
        self._source = entries
        self._declares = declares
        self._options_for = app.options_for if app is not None else _no_defaults
        self._fixed = declared_in(app.periodic_tasks, self._options_for) if app is not None else {}
        self._provider = provider
        self._sync_interval = sync_interval
        self._clock = clock
        self._id = f"{socket.gethostname() or 'unknown-host'}:{os.getpid()}:{uuid.uuid4()}"

    @property
    def scheduler_id(self) -> str:
        """The id it holds the lease and publishes itself under: ``<host>:<pid>:<uuid>``."""
        return self._id

    def _assemble(self) -> None:
        timing, clock = self._timing, self._clock
        self._agenda = Agenda(self._scope)
        self._lease = SchedulerLease(
            self._store,
            scope=self._scope,
            holder=self._id,
            lifetime=timing.lease,
            renewal=timing.renewal,
            clock=clock,
        )
        self._entries = self._source or (
            self._declared() if self._declares else StoredEntries(self._store, self._scope)
        )
        self._ticks = TickRunner(self._store, self._broker, agenda=self._agenda, clock=clock)
        self._publisher = EntryPublisher(
            self._broker,
            self._store,
            scope=self._scope,
            scheduler_id=self._id,
            agenda=self._agenda,
            period=timing.publish,
            lifetime=timing.published_lifetime,
            clock=clock,
        )

    def _declared(self) -> EntrySource:
        poll = None
        if self._provider is not None:
            poll = EntryPoll(
                self._provider, interval=self._sync_interval, options_for=self._options_for, taken=self._fixed
            )
        return DeclaredEntries(self._store, self._scope, fixed=self._fixed, poll=poll, clock=self._clock)

    # -- from start to end -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        facts = {"scope": self._scope, "scheduler_id": self._id}
        _logger.info("Scheduler started", extra={"action": "scheduler_started", **facts})
        try:
            while not self._stop.is_set():
                await self._attempt()
                await self._wait()
        finally:
            await self._finish()
            _logger.info("Scheduler stopped", extra={"action": "scheduler_stopped", **facts})

    async def _attempt(self) -> None:
        """One step, whatever comes of it: nothing but cancellation ends the loop."""
        try:
            with self._pulse.working("scheduler"):
                await self._step()
        except BrokerUnavailable as error:
            self._outage.failed("scheduler", error)
            # What was under way may have happened or not, and a standby may be active by the time Redis is back.
            self._lease.doubt()
            self._forget()
        except LongshoreError as error:
            self._outage.refused("scheduler", error)
        except Exception:
            _logger.exception("A step failed; the scheduler goes on", extra={"action": "step_failed"})
            self._forget()
        else:
            self._outage.succeeded("scheduler")

    async def _step(self) -> None:
        """Stand by, or look at the entries and carry out what is due."""
        was_active = self._lease.held
        if not await self._lease.hold():
            if was_active:
                _logger.warning("The lease is another scheduler's; standing by", extra={"action": "standing_by"})
                await self._publisher.clear()
            return
        if not was_active:
            _logger.info("This scheduler is active now", extra={"action": "active", "scope": self._scope})
            self._forget()
        changed = self._agenda.update(await self._entries.read())
        await self._ticks.run()
        await self._publisher.publish(changed=changed, tick_errors={**self._entries.errors, **self._ticks.errors})

    def _forget(self) -> None:
        self._agenda.forget_records()
        self._publisher.forget()

    async def _wait(self) -> None:
        """When active, until the next whole second, since ticks are whole seconds; else for the standby's period."""
        if self._lease.held:
            now = self._clock().timestamp()
            # A timer may end a little early by the wall clock; a millisecond later is surely the new second.
            wait_s = math.floor(now) + 1.001 - now
        else:
            wait_s = self._timing.standby.total_seconds()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stop.wait()

    async def _finish(self) -> None:
        """Let a standby in at once. What cannot be given back expires by itself."""
        was_active = self._lease.held
        await self._entries.aclose()
        with contextlib.suppress(LongshoreError, TimeoutError):
            async with asyncio.timeout(self._timing.stop.total_seconds()):
                await self._lease.release()
                if was_active:
                    await self._publisher.clear()
        if self._owns_broker:
            await self._broker.aclose()

    def _state(self) -> str:
        return "active" if self._lease.held else "standby"


def declared_in(
    tasks: Sequence[PeriodicTask], options_for: Callable[[str], Mapping[str, Any]]
) -> dict[str, PeriodicEntry]:
    """The entries of an application's own tasks. Raises InvalidOption for the first that cannot be used."""
    entries: dict[str, PeriodicEntry] = {}
    for task in tasks:
        try:
            name, entry = task.checked(options_for(task.task.type))
        except InvalidOption as error:
            raise InvalidOption("periodic", f"{task.name!r}: {error}") from error
        if name in entries:
            raise InvalidOption("periodic", f"{name!r} is declared twice; give name=…")
        entries[name] = entry
    return entries


def _no_defaults(task_type: str) -> Mapping[str, Any]:
    return {}
