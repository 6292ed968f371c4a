"""Takes tasks by queue priority, as many as there are slots free.

The slots are the only buffer: a dequeue never asks for more, so a task that cannot be run now stays in Redis, where
another worker can take it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from random import Random

from longshore.broker.base import Broker, Dequeued
from longshore.broker.permits_base import Permitted, Taken
from longshore.errors import BrokerUnavailable, LongshoreError
from longshore.policy.queues import strict_order, weighted_order
from longshore.runtime.acknowledger import Acknowledger
from longshore.runtime.attempt import InFlight
from longshore.runtime.limiter import Limiter
from longshore.runtime.line import Line
from longshore.runtime.outage import Outage, backoff_s
from longshore.runtime.pauses import Pauses
from longshore.runtime.pulse import Pulse
from longshore.runtime.queue_watch import QueueWatch
from longshore.runtime.runner import Runner
from longshore.runtime.timing import Clock, Timing

_logger = logging.getLogger("longshore.server")

_UNACKNOWLEDGED = 4  # times the slots


class Processor:
    """Keeps the slots of a server filled."""

    def __init__(
        self,
        broker: Broker,
        *,
        queues: Mapping[str, int],
        strict_priority: bool,
        concurrency: int,
        runner: Runner,
        in_flight: InFlight,
        acknowledger: Acknowledger,
        timing: Timing,
        clock: Clock,
        outage: Outage,
        pulse: Pulse,
        pauses: Pauses,
        random: Random,
        limiter: Limiter | None = None,
    ) -> None:
        """``limiter``: None when nothing is limited."""
        self._runner = runner
        self._queues = queues
        self._strict = strict_order(queues) if strict_priority else None
        self._concurrency = concurrency
        # Half the slots at a time: while Redis looks for one half, the handlers of the other run.
        self._batch = (concurrency + 1) // 2
        self._in_flight = in_flight
        self._acknowledger = acknowledger
        self._timing = timing
        self._clock = clock
        self._outage = outage
        self._pulse = pulse
        self._random = random
        self._wake = asyncio.Event()  # a slot or a queue may be ready, or the end has come
        self._stopping = asyncio.Event()
        self._paused = False
        self._failures = 0
        self._limiter = limiter
        self._line_was_last = False
        self._loop = asyncio.get_running_loop()
        self._arrived: list[tuple[str, Dequeued]] = []  # taken, and not yet begun
        by_priority = strict_order(queues)
        self._watches = {
            queue: QueueWatch(
                queue,
                broker,
                parks=by_priority.index(queue) < timing.parking_limit,
                pauses=pauses,
                on_ready=self._wake.set,
                timing=timing,
                outage=outage,
                random=random,
            )
            for queue in queues
        }

    async def run(self) -> None:
        """Until ``stop``. Not to be cancelled: what a dequeue under way brings would be lost to its lease."""
        watching = [asyncio.ensure_future(watch.run()) for watch in self._watches.values()]
        try:
            while not self._stopping.is_set():
                order = self._ready_queues() if self._free > 0 else []
                lines = self._limiter.ready_lines() if self._limiter is not None and self._free > 0 else []
                if not order and not lines:
                    await self._wake.wait()
                    self._wake.clear()
                    continue
                if lines:
                    await self._take_from_lines(lines, alone=not order)
                if order:
                    await self._take_from(order)
        finally:
            for watch in watching:
                watch.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    @property
    def _free(self) -> int:
        if self._paused:
            return 0
        running = self._runner.running
        # Outcomes on their way to Redis hold no slot, up to a bound: a Redis that gives tasks and takes no outcomes
        # must not make a worker collect them without end.
        if len(self._in_flight) - running > self._concurrency * _UNACKNOWLEDGED:
            return 0
        return self._concurrency - running - self._runner.arriving

    def _ready_queues(self) -> list[str]:
        ready = [queue for queue in self._strict or self._queues if self._watches[queue].ready]
        if self._strict is None and len(ready) > 1:
            return weighted_order(self._queues, among=ready, random=self._random)
        return ready

    async def _take_from(self, order: list[str]) -> None:
        for queue in order:
            limit = min(self._free, self._batch)
            if limit <= 0 or self._stopping.is_set():
                return
            watch = self._watches[queue]
            self._runner.taking = True
            starts: list[Permitted] = []
            limited_s: float | None = None
            try:
                with self._pulse.working("processor"):
                    if self._limiter is None:
                        taken = await self._take(queue, limit)
                    else:
                        taken, starts, limited_s = await self._take_within(self._limiter, queue, limit)
            except BrokerUnavailable as error:
                self._outage.failed(f"queue {queue}", error)
                await self._back_off()
                return
            except LongshoreError as error:
                self._outage.refused(f"queue {queue}", error)
                watch.emptied(found=False, may_park=False)
                continue
            except Exception:
                _logger.exception("Tasks could not be taken", extra={"action": "dequeue_failed", "queue": queue})
                await self._back_off()
                return
            finally:
                self._runner.taking = False
            self._failures = 0
            self._outage.succeeded(f"queue {queue}")
            full = len(taken.leased) + len(taken.unreadable) >= limit
            if self._limiter is None:
                self._arrived.append((queue, taken))
                self._runner.arrive(len(taken.leased))
                if full and self._free > 0:  # more is asked for before these are begun: Redis looks for it meanwhile
                    self._loop.call_soon(self._take_in)
                else:
                    self._take_in()
            else:
                self._tell_unreadable(queue, taken)
                await self._take_in_within(self._limiter, queue, starts)
                self._runner.taken()
            if full:
                return  # it may have more, so who is next is drawn, or by strict priority begun, anew
            watch.emptied(found=bool(taken.leased), paused=taken.paused, limited_s=limited_s)

    async def _take(self, queue: str, limit: int) -> Dequeued:
        return await self._acknowledger.take(queue, limit=limit, lease=self._timing.lease)

    async def _take_within(
        self, limiter: Limiter, queue: str, limit: int
    ) -> tuple[Dequeued, list[Permitted], float | None]:
        """What was taken, when each may begin as far as the queue's limit goes, and how long not to ask again."""
        if not limiter.limits_queue(queue):
            taken = await self._take(queue, limit)
            return taken, [Permitted(leased, 0.0) for leased in taken.leased], None
        found = await limiter.dequeue(queue, most=limit)
        return found.tasks, _permitted(found), limiter.pause_s(queue, found)

    async def _take_from_lines(self, lines: list[Line], *, alone: bool) -> None:
        """``alone``: no queue is ready. When some is, half the slots are for it, and a single one every other time."""
        assert self._limiter is not None
        free = self._free
        if not alone and free == 1 and self._line_was_last:
            self._line_was_last = False
            return
        self._line_was_last = True
        share = free if alone else max(1, free // 2)
        for line in lines:
            most = min(share, self._free, self._batch)
            if most <= 0 or self._stopping.is_set():
                return
            try:
                self._runner.taking = True
                with self._pulse.working("processor"):
                    found = await self._limiter.take_from(line, most=most)
            except BrokerUnavailable as error:
                self._outage.failed(f"queue {line.queue}", error)
                await self._back_off()
                return
            except LongshoreError as error:
                self._outage.refused(f"queue {line.queue}", error)
                continue
            except Exception:
                _logger.exception("Tasks could not be taken", extra={"action": "dequeue_failed", "queue": line.queue})
                await self._back_off()
                return
            finally:
                self._runner.taking = False
            self._failures = 0
            self._outage.succeeded(f"queue {line.queue}")
            self._tell_unreadable(line.queue, found.tasks)
            await self._take_in_within(self._limiter, line.queue, _permitted(found), of=line)
            self._runner.taken()
            share -= len(found.tasks.leased)

    async def _take_in_within(
        self, limiter: Limiter, queue: str, tasks: list[Permitted], *, of: Line | None = None
    ) -> None:
        self._runner.taking = True  # for as long as permits are asked for
        try:
            await limiter.take_in(queue, tasks, of=of)
        finally:
            self._runner.taking = False

    async def _back_off(self) -> None:
        self._failures += 1
        longest_s = self._timing.backoff.total_seconds()
        pause_s = backoff_s(self._failures, longest_s=longest_s, random=self._random)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s)

    def _take_in(self) -> None:
        """Begin what was taken, in order."""
        arrived, self._arrived = self._arrived, []
        handle = self._runner.give_back if self._stopping.is_set() else self._runner.begin
        now = self._clock()
        for queue, taken in arrived:
            self._tell_unreadable(queue, taken)
            for leased in taken.leased:
                handle(leased, now=now)
        self._runner.arrived()

    def _tell_unreadable(self, queue: str, taken: Dequeued) -> None:
        for unreadable in taken.unreadable:
            _logger.error(
                "A task could not be read and was set aside",
                extra={
                    "action": "task_unreadable",
                    "queue": queue,
                    "task_id": unreadable.task_id,
                    "error": unreadable.problem,
                },
            )

    def wake(self) -> None:
        """A slot is free, or fewer outcomes are on their way."""
        self._wake.set()

    def pause(self) -> None:
        """Ask for no more tasks until ``resume``; what a dequeue under way still brings is run. Idempotent."""
        self._paused = True

    def resume(self) -> None:
        """Take tasks again. Idempotent."""
        self._paused = False
        self._wake.set()

    def place_free(self, queue: str) -> None:
        """A task of a queue with a limit has ended, so that another may begin."""
        self._watches[queue].place_free()

    def queue_resumed(self, queue: str) -> None:
        """A queue, maybe one of this server's, is not paused any more."""
        if queue in self._watches:
            self._watches[queue].resumed()

    def stop(self) -> None:
        """Take nothing more; what a dequeue under way still brings is put back. Idempotent."""
        self._stopping.set()
        if self._limiter is not None:
            self._limiter.stop()
        self._wake.set()


def _permitted(found: Taken) -> list[Permitted]:
    return [Permitted(*one) for one in zip(found.tasks.leased, found.after_s, strict=True)]
