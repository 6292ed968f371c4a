"""The parts of a worker server, made and told of each other. What runs and ends them, in which order, is the server."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from longshore.app import App
from longshore.broker.base import Broker
from longshore.group_aggregator import GroupRouter
from longshore.handler import check_importable
from longshore.policy.server_options import ServerOptions
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
from longshore.runtime.measures import Measures
from longshore.runtime.merging import Merging
from longshore.runtime.outage import Outage
from longshore.runtime.pauses import Pauses
from longshore.runtime.process_pool import ProcessPool
from longshore.runtime.processor import Processor
from longshore.runtime.pulse import Pulse
from longshore.runtime.reclaimer import Reclaimer
from longshore.runtime.recoverer import Recoverer
from longshore.runtime.redis_clock import RedisClock
from longshore.runtime.runner import Runner
from longshore.runtime.settlement import Settlement
from longshore.runtime.subscriber import Subscriber
from longshore.runtime.syncer import Syncer
from longshore.runtime.ticker import Ticker
from longshore.runtime.timing import Clock, Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Nothing of it runs yet."""

    clock: RedisClock
    in_flight: InFlight
    runner: Runner
    processes: ProcessPool
    processor: Processor
    aggregator: Aggregator | None  # None when the application has no aggregators: then nobody looks for groups
    acknowledger: Acknowledger
    syncer: Syncer
    error_callbacks: ErrorCallbacks
    duties: Duties
    subscriber: Subscriber
    loop_watch: LoopWatch
    heartbeater: Heartbeater
    heartbeat: Ticker
    early_heartbeat: Ticker  # to be ticked, not run
    until_draining: list[Ticker]  # end when the draining begins
    until_drained: list[Ticker]  # end after it


