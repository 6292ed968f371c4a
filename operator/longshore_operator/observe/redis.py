"""One poll loop a Broker: a single pipeline a pollInterval reads all of its queues, servers, entries and ticks.

What was read is a :class:`BrokerReading`. A failed poll is a reading, too, never one of zero tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from longshore.errors import BrokerUnavailable, LongshoreError
from longshore.inspector import Inspector
from longshore.metrics.distribution import Distribution
from longshore.protocol.snapshots import BrokerSnapshot, ServerSnapshot
from longshore_operator.api.broker import Credential, SecretKeyRef
from longshore_operator.errors import ApiError
from longshore_operator.observe.secrets import Credentials, redis_settings
from longshore_operator.plan.address import RedisAccess
from longshore_operator.plan.observed import BrokerReading, SecretReading

logger = logging.getLogger(__name__)

# Everything resumes within 5 s of Redis' return: this pause, plus the time one poll takes.
RETRY_WITHIN = timedelta(seconds=2)
# Between polls, however much changes: thousands of objects that are made one by one each change what is to be read.
_SHORTEST_PAUSE = timedelta(milliseconds=200)
# A changed Secret is used within 15 s; a missing one is looked for more often, since people wait for it.
SECRET_EVERY = timedelta(seconds=10)
MISSING_SECRET_EVERY = timedelta(seconds=2)
# A poll is at most two round trips and perhaps a connection. One that takes longer than this many timeouts is given up.
_TIMEOUTS_A_POLL = 4
# One failure is not yet an outage: the plan looks again at the next ones.
_FAILURES_TOLD = 3
_STUCK_AFTER = timedelta(seconds=60)

Place = tuple[str, str]
ReadSecrets = Callable[[str, Mapping[Credential, SecretKeyRef]], Awaitable[Credentials]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Which Redis, and what to read of it: derived from the Broker and everything that refers to it."""

    access: RedisAccess
    interval: timedelta
    scope: str
    queues: frozenset[str] = frozenset()  # names in Redis
    lookaheads: Mapping[str, frozenset[timedelta]] = field(default_factory=dict)  # of queues at which pools look ahead
    ticks_of: Mapping[str, str] = field(default_factory=dict)  # PeriodicTask name to its queue


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What a poll changed, so that only those are planned anew whom it concerns."""

    everything: bool = False  # reachability or the Secret changed, or it is the first reading
    queues: frozenset[str] = frozenset()  # whose depth, state or problem changed
    other_queues: bool = False  # one is read for the first time, or no longer
    hosts: frozenset[str] = frozenset()  # whose servers came, went, or took up or finished tasks
    scheduler: bool = False  # the active scheduler, or an entry as it lies in Redis
    ticks: frozenset[str] = frozenset()  # PeriodicTasks that ticked, or could not


class Poller:
    """The loop of one Broker. ``run`` is its task; everything else is quick and waits for nothing."""

    def __init__(
        self,
        place: Place,
        target: Target,
        *,
        read_secrets: ReadSecrets,
        on_news: Callable[[Place, News], None],
        clock: Callable[[], float],
    ) -> None:
        self._place = place
        self._target = target
        self._read_secrets = read_secrets
        self._on_news = on_news
        self._clock = clock
        self._inspector: Inspector | None = None
        self._opened_for = target  # what the inspector was opened for
        self._credentials: Credentials | None = None
        self._secrets_read_at: float | None = None
        self._secret_changed = False  # and nobody was told yet
        self._reading = BrokerReading()
        self._changed = asyncio.Event()  # poll now instead of at the interval's end
        self._alive_at = clock()
        self.durations = Distribution()  # of polls that succeeded
        self.failures = 0  # polls that failed, ever

    @property
    def target(self) -> Target:
        """What is read."""
        return self._target

    @property
    def reading(self) -> BrokerReading:
        """The last polls' outcome."""
        return self._reading

    @property
    def secret(self) -> SecretReading | None:
        """The Secrets that the Broker names; None when it names none, or they were not read yet."""
        if not self._target.access.secrets or self._credentials is None:
            return None
        return self._credentials.reading

    @property
    def inspector(self) -> Inspector | None:
        """The door to this Redis; None until it could be opened."""
        return self._inspector

    def aim(self, target: Target) -> None:
        """Read this from now on. A change is polled at once."""
        if target == self._target:
            return
        if target.access != self._target.access:
            self._reading = BrokerReading()  # what was read of another Redis says nothing of this one
        if target.access.secrets != self._target.access.secrets:
            self._credentials, self._secrets_read_at = None, None
        self._target = target
        self._changed.set()

    def hurry(self) -> None:
        """Poll now: something was written."""
        self._changed.set()

    def stuck_for(self) -> timedelta | None:
        """How long the loop has not come round, when that is longer than it may be."""
        silent = timedelta(seconds=self._clock() - self._alive_at)
        allowed = self._target.interval + _TIMEOUTS_A_POLL * self._target.access.timeout + _STUCK_AFTER
        return silent if silent > allowed else None

    async def run(self) -> None:
        """Poll until cancelled; closes its connections then."""
        try:
            while True:
                self._alive_at = self._clock()
                self._changed.clear()
                target, started = self._target, self._clock()
                news = await self._poll(target)
                if news is not None:
                    self._on_news(self._place, news)
                pause = target.interval if self._reading.error is None else min(target.interval, RETRY_WITHIN)
                await self._rest(started, until=started + pause.total_seconds())
        finally:
            await self._close_inspector()

    async def _rest(self, started: float, *, until: float) -> None:
        """Until the next poll is due, or something has changed: what to read, or a Secret, which is looked for here."""
        while not self._secret_changed:
            left = min(until, self._secrets_due()) - self._clock()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(left, 0.01)):
                    await self._changed.wait()
                    await asyncio.sleep(max(started + _SHORTEST_PAUSE.total_seconds() - self._clock(), 0))
            if self._changed.is_set() or self._clock() >= until:
                return
            await self._refresh_secrets(self._target)

    async def _poll(self, target: Target) -> News | None:
        """One round. None when there was nothing to do it with."""
        await self._refresh_secrets(target)
        if target is not self._target:
            return None  # the Broker changed meanwhile: come round again
        before = self._reading
        snapshot, problem = None, None
        started = self._clock()
        try:
            snapshot = await self._snapshot(target)
        except LongshoreError as error:
            problem = str(error)
        except Exception as error:
            # A defect of ours must not end the loop: the Broker says so, and the log has the rest.
            logger.exception("a poll failed unexpectedly", extra={"action": "poll", "broker": self._place})
            problem = f"{type(error).__name__}: {error}"
        if target.access != self._target.access:
            return None
        if snapshot is not None:
            self.durations.observe(self._clock() - started)
            self._reading = BrokerReading(snapshot=snapshot, read_at=datetime.now(UTC))
        else:
            self.failures += 1
            self._reading = BrokerReading(
                snapshot=before.snapshot,
                read_at=before.read_at,
                failures=before.failures + 1,
                failing_since=before.failing_since or datetime.now(UTC),
                error=problem,
            )
        if before.error is None and self._reading.error is not None:
            logger.warning(
                "Redis cannot be read", extra={"action": "poll", "broker": self._place, "error": self._reading.error}
            )
        if self._secret_changed:
            self._secret_changed = False
            return News(everything=True)
        return _compare(before, self._reading)

    async def _snapshot(self, target: Target) -> BrokerSnapshot:
        if target.access != self._opened_for.access:
            await self._close_inspector()
        if self._inspector is None:
            self._inspector, self._opened_for = self._open(target), target
        allowed = _TIMEOUTS_A_POLL * target.access.timeout
        try:
            async with asyncio.timeout(allowed.total_seconds()):
                return await self._inspector.snapshot(
                    target.queues,
                    scope=target.scope,
                    ticks_of=target.ticks_of,
                    lookaheads=target.lookaheads,
                    now=datetime.now(UTC),
                    known=None if self._reading.error is not None else self._reading.snapshot,
                )
        except TimeoutError as error:
            raise BrokerUnavailable(f"Redis did not answer a poll within {allowed.total_seconds():g} s") from error

    def _open(self, target: Target) -> Inspector:
        values: Mapping[Credential, str] = {}
        if target.access.secrets:
            if self._credentials is None:
                names = ", ".join(sorted({ref.name for ref in target.access.secrets.values()}))
                raise BrokerUnavailable(f"Secret {names} was not read yet")
            if not self._credentials.reading.found:
                raise BrokerUnavailable(self._credentials.reading.problem or "the Secret was not found")
            values = self._credentials.values
        return Inspector(redis_settings(target.access, values))

    def _secrets_due(self) -> float:
        """When to read the Secrets next, by the clock."""
        if not self._target.access.secrets:
            return math.inf
        if self._secrets_read_at is None:
            return -math.inf
        found = self._credentials is not None and self._credentials.reading.found
        return self._secrets_read_at + (SECRET_EVERY if found else MISSING_SECRET_EVERY).total_seconds()

    async def _refresh_secrets(self, target: Target) -> None:
        """Read the Secrets when it is time."""
        if self._clock() < self._secrets_due():
            return
        self._secrets_read_at = self._clock()
        try:
            credentials = await self._read_secrets(self._place[0], target.access.secrets)
        except ApiError as error:
            # What is known keeps its worth; the API server will be asked again.
            logger.warning("a Secret could not be read", extra={"action": "secret", "error": str(error)})
            return
        if target.access.secrets != self._target.access.secrets or credentials == self._credentials:
            return
        self._credentials, self._secret_changed = credentials, True
        await self._close_inspector()  # the next poll connects with the new ones

    async def _close_inspector(self) -> None:
        inspector, self._inspector = self._inspector, None
        if inspector is not None:
            with contextlib.suppress(LongshoreError, OSError, TimeoutError):
                async with asyncio.timeout(2):
                    await inspector.aclose()


