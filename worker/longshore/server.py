"""A worker server: owns the duties in runtime/, the order in which they end, and the signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from longshore.app import App
from longshore.app_lifespan import entering
from longshore.broker.base import Broker, RedisSettings
from longshore.broker.opening import opened
from longshore.errors import BrokerUnavailable, InvalidOption
from longshore.metrics.reading import OfProcess, WorkerReading
from longshore.policy.grouping import DEFAULT_GRACE_PERIOD, checked_rule
from longshore.policy.server_options import ServerOptions
from longshore.runtime.health import Page
from longshore.runtime.measures import Measures
from longshore.runtime.metrics_page import METRICS, can_be_served, metrics_page
from longshore.runtime.parts import assembled
from longshore.runtime.process_pool import usable_cpus
from longshore.runtime.service import Service
from longshore.runtime.timing import Clock, Timing, utc_now

_logger = logging.getLogger("longshore.server")

DEFAULT_CONCURRENCY = 20
DEFAULT_SHUTDOWN_TIMEOUT = timedelta(seconds=8)  # Asynq's
DEFAULT_QUEUES: Mapping[str, int] = {"default": 1}


class Server(Service):
    """Runs an application's handlers on the tasks of some queues.

    ``async with Server(app, redis=…) as server`` runs it beside other code and shuts it down at the end of the block;
    ``serve()`` runs it until SIGTERM or SIGINT. A server runs once. It starts also while Redis is away.

    Pausing takes no more tasks and lets the running ones go on; ``serve()`` does it on SIGTSTP, and resumes on SIGCONT.
    Shutting down takes no more tasks, lets the running ones end for ``shutdown_timeout``, then cancels the rest and
    puts their tasks back as the next to be taken.
    """

    def __init__(
        self,
        app: App,
        *,
        redis: str | RedisSettings | None = None,
        broker: Broker | None = None,
        queues: Mapping[str, int] = DEFAULT_QUEUES,
        strict_priority: bool = False,
        concurrency: int = DEFAULT_CONCURRENCY,
        process_pool_size: int | None = None,
        shutdown_timeout: timedelta | float = DEFAULT_SHUTDOWN_TIMEOUT,
        health_address: tuple[str, int] | None = None,
        group_grace_period: timedelta | float = DEFAULT_GRACE_PERIOD,
        group_max_delay: timedelta | float | None = None,
        group_max_size: int | None = None,
        timing: Timing | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """``redis``: a URL, or settings; the default is a local Redis. Or a ``broker``, which the caller closes.

        ``queues``: name to priority, from 1. ``strict_priority``: a queue is asked only when those before it are empty;
        otherwise a priority is a share. ``concurrency``: tasks at once. ``process_pool_size``: how many of them may run
        in processes of their own, while the others wait; None: as many as there are CPUs. ``shutdown_timeout``:
        timedelta or seconds. ``health_address``: host ("" for every interface) and port of the probes and, with
        the extra ``metrics``, of /metrics; None: neither.
        ``group_grace_period``, ``group_max_delay``, ``group_max_size``: a group is aggregated when nobody joined it for
        so long, somebody has waited for so long, or so many wait (up to 10,000). From 1 second; None: no such limit.
        Raises InvalidOption for what cannot be used.
        """
        if not isinstance(app, App):
            raise InvalidOption("application", f"is {app!r}, not an App")
        self._broker: Broker
        self._broker, self._owns_broker = opened(redis, broker)
        self._options = ServerOptions.of(
            queues=queues,
            strict_priority=strict_priority,
            concurrency=concurrency,
            process_pool_size=usable_cpus() if process_pool_size is None else process_pool_size,
            shutdown_timeout=shutdown_timeout,
            grouping=checked_rule(grace_period=group_grace_period, max_delay=group_max_delay, max_size=group_max_size),
        )
        self._timing = timing or Timing()
        super().__init__("server", health_address=health_address, stuck=self._timing.stuck)
        self._app = app
        self._clock = clock
        self._server_id = str(uuid.uuid4())
        self._abort = asyncio.Event()
        self._paused = False
        self._measures = Measures() if health_address is not None and can_be_served() else None

    @property
    def server_id(self) -> str:
        """The id it publishes itself under."""
        return self._server_id

    @property
    def running(self) -> int:
        """Handlers that run now."""
        return self._parts.runner.running if self._main is not None else 0

    @property
    def stuck(self) -> int:
        """Handlers among them that were told to end, were given up, and go on. Each keeps its slot."""
        return self._parts.runner.stuck if self._main is not None else 0

    def measure(self) -> None:
        """Count for ``reading()``, though this server has no health address of its own. Before the start."""
        if can_be_served():
            self._measures = Measures()

    def reading(self) -> WorkerReading | None:
        """What it has counted so far; None when it does not count, or has not started."""
        measures = self._measures
        if measures is None or self._main is None:
            return None
        parts = self._parts
        in_flight = dict.fromkeys(self._options.queues, 0)
        return WorkerReading(
            slots=self._options.concurrency,
            busy=self.running,
            stuck=self.stuck,
            in_flight=in_flight | {queue: len(attempts) for queue, attempts in parts.in_flight.by_queue().items()},
            tasks=measures.tasks(),
            lag_s=measures.lag.sum,
            lags=tuple(measures.lag.counts),
        )

    def shutdown(self) -> None:
        """Begin to shut down, gracefully; the second call puts everything back at once.

        Once that is done, a further call does not wait for a lifespan that takes its time to be left.
        """
        if self._stop.is_set():
            self._abort.set()
            self._leave_at_once()
        super().shutdown()

    def pause(self) -> None:
        """Take no more tasks until ``resume``. Leases of running ones are kept; the duties for the queues go on.

        Readers see it as ``stopped``, Asynq's word. Idempotent; without effect after ``shutdown``. A server paused
        before its start starts paused.
        """
        self._set_paused(True)

    def resume(self) -> None:
        """Take tasks again, after ``pause``. Idempotent."""
        self._set_paused(False)

    @property
    def paused(self) -> bool:
        """Whether it takes no more tasks until ``resume``."""
        return self._paused

    def _set_paused(self, paused: bool) -> None:
        if self._paused == paused or self._stop.is_set():
            return
        self._paused = paused
        _logger.info(
            "Paused: no more tasks are taken until it resumes" if paused else "Resumed: tasks are taken again",
            extra={"action": "server_paused" if paused else "server_resumed", "server_id": self._server_id},
        )
        if self._main is not None:
            self._heed_pause()

    def _heed_pause(self) -> None:
        (self._parts.processor.pause if self._paused else self._parts.processor.resume)()
        self._parts.heartbeater.status = "stopped" if self._paused else "active"
        self._load_changed.set()

    def _signals(self) -> Mapping[signal.Signals, Callable[[], None]]:
        return {**super()._signals(), signal.SIGTSTP: self.pause, signal.SIGCONT: self.resume}

    def _assemble(self) -> None:
        self._load_changed = asyncio.Event()
        self._parts = assembled(
            self._app,
            self._broker,
            options=self._options,
            server_id=self._server_id,
            on_load=self._load_changed.set,
            timing=self._timing,
            machine_clock=self._clock,
            outage=self._outage,
            pulse=self._pulse,
            measures=self._measures,
        )
        if self._paused:
            self._heed_pause()

    async def _announce(self) -> None:
        while True:
            await self._load_changed.wait()
            self._load_changed.clear()
            await self._parts.early_heartbeat.tick()
            await asyncio.sleep(self._timing.announce_gap.total_seconds())

    # -- from start to end -------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _surroundings(self) -> AsyncIterator[None]:
        try:
            lifespan = self._app.served_lifespan
            if lifespan is None:
                yield
            else:
                async with entering(lifespan) as state:
                    self._parts.runner.state = state
                    yield
        finally:
            if self._owns_broker:
                await self._broker.aclose()

    async def _run(self) -> None:
        _logger.info(
            "Worker server started",
            extra={
                "action": "server_started",
                "server_id": self._server_id,
                "queues": ",".join(f"{queue}={priority}" for queue, priority in self._options.queues.items()),
                "strict_priority": self._options.strict_priority,
                "concurrency": self._options.concurrency,
                "handlers": len(self._app.patterns),
            },
        )
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.clock_at_start.total_seconds()):
                    await self._parts.clock.tick()
            async with asyncio.TaskGroup() as duties:
                heartbeats = [duties.create_task(self._parts.heartbeat.run()), duties.create_task(self._announce())]
                acknowledging = duties.create_task(self._parts.acknowledger.run())
                until_draining = [duties.create_task(ticker.run()) for ticker in self._parts.until_draining]
                until_drained = [duties.create_task(ticker.run()) for ticker in self._parts.until_drained]
                until_drained.append(duties.create_task(self._parts.subscriber.run()))
                until_drained.append(duties.create_task(self._parts.clock.run(self._timing.clock)))
                heartbeats.append(duties.create_task(self._parts.loop_watch.run()))
                processing = [duties.create_task(self._parts.processor.run())]
                if self._parts.aggregator is not None:
                    processing.append(duties.create_task(self._parts.aggregator.run()))
                await self._stop.wait()
                _cancel(until_draining)
                leaving = duties.create_task(self._parts.duties.leave())
                await self._drain(processing)
                _cancel(until_drained)
                await self._settle_the_rest()
                _cancel([*heartbeats, acknowledging, leaving])
        finally:
            await self._finish()

    async def _drain(self, processing: list[asyncio.Task[None]]) -> None:
        started = asyncio.get_running_loop().time()
        self._parts.processor.stop()
        if self._parts.aggregator is not None:
            self._parts.aggregator.stop()
        self._parts.heartbeater.status = "closed"
        self._load_changed.set()
        timeout_s = self._options.shutdown_timeout.total_seconds()
        _logger.info(
            "Draining: no more tasks are taken",
            extra={"action": "draining", "running": self._parts.runner.running, "timeout_s": timeout_s},
        )
        idle = asyncio.ensure_future(self._idle(processing))
        aborted = asyncio.ensure_future(self._abort.wait())
        try:
            await asyncio.wait([idle, aborted], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
            aborted.cancel()
        if self._parts.runner.running:
            _logger.warning(
                "Time is up: running tasks are cancelled and put back",
                extra={"action": "drain_aborted", "running": self._parts.runner.running},
            )
        _cancel(processing[1:])  # aggregations: they give their tasks back to the groups
        stuck = await self._parts.runner.abort(grace=self._timing.cancel_grace)
        # A dequeue under way is awaited, for its tasks to be put back; not for longer than an orderly end may take.
        await asyncio.wait(processing, timeout=self._timing.settle_at_stop.total_seconds())
        _cancel(processing)
        _logger.info(
            "Drained",
            extra={
                "action": "drained",
                "seconds": round(asyncio.get_running_loop().time() - started, 3),
                "handlers_left": stuck,
            },
        )

    async def _idle(self, processing: list[asyncio.Task[None]]) -> None:
        await asyncio.wait(processing)
        await self._parts.runner.wait_until_idle()

    async def _settle_the_rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.settle_at_stop.total_seconds()):
                await self._parts.acknowledger.flush()
                await self._parts.syncer.tick()
                await self._parts.error_callbacks.flush()  # they have what is left of the time
        lost = len(self._parts.acknowledger) + len(self._parts.syncer)
        if lost:
            _logger.error(
                "Outcomes of tasks could not be written; these tasks will run again",
                extra={"action": "outcomes_lost", "tasks": lost},
            )

    async def _finish(self) -> None:
        """Whatever happened before: leave nothing behind that needs this process."""
        self._parts.processor.stop()
        self._parts.runner.close()
        await self._parts.processes.aclose()
        self._parts.error_callbacks.close()
        with contextlib.suppress(BrokerUnavailable, TimeoutError):  # the keys then expire by themselves
            async with asyncio.timeout(self._timing.clear_at_stop.total_seconds()):
                await self._parts.heartbeater.clear()
        _logger.info("Worker server stopped", extra={"action": "server_stopped", "server_id": self._server_id})

    def _pages(self) -> Mapping[str, Callable[[], Awaitable[Page]]]:
        return {METRICS: metrics_page(self._processes)}

    async def _processes(self) -> Sequence[OfProcess]:
        return [OfProcess(name=None, pid=os.getpid(), reading=self.reading())]

    def _state(self) -> str:
        state = "draining" if self._stop.is_set() else "paused" if self._paused else "ok"
        stuck = self.stuck
        return f"{state}; handlers that do not end: {stuck}" if stuck else state


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