def assembled(
    app: App,
    broker: Broker,
    *,
    options: ServerOptions,
    server_id: str,
    on_load: Callable[[], None],
    timing: Timing,
    machine_clock: Clock,
    outage: Outage,
    pulse: Pulse,
    measures: Measures | None = None,
) -> Parts:
    """The parts for an application as it is now. In the event loop they will run in.

    ``on_load`` is called when the server turns from idle to busy or back. ``measures``: where it counts what it does;
    None: nowhere. Raises InvalidOption for a handler that its own process would not find.
    """
    for handler in app.handlers:
        if handler.process:
            check_importable(handler)
    queues = options.queues
    chance = random.Random()
    clock = RedisClock(broker, machine=machine_clock)
    started_at = clock()
    limits, queue_limits = app.limits, app.queue_limits
    watched = WatchedInFlight() if limits or not queue_limits.keys().isdisjoint(queues) else None
    in_flight = InFlight() if watched is None else watched
    clock.on_step = in_flight.clock_stepped

    # -- running tasks, and writing what became of them
    settlement = Settlement(broker, in_flight=in_flight, outage=outage, clock=clock, measures=measures)
    syncer = Syncer(settlement)
    acknowledger = Acknowledger(settlement, syncer, pulse=pulse)
    error_callbacks = ErrorCallbacks(limit=timing.error_callback)
    processes = ProcessPool(size=options.process_pool_size)
    runner = Runner(
        broker,
        find_handler=app.handler,
        in_flight=in_flight,
        judge=Judge(
            in_flight=in_flight,
            acknowledger=acknowledger,
            policy_for=app.failure_policy,
            error_callbacks=error_callbacks,
            clock=clock,
            random=chance,
            measures=measures,
        ),
        on_load=on_load,
        processes=processes,
        timing=timing,
        clock=clock,
    )

    # -- taking tasks
    standing = Standing(since=started_at.timestamp(), server_id=server_id)
    duties = Duties(broker, standing=standing, queues=queues, timing=timing)
    pauses = Pauses(broker, held=duties.held)
    limiter = None
    if watched is not None:
        limiter = Limiter(
            broker,
            server_id=server_id,
            queues=queues,
            concurrency=options.concurrency,
            limits=limits,
            queue_limits=queue_limits,
            pattern_of=lambda task_type: app.handler(task_type).pattern,
            runner=runner,
            timing=timing,
            clock=clock,
            outage=outage,
            pulse=pulse,
            random=chance,
        )
    processor = Processor(
        broker,
        runner=runner,
        queues=queues,
        strict_priority=options.strict_priority,
        concurrency=options.concurrency,
        in_flight=in_flight,
        acknowledger=acknowledger,
        timing=timing,
        clock=clock,
        outage=outage,
        pulse=pulse,
        pauses=pauses,
        random=chance,
        limiter=limiter,
    )
    if limiter is not None and watched is not None:
        if limiter.frees_places:
            watched.on_gone = limiter.ended
        limiter.on_ready = processor.wake
        limiter.on_place_free = processor.place_free
    pauses.on_resumed = processor.queue_resumed
    runner.on_slot_free = settlement.on_settled = processor.wake

    # -- what goes on beside
    heartbeater = Heartbeater(
        broker,
        host=socket.gethostname() or "unknown-host",
        pid=os.getpid(),
        server_id=server_id,
        concurrency=options.concurrency,
        queues=queues,
        strict_priority=options.strict_priority,
        started_at=started_at,
        in_flight=in_flight,
        on_lost=runner.lose,
        timing=timing,
        clock=clock,
        outage=outage,
    )
    subscriber = Subscriber(
        broker,
        cancellations=Cancellations(runner.cancel),
        duties=duties,
        pauses=pauses,
        on_turn=_ignore if limiter is None else limiter.take_turn,
        timing=timing,
        outage=outage,
        random=chance,
    )
    forwarder = Forwarder(broker, duties=duties, clock=clock)
    recoverer = Recoverer(
        broker,
        duties=duties,
        policy_for=app.failure_policy,
        error_callbacks=error_callbacks,
        timing=timing,
        clock=clock,
        random=chance,
    )
    janitor = Janitor(broker, duties=duties, clock=clock)
    reclaimer = Reclaimer(broker, duties=duties, clock=clock)
    aggregator = None
    if app.aggregators:
        aggregator = Aggregator(
            broker.groups,
            queues=queues,
            duties=duties,
            router=GroupRouter(app.aggregators),
            rule=options.grouping,
            aggregations=Aggregations(
                broker.groups,
                calls=AggregatorCalls(cancel_grace=timing.cancel_grace),
                merging=Merging(broker.groups, options_for=app.options_for, through=app.enqueue_through, clock=clock),
                outage=outage,
                timing=timing,
                clock=clock,
                random=chance,
            ),
            reclaimer=reclaimer,
            outage=outage,
            timing=timing,
            clock=clock,
        )

    def ticker(duty: str, tick: Callable[[], Awaitable[None]], period: timedelta, *, at_once: bool = True) -> Ticker:
        return Ticker(duty, tick, period=period, outage=outage, pulse=pulse, random=chance, at_once=at_once)

    until_draining = [
        ticker("forwarder", forwarder.tick, timing.forward, at_once=False),
        ticker("janitor", janitor.tick, timing.clean, at_once=False),
        ticker("pauses", pauses.tick, timing.poll, at_once=False),
        ticker("duties", duties.tick, timing.announce, at_once=False),
        ticker("reclaimer", reclaimer.tick, timing.reclaim, at_once=False),
    ]
    if aggregator is not None:
        until_draining.append(ticker("aggregator", aggregator.tick, timing.aggregate))
    if limiter is not None:
        until_draining.append(ticker("limiter", limiter.tick, timing.lines))
    return Parts(
        clock=clock,
        in_flight=in_flight,
        runner=runner,
        processes=processes,
        processor=processor,
        aggregator=aggregator,
        acknowledger=acknowledger,
        syncer=syncer,
        error_callbacks=error_callbacks,
        duties=duties,
        subscriber=subscriber,
        loop_watch=LoopWatch(limit=timing.loop_blocked, on_turn=None if measures is None else measures.lag.observe),
        heartbeater=heartbeater,
        heartbeat=ticker("heartbeater", heartbeater.tick, timing.heartbeat),
        early_heartbeat=ticker("announcer", heartbeater.announce, timing.announce_gap),
        until_draining=until_draining,
        until_drained=[
            ticker("recoverer", recoverer.tick, timing.recover),
            ticker("syncer", syncer.tick, timing.sync, at_once=False),
            ticker("clock", clock.tick, timing.clock, at_once=False),
        ],
    )


def _ignore(notice: TakeTurn) -> None:
    """Of limits, in a server without any."""
