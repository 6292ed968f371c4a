"""Publishes the server's state and extends the leases of its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from longshore.broker.base import Broker
from longshore.errors import BrokerUnavailable, LongshoreError
from longshore.protocol.messages import ServerInfo, WorkerInfo
from longshore.runtime.attempt import Attempt, InFlight
from longshore.runtime.outage import Outage
from longshore.runtime.timing import Clock, Timing

_LEASES_A_CALL = 1000
_WORKERS_A_STEP = 500  # running tasks described before the event loop has another turn: some milliseconds

# Bytes of a running task's payload that are published. Asynq publishes all of it every five seconds, for each task; the
# whole lies in the task itself. Readers take whatever is there.
_PAYLOAD_SHOWN = 10_000


class Heartbeater:
    """``tick`` is the regular beat; ``announce`` an early one, when the server turned from idle to busy or back.

    The operator chooses which pods to remove by what servers publish: five seconds are too old for that.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        host: str,
        pid: int,
        server_id: str,
        concurrency: int,
        queues: Mapping[str, int],
        strict_priority: bool,
        started_at: datetime,
        in_flight: InFlight,
        on_lost: Callable[[Attempt], None],
        timing: Timing,
        clock: Clock,
        outage: Outage,
    ) -> None:
        """``on_lost`` is told of attempts whose lease ran out on this side."""
        self.status = "active"
        self._broker = broker
        self._host = host
        self._pid = pid
        self._server_id = server_id
        self._concurrency = concurrency
        self._queues = queues
        self._strict_priority = strict_priority
        self._started_at = started_at
        self._in_flight = in_flight
        self._on_lost = on_lost
        self._timing = timing
        self._clock = clock
        self._outage = outage
        self._one_at_a_time = asyncio.Lock()  # an older state must not overwrite a newer one
        self._published: tuple[str, bool] | None = None
        self._published_none = True  # running tasks; at first there is nothing of this server in Redis

    async def tick(self) -> None:
        """Give up lost leases, extend the others, publish."""
        for attempt in self._in_flight:
            if attempt.lease_expires_at <= self._clock():
                self._on_lost(attempt)
        # Leases first: a server nobody sees is a nuisance, a lease that runs out makes a task run twice.
        refused = await self._extend_leases()
        await self.publish()
        if refused is not None:
            raise refused

    async def announce(self) -> None:
        """Publish if readers would be told something new."""
        if self._published != self._load():
            await self.publish()

    async def publish(self) -> None:
        """Write the state as it is now."""
        async with self._one_at_a_time:
            running = [attempt for attempt in self._in_flight if not attempt.ended]
            load = self._load()
            info = self.info(active_workers=len(running))
            workers = await self._workers(running) if running or not self._published_none else None
            self._published_none = False  # until it is known to be written
            await self._broker.publish_server(info, workers, now=self._clock())
            self._published = load
            self._published_none = not running
            self._outage.succeeded("heartbeater")

    async def clear(self) -> None:
        """Remove the state."""
        async with self._one_at_a_time:
            await self._broker.clear_server(self.info(active_workers=0))

    def info(self, *, active_workers: int) -> ServerInfo:
        """The server as it presents itself."""
        return ServerInfo(
            host=self._host,
            pid=self._pid,
            server_id=self._server_id,
            concurrency=self._concurrency,
            queues=self._queues,
            strict_priority=self._strict_priority,
            status=self.status,
            started_at=self._started_at,
            active_workers=active_workers,
        )

    def _load(self) -> tuple[str, bool]:
        return self.status, any(not attempt.ended for attempt in self._in_flight)

    async def _workers(self, running: Sequence[Attempt]) -> list[WorkerInfo]:
        workers: list[WorkerInfo] = []
        for start in range(0, len(running), _WORKERS_A_STEP):
            workers += [self._worker(attempt) for attempt in running[start : start + _WORKERS_A_STEP]]
            if len(running) > _WORKERS_A_STEP:
                await asyncio.sleep(0)  # thousands at once would hold up the handlers
        return workers

    def _worker(self, attempt: Attempt) -> WorkerInfo:
        return WorkerInfo(
            host=self._host,
            pid=self._pid,
            server_id=self._server_id,
            task_id=attempt.message.id,
            task_type=attempt.message.type,
            payload=(attempt.message.payload or b"")[:_PAYLOAD_SHOWN],
            queue=attempt.message.queue,
            started_at=attempt.started_at,
            deadline=attempt.deadline,
        )

    async def _extend_leases(self) -> LongshoreError | None:
        """Extend what can be extended; the first refusal. Raises BrokerUnavailable, also after the other queues.

        A queue with a key of another type, or whose master is away in a cluster, costs no other queue its leases.
        """
        queues = list(self._in_flight.by_queue().items())
        refused: LongshoreError | None = None
        unavailable: BrokerUnavailable | None = None
        while queues and unavailable is None:
            try:
                await self._extend(*queues.pop())
            except BrokerUnavailable as error:
                unavailable = error
            except LongshoreError as error:
                refused = refused or error
        if unavailable is None:
            return refused
        # All at once: one after the other, each with its time limit, they would put off seeing that a lease is over.
        await asyncio.gather(*(self._extend(queue, attempts) for queue, attempts in queues), return_exceptions=True)
        raise unavailable

    async def _extend(self, queue: str, attempts: Sequence[Attempt]) -> None:
        for start in range(0, len(attempts), _LEASES_A_CALL):
            batch = attempts[start : start + _LEASES_A_CALL]
            now = self._clock()
            ids = [attempt.message.id for attempt in batch]
            await self._broker.extend_leases(queue, ids, now=now, lease=self._timing.lease)
            for attempt in batch:
                attempt.lease_expires_at = now + self._timing.lease
