"""A worker server: owns the duties in runtime/, the order in which they end, and the signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta

from longshore.app import App
from longshore.app_lifespan import entering
from longshore.broker.base import Broker, RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import BrokerUnavailable, InvalidOption
from longshore.group_aggregator import GroupRouter
from longshore.handler import check_importable
from longshore.policy.grouping import DEFAULT_GRACE_PERIOD, checked_rule
from longshore.policy.queues import checked_queues
from longshore.protocol.notices import Standing, TakeTurn
from longshore.runtime.acknowledger import Acknowledger
from longshore.runtime.aggregation import Aggregations
from longshore.runtime.aggregator import Aggregator
from longshore.runtime.aggregator_call import AggregatorCalls
from longshore.runtime.attempt import InFlight, WatchedInFlight
from longshore.runtime.cancellations import Cancellations
from longshore.runtime.duties import Duties
from longshore.runtime.error_callbacks import ErrorCallbacks
from longshore.runtime.forwarder import Forwarder
from longshore.runtime.heartbeater import Heartbeater
from longshore.runtime.janitor import Janitor
from longshore.runtime.judge import Judge
from longshore.runtime.limiter import Limiter
from longshore.runtime.loop_watch import LoopWatch
from longshore.runtime.merging import Merging
from longshore.runtime.pauses import Pauses
from longshore.runtime.process_pool import ProcessPool, usable_cpus
from longshore.runtime.processor import Processor
from longshore.runtime.reclaimer import Reclaimer
from longshore.runtime.recoverer import Recoverer
from longshore.runtime.redis_clock import RedisClock
from longshore.runtime.runner import Runner
from longshore.runtime.service import Service
from longshore.runtime.settlement import Settlement
from longshore.runtime.subscriber import Subscriber
from longshore.runtime.syncer import Syncer
from longshore.runtime.ticker import Ticker
from longshore.runtime.timing import Clock, Timing, utc_now

_logger = logging.getLogger("longshore.server")

DEFAULT_CONCURRENCY = 20
MOST_CONCURRENT = 1_000_000
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
        timedelta or seconds. ``health_address``: host ("" for every interface) and port of the probes; None: no probes.
        ``group_grace_period``, ``group_max_delay``, ``group_max_size``: a group is aggregated when nobody joined it for
        so long, somebody has waited for so long, or so many wait (up to 10,000). From 1 second; None: no such limit.
        Raises InvalidOption for what cannot be used.
        """
        if broker is not None and redis is not None:
            raise InvalidOption("broker", "give either a Redis or a broker, not both")
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= MOST_CONCURRENT:
            raise InvalidOption("concurrency", f"is {concurrency!r}; give a whole number from 1 to {MOST_CONCURRENT}")
        if process_pool_size is not None and (
            isinstance(process_pool_size, bool) or not isinstance(process_pool_size, int) or process_pool_size < 1
        ):
            raise InvalidOption("process pool size", f"is {process_pool_size!r}; give a whole number from 1")
        if not isinstance(shutdown_timeout, timedelta):
            try:
                shutdown_timeout = timedelta(seconds=shutdown_timeout)
            except (OverflowError, ValueError) as error:
                raise InvalidOption("shutdown timeout", f"is {shutdown_timeout!r}; give seconds") from error
        if shutdown_timeout < timedelta(0):
            raise InvalidOption("shutdown timeout", "must not be negative")
        self._grouping = checked_rule(
            grace_period=group_grace_period, max_delay=group_max_delay, max_size=group_max_size
        )
        self._timing = timing or Timing()
        super().__init__("server", health_address=health_address, stuck=self._timing.stuck)
        self._app = app
        self._owns_broker = broker is None
        self._broker: Broker = broker if broker is not None else RedisBroker.connect(RedisSettings.of(redis))
        self._queues = checked_queues(queues)
        self._strict_priority = strict_priority
        self._concurrency = concurrency
        self._process_pool_size = process_pool_size if process_pool_size is not None else usable_cpus()
        self._shutdown_timeout = shutdown_timeout
        self._clock = clock
        self._server_id = str(uuid.uuid4())
        self._abort = asyncio.Event()
        self._paused = False

    @property
    def server_id(self) -> str:
        """The id it publishes itself under."""
        return self._server_id

    @property
    def running(self) -> int:
        """Handlers that run now."""
        return self._runner.running if self._main is not None else 0

    @property
    def stuck(self) -> int:
        """Handlers among them that were told to end, were given up, and go on. Each keeps its slot."""
        return self._runner.stuck if self._main is not None else 0

    def shutdown(self) -> None:
        """Begin to shut down, gracefully; the second call puts everything back at once."""
        if self._stop.is_set():
            self._abort.set()
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
        (self._processor.pause if self._paused else self._processor.resume)()
        self._heartbeater.status = "stopped" if self._paused else "active"
        self._load_changed.set()

    def _signals(self) -> Mapping[signal.Signals, Callable[[], None]]:
        return {**super()._signals(), signal.SIGTSTP: self.pause, signal.SIGCONT: self.resume}

    # -- the parts ---------------------------------------------------------------------------------------------------

    def _assemble(self) -> None:
        timing, broker, queues = self._timing, self._broker, self._queues
        clock = self._redis_clock = RedisClock(broker, machine=self._clock)
        chance = random.Random()
        self._load_changed = asyncio.Event()
        limits, queue_limits = self._app.limits, self._app.queue_limits
        watched = WatchedInFlight() if limits or not queue_limits.keys().isdisjoint(queues) else None
        self._in_flight = InFlight() if watched is None else watched
        clock.on_step = self._in_flight.clock_stepped
        settlement = Settlement(broker, in_flight=self._in_flight, outage=self._outage, clock=clock)
        self._syncer = Syncer(settlement)
        self._acknowledger = Acknowledger(settlement, self._syncer, pulse=self._pulse)
        for handler in self._app.handlers:
            if handler.process:
                check_importable(handler)
        self._processes = ProcessPool(size=self._process_pool_size)
        self._error_callbacks = ErrorCallbacks(limit=timing.error_callback)
        self._runner = Runner(
            broker,
            find_handler=self._app.handler,
            in_flight=self._in_flight,
            judge=Judge(
                in_flight=self._in_flight,
                acknowledger=self._acknowledger,
                policy_for=self._app.failure_policy,
                error_callbacks=self._error_callbacks,
                clock=clock,
                random=chance,
            ),
            on_load=self._load_changed.set,
            processes=self._processes,
            timing=timing,
            clock=clock,
        )
        started_at = clock()
        standing = Standing(since=started_at.timestamp(), server_id=self._server_id)
        self._duties = Duties(broker, standing=standing, queues=queues, timing=timing)
        pauses = Pauses(broker, held=self._duties.held)
        self._limiter = None
        if watched is not None:
            self._limiter = Limiter(
                broker,
                server_id=self._server_id,
                queues=queues,
                concurrency=self._concurrency,
                limits=limits,
                queue_limits=queue_limits,
                pattern_of=lambda task_type: self._app.handler(task_type).pattern,
                runner=self._runner,
                timing=timing,
                clock=clock,
                outage=self._outage,
                pulse=self._pulse,
                random=chance,
            )
        self._processor = Processor(
            broker,
            runner=self._runner,
            queues=queues,
            strict_priority=self._strict_priority,
            concurrency=self._concurrency,
            in_flight=self._in_flight,
            acknowledger=self._acknowledger,
            timing=timing,
            clock=clock,
            outage=self._outage,
            pulse=self._pulse,
            pauses=pauses,
            random=chance,
            limiter=self._limiter,
        )
        if self._limiter is not None and watched is not None:
            if self._limiter.frees_places:
                watched.on_gone = self._limiter.ended
            self._limiter.on_ready = self._processor.wake
            self._limiter.on_place_free = self._processor.place_free
        pauses.on_resumed = self._processor.queue_resumed
        self._runner.on_slot_free = settlement.on_settled = self._processor.wake
        self._heartbeater = Heartbeater(
            broker,
            host=socket.gethostname() or "unknown-host",
            pid=os.getpid(),
            server_id=self._server_id,
            concurrency=self._concurrency,
            queues=queues,
            strict_priority=self._strict_priority,
            started_at=started_at,
            in_flight=self._in_flight,
            on_lost=self._runner.lose,
            timing=timing,
            clock=clock,
            outage=self._outage,
        )
        if self._paused:
            self._heed_pause()
        self._loop_watch = LoopWatch(limit=timing.loop_blocked)
        self._subscriber = Subscriber(
            broker,
            cancellations=Cancellations(self._runner.cancel),
            duties=self._duties,
            pauses=pauses,
            on_turn=_ignore if self._limiter is None else self._limiter.take_turn,
            timing=timing,
            outage=self._outage,
            random=chance,
        )
        forwarder = Forwarder(broker, duties=self._duties, clock=clock)
        recoverer = Recoverer(
            broker,
            duties=self._duties,
            policy_for=self._app.failure_policy,
            error_callbacks=self._error_callbacks,
            timing=timing,
            clock=clock,
            random=chance,
        )
        janitor = Janitor(broker, duties=self._duties, clock=clock)
        reclaimer = Reclaimer(broker, duties=self._duties, clock=clock)
        self._aggregator = self._made_aggregator(reclaimer, chance)

        def ticker(
            duty: str, tick: Callable[[], Awaitable[None]], period: timedelta, *, at_once: bool = True
        ) -> Ticker:
            return Ticker(
                duty, tick, period=period, outage=self._outage, pulse=self._pulse, random=chance, at_once=at_once
            )

        self._heartbeat = ticker("heartbeater", self._heartbeater.tick, timing.heartbeat)
        self._early_heartbeat = ticker("announcer", self._heartbeater.announce, timing.announce_gap)
        # These end when the draining begins, those only after it.
        self._until_draining = [
            ticker("forwarder", forwarder.tick, timing.forward, at_once=False),
            ticker("janitor", janitor.tick, timing.clean, at_once=False),
            ticker("pauses", pauses.tick, timing.poll, at_once=False),
            ticker("duties", self._duties.tick, timing.announce, at_once=False),
            ticker("reclaimer", reclaimer.tick, timing.reclaim, at_once=False),
        ]
        if self._aggregator is not None:
            self._until_draining.append(ticker("aggregator", self._aggregator.tick, timing.aggregate))
        if self._limiter is not None:
            self._until_draining.append(ticker("limiter", self._limiter.tick, timing.lines))
        self._until_drained = [
            ticker("recoverer", recoverer.tick, timing.recover),
            ticker("syncer", self._syncer.tick, timing.sync, at_once=False),
        ]

    def _made_aggregator(self, reclaimer: Reclaimer, chance: random.Random) -> Aggregator | None:
        """None when the application has no aggregators: then nobody looks for groups."""
        aggregators = self._app.aggregators
        if not aggregators:
            return None
        timing, clock, groups = self._timing, self._redis_clock, self._broker.groups
        return Aggregator(
            groups,
            queues=self._queues,
            duties=self._duties,
            router=GroupRouter(aggregators),
            rule=self._grouping,
            aggregations=Aggregations(
                groups,
                calls=AggregatorCalls(cancel_grace=timing.cancel_grace),
                merging=Merging(
                    groups, options_for=self._app.options_for, through=self._app.enqueue_through, clock=clock
                ),
                outage=self._outage,
                timing=timing,
                clock=clock,
                random=chance,
            ),
            reclaimer=reclaimer,
            outage=self._outage,
            timing=timing,
            clock=clock,
        )

    async def _announce(self) -> None:
        while True:
            await self._load_changed.wait()
            self._load_changed.clear()
            await self._early_heartbeat.tick()
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
                    self._runner.state = state
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
                "queues": ",".join(f"{queue}={priority}" for queue, priority in self._queues.items()),
                "strict_priority": self._strict_priority,
                "concurrency": self._concurrency,
                "handlers": len(self._app.patterns),
            },
        )
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.clock_at_start.total_seconds()):
                    await self._redis_clock.tick()
            async with asyncio.TaskGroup() as duties:
                heartbeats = [duties.create_task(self._heartbeat.run()), duties.create_task(self._announce())]
                acknowledging = duties.create_task(self._acknowledger.run())
                until_draining = [duties.create_task(ticker.run()) for ticker in self._until_draining]
                until_drained = [duties.create_task(ticker.run()) for ticker in self._until_drained]
                until_drained.append(duties.create_task(self._subscriber.run()))
                until_drained.append(duties.create_task(self._redis_clock.run(self._timing.clock)))
                heartbeats.append(duties.create_task(self._loop_watch.run()))
                processing = [duties.create_task(self._processor.run())]
                if self._aggregator is not None:
                    processing.append(duties.create_task(self._aggregator.run()))
                await self._stop.wait()
                _cancel(until_draining)
                leaving = duties.create_task(self._duties.leave())
                await self._drain(processing)
                _cancel(until_drained)
                await self._settle_the_rest()
                _cancel([*heartbeats, acknowledging, leaving])
        finally:
            await self._finish()

    async def _drain(self, processing: list[asyncio.Task[None]]) -> None:
        started = asyncio.get_running_loop().time()
        self._processor.stop()
        if self._aggregator is not None:
            self._aggregator.stop()
        self._heartbeater.status = "closed"
        self._load_changed.set()
        timeout_s = self._shutdown_timeout.total_seconds()
        _logger.info(
            "Draining: no more tasks are taken",
            extra={"action": "draining", "running": self._runner.running, "timeout_s": timeout_s},
        )
        idle = asyncio.ensure_future(self._idle(processing))
        aborted = asyncio.ensure_future(self._abort.wait())
        try:
            await asyncio.wait([idle, aborted], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
            aborted.cancel()
        if self._runner.running:
            _logger.warning(
                "Time is up: running tasks are cancelled and put back",
                extra={"action": "drain_aborted", "running": self._runner.running},
            )
        _cancel(processing[1:])  # aggregations: they give their tasks back to the groups
        stuck = await self._runner.abort(grace=self._timing.cancel_grace)
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
        await self._runner.wait_until_idle()

    async def _settle_the_rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.settle_at_stop.total_seconds()):
                await self._acknowledger.flush()
                await self._syncer.tick()
                await self._error_callbacks.flush()  # they have what is left of the time
        lost = len(self._acknowledger) + len(self._syncer)
        if lost:
            _logger.error(
                "Outcomes of tasks could not be written; these tasks will run again",
                extra={"action": "outcomes_lost", "tasks": lost},
            )

    async def _finish(self) -> None:
        """Whatever happened before: leave nothing behind that needs this process."""
        self._processor.stop()
        self._runner.close()
        await self._processes.aclose()
        self._error_callbacks.close()
        with contextlib.suppress(BrokerUnavailable, TimeoutError):  # the keys then expire by themselves
            async with asyncio.timeout(self._timing.clear_at_stop.total_seconds()):
                await self._heartbeater.clear()
        _logger.info("Worker server stopped", extra={"action": "server_stopped", "server_id": self._server_id})

    def _state(self) -> str:
        state = "draining" if self._stop.is_set() else "paused" if self._paused else "ok"
        stuck = self.stuck
        return f"{state}; handlers that do not end: {stuck}" if stuck else state


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _ignore(notice: TakeTurn) -> None:
    """Of limits, in a server without any."""
