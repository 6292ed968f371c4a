"""The work queue: which objects to look at, each at most once at a time, with back-off for those that fail.

Level-triggered: an object is looked at as it is then, so ten changes while it waits are one visit, and a change during
a visit is another one after it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from longshore_operator.cluster.resources import BROKERS, WORKER_POOLS
from longshore_operator.errors import ApiUnavailable, NamespaceTerminating, ObjectConflict, OperatorError
from longshore_operator.measures import Distributions, Tally
from longshore_operator.observe.view import Key

logger = logging.getLogger(__name__)

Visit = Callable[[Key], Awaitable[timedelta | None]]  # how long until the next visit at the latest; None: when told

# A visit mostly waits for the API server; the client sees to it that not too many requests do so at once.
WORKERS = 16
# When thousands wait: first what all others of a Broker depend on, then workers for a backlog, then what is to be said.
_RANKS = {BROKERS.kind: 0, WORKER_POOLS.kind: 1}
_LAST = 2
VISIT_AT_MOST_S = 60.0
# Objects that are looked at for no other reason than that it is long ago: those that came together part by and by.
_SPREAD_FROM = timedelta(seconds=10)
_SPREAD = (0.8, 1.0)
_BACKOFF_FIRST_S = 0.25
_BACKOFF_MOST_S = 60.0
_BACKOFF_UNAVAILABLE_S = 15.0  # at most: what keeps the API server from answering is not about the object
_CONFLICTS_UNTOLD = 3  # in a row: others write, too


@dataclass(kw_only=True, slots=True)
class _Failure:
    times: int
    until: float  # loop time


class Reconciler:
    """One a process; ``run`` is its task. ``add`` and ``add_after`` may be called from anywhere in the event loop."""

    def __init__(self, visit: Visit, *, workers: int = WORKERS) -> None:
        self._visit = visit
        self._workers = workers
        self._ready: asyncio.PriorityQueue[tuple[int, int, Key]] = asyncio.PriorityQueue()
        self._numbers = itertools.count()  # of equal priority, the first to come is the first to be visited
        self._queued: set[Key] = set()
        self._active: dict[Key, float] = {}  # since when, loop time
        self._again: set[Key] = set()  # told of while active
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, _Failure] = {}
        self._clock = asyncio.get_running_loop().time
        self._ended: str | None = "it was not started"
        self.durations = Distributions()  # of visits, by kind
        self.errors = Tally()  # by kind and what went wrong: Conflict, Refused, Timeout or Defect

    def add(self, key: Key, *, fresh: bool = False) -> None:
        """Visit the object soon; if it failed before, when its back-off is over, or at once when ``fresh``.

        ``fresh`` says that the object itself has changed, so that its past failures mean nothing.
        """
        if fresh:
            self._failures.pop(key, None)
        if key in self._active:
            self._again.add(key)
            return
        failure = self._failures.get(key)
        if failure is not None and failure.until > self._clock():
            self._wait(key, failure.until)
            return
        self._cancel_timer(key)
        if key not in self._queued:
            self._queued.add(key)
            self._ready.put_nowait((_RANKS.get(key.kind, _LAST), next(self._numbers), key))

    def add_after(self, key: Key, delay: timedelta) -> None:
        """Visit the object once this long has passed, or earlier when told to."""
        if key not in self._queued:
            self._wait(key, self._clock() + delay.total_seconds())

    async def run(self) -> None:
        """Visit until cancelled. Raises only when a worker met a defect that no visit may cause."""
        self._ended = None
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._work(), name=f"reconciler {number}")
        finally:
            self._ended = "it has ended"
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def problems(self) -> list[str]:
        """For the liveness probe: whether visits come to an end, and whether anybody makes them."""
        found = [self._ended] if self._ended else []
        now = self._clock()
        found += (
            f"a visit of {key} has taken {now - since:.0f} s"
            for key, since in self._active.items()
            if now - since > 2 * VISIT_AT_MOST_S
        )
        return found

    @property
    def idle(self) -> bool:
        """Whether nothing is being visited or waits to be."""
        return not self._queued and not self._active

    @property
    def waiting(self) -> int:
        """Objects that wait for a visit now."""
        return len(self._queued)

    @property
    def active(self) -> int:
        """Objects that are being visited."""
        return len(self._active)

    @property
    def failing(self) -> int:
        """Objects whose last visit failed."""
        return len(self._failures)

    async def _work(self) -> None:
        while True:
            _, _, key = await self._ready.get()
            self._queued.discard(key)
            self._active[key] = self._clock()
            try:
                await self._visit_once(key)
            finally:
                self.durations.observe(self._clock() - self._active.pop(key), key.kind)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            # A visit that found nothing to do has not waited for anything. A thousand of those in a row must not keep
            # the Lease, the watches and the polls from their turn.
            await asyncio.sleep(0)

    async def _visit_once(self, key: Key) -> None:
        try:
            async with asyncio.timeout(VISIT_AT_MOST_S):
                delay = await self._visit(key)
        except ObjectConflict as error:
            # Somebody else wrote between our look and our write. The watch brings the newer state in a moment.
            if self._failed(key, error, "Conflict") > _CONFLICTS_UNTOLD:
                logger.warning(
                    "a visit conflicts again and again",
                    extra={"action": "reconcile", "object": str(key), "error": str(error)},
                )
        except NamespaceTerminating as error:
            self._failed(key, error, "Refused")
            logger.debug(
                "the namespace is being deleted",
                extra={"action": "reconcile", "object": str(key), "error": str(error)},
            )
        except (OperatorError, TimeoutError) as error:
            self._failed(key, error, "Timeout" if isinstance(error, TimeoutError) else "Refused")
            logger.warning(
                "a visit failed and will be repeated",
                extra={"action": "reconcile", "object": str(key), "error": str(error) or "it took too long"},
            )
        except Exception as error:
            self._failed(key, error, "Defect")
            logger.exception("a visit met a defect", extra={"action": "reconcile", "object": str(key)})
        else:
            self._failures.pop(key, None)
            if delay is not None:
                self.add_after(key, delay if delay < _SPREAD_FROM else delay * random.uniform(*_SPREAD))

    def _failed(self, key: Key, error: Exception, what: str) -> int:
        """Have it repeated later; how often it has failed in a row."""
        self.errors.add(key.kind, what)
        failure = self._failures.setdefault(key, _Failure(times=0, until=0.0))
        most_s = _BACKOFF_UNAVAILABLE_S if isinstance(error, ApiUnavailable) else _BACKOFF_MOST_S
        delay_s = min(most_s, _BACKOFF_FIRST_S * 2 ** min(failure.times, 16))
        if isinstance(error, ApiUnavailable) and error.retry_after_s is not None:
            delay_s = max(delay_s, error.retry_after_s)
        failure.times += 1
        failure.until = self._clock() + delay_s
        self._wait(key, failure.until)
        return failure.times

    def _wait(self, key: Key, until: float) -> None:
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= until and key not in self._failures:
            return
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_at(until, self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