class Pollers:
    """The loops of all Brokers: one appears with its Broker and ends with it."""

    def __init__(
        self, *, read_secrets: ReadSecrets, on_news: Callable[[Place, News], None], clock: Callable[[], float]
    ) -> None:
        """``on_news`` is called from the loop after each poll that changed something; it must not wait."""
        self._read_secrets = read_secrets
        self._on_news = on_news
        self._clock = clock
        self._pollers: dict[Place, tuple[Poller, asyncio.Task[None]]] = {}

    def aim(self, place: Place, target: Target) -> Poller:
        """Poll that Broker's Redis from now on, for exactly this."""
        running = self._pollers.get(place)
        if running is not None and not running[1].done():
            running[0].aim(target)
            return running[0]
        poller = Poller(place, target, read_secrets=self._read_secrets, on_news=self._on_news, clock=self._clock)
        self._pollers[place] = poller, asyncio.create_task(poller.run(), name=f"poll {place[0]}/{place[1]}")
        return poller

    def drop(self, place: Place) -> None:
        """The Broker is gone: end its loop."""
        running = self._pollers.pop(place, None)
        if running is not None:
            running[1].cancel()

    def get(self, place: Place) -> Poller | None:
        """The loop of that Broker, if there is one."""
        running = self._pollers.get(place)
        return running[0] if running else None

    def __iter__(self) -> Iterator[tuple[Place, Poller]]:
        """Each Broker's place and loop."""
        return ((place, poller) for place, (poller, _) in list(self._pollers.items()))

    def problems(self) -> list[str]:
        """For the liveness probe: loops that ended or are stuck."""
        found = []
        for (namespace, name), (poller, task) in self._pollers.items():
            stuck = poller.stuck_for()
            if task.done():
                found.append(f"the poll loop of Broker {namespace}/{name} has ended")
            elif stuck is not None:
                found.append(f"the poll loop of Broker {namespace}/{name} is stuck for {stuck.total_seconds():.0f} s")
        return found

    async def aclose(self) -> None:
        """End every loop and wait for it."""
        tasks = [task for _, task in self._pollers.values()]
        self._pollers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _compare(before: BrokerReading, after: BrokerReading) -> News | None:
    """What the later reading changed; None when nothing that matters did."""
    old, new = before.snapshot, after.snapshot
    if before.reachable != after.reachable or before.error != after.error or (old is None) != (new is None):
        return News(everything=True)
    if after.error is not None and after.failures <= _FAILURES_TOLD:
        return News(everything=True)
    if old is None or new is None or old is new:
        return None
    if (old.problem, old.servers_known, old.schedule_known) != (new.problem, new.servers_known, new.schedule_known):
        return News(everything=True)
    queues = _changed(old.queues, new.queues)
    ticks = _changed(old.ticks, new.ticks) | _changed(old.refused, new.refused)
    hosts = frozenset() if old.servers is new.servers else _changed(_by_host(old), _by_host(new))
    scheduler = old.scheduler != new.scheduler or old.entries != new.entries
    if not (queues or ticks or hosts or scheduler):
        return None
    others = old.queues.keys() != new.queues.keys()
    return News(queues=queues, other_queues=others, hosts=hosts, ticks=ticks, scheduler=scheduler)


def _changed(old: Mapping[str, object], new: Mapping[str, object]) -> frozenset[str]:
    """The names that mean something else. A poll hands on what has not changed, so there is seldom much to compare."""
    if old is new:
        return frozenset()
    return frozenset(
        name
        for name in old.keys() | new.keys()
        if (before := old.get(name)) is not (after := new.get(name)) and before != after
    )


def _by_host(snapshot: BrokerSnapshot) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for server in snapshot.servers:
        found[server.info.host] = (*found.get(server.info.host, ()), _essence(server))
    return found


def _essence(server: ServerSnapshot) -> object:
    return (
        server.info.server_id,
        server.info.status,
        tuple((worker.task_id, worker.started_at) for worker in server.workers),
    )
