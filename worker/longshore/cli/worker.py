"""``longshore worker``: run an application's tasks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from datetime import timedelta
from typing import NoReturn

import click

from longshore.app import App
from longshore.blocking import fastest_loop
from longshore.broker.base import RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.cli.logs import set_up_logs
from longshore.cli.process import heed_no_more, heed_sigterm, leaving_soon
from longshore.cli.redis_options import with_redis
from longshore.cli.settings import LOG_SETTINGS, merged_queues, with_settings
from longshore.cli.supervised import reporting, supervisor
from longshore.cli.supervisor import Supervisor, worker_command
from longshore.cli.target import load_app, scope_of
from longshore.errors import BrokerUnavailable
from longshore.scheduler import Scheduler
from longshore.server import Server

_PAUSE_S = 1.0  # between two attempts to reach Redis at start


@click.command()
@click.argument("application", metavar="MODULE:APP", envvar="LONGSHORE_APP")
@with_redis
@with_settings(
    "redis_wait",
    "queues",
    "strict_priority",
    "concurrency",
    "processes",
    "process_pool_size",
    "scheduler",
    "sync_interval",
    "shutdown_timeout",
    "group_grace_period",
    "group_max_delay",
    "group_max_size",
    "health_address",
    *LOG_SETTINGS,
)
def worker(
    application: str,
    redis: RedisSettings,
    redis_wait: timedelta,
    queues: tuple[dict[str, int], ...],
    strict_priority: bool,
    concurrency: int,
    processes: int,
    process_pool_size: int | None,
    scheduler: bool,
    sync_interval: timedelta,
    shutdown_timeout: timedelta,
    group_grace_period: timedelta,
    group_max_delay: timedelta,
    group_max_size: int,
    health_address: tuple[str, int] | None,
    log_level: str,
    log_format: str,
) -> None:
    """Run the tasks of MODULE:APP until SIGTERM or SIGINT.

    MODULE:APP is a Python module and the App in it, such as shop.tasks:app; $LONGSHORE_APP is used without it. A first
    signal lets running tasks end within the shutdown timeout; a second one puts them back at once.
    """
    heed_sigterm()
    priorities = merged_queues(queues)
    above = supervisor()
    if processes > 1 and above is None:
        set_up_logs(log_level, log_format)
        _supervise(processes, health_address)
    app = load_app(application)
    set_up_logs(log_level, log_format)

    async def serve(app: App) -> None:
        broker = RedisBroker.connect(redis)
        try:
            server = Server(
                app,
                broker=broker,
                queues=priorities,
                strict_priority=strict_priority,
                concurrency=concurrency,
                process_pool_size=process_pool_size,
                shutdown_timeout=shutdown_timeout,
                group_grace_period=group_grace_period,
                group_max_delay=group_max_delay,
                group_max_size=group_max_size,
                health_address=health_address if above is None else None,  # the supervisor's
            )
            beside = []
            if scheduler:
                beside.append(Scheduler(scope_of(application), app=app, broker=broker, sync_interval=sync_interval))
            if above is not None and health_address is not None:
                server.measure()
            async with reporting(server, above, read=server.reading):
                if await reach(broker, wait=redis_wait):
                    await server.serve(beside=beside)
                    heed_no_more()
        finally:
            await broker.aclose()

    # What was imported stays: the collector of garbage need not look through it again and again.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=fastest_loop()) as runner, leaving_soon():
        runner.run(serve(app))


def _supervise(processes: int, health_address: tuple[str, int] | None) -> NoReturn:
    async def serve() -> int:
        above = Supervisor(worker_command(), processes=processes, health_address=health_address)
        await above.serve()
        return above.exit_code

    sys.exit(asyncio.run(serve()))


async def reach(broker: RedisBroker, *, wait: timedelta) -> bool:
    """Make sure that Redis answers, trying for ``wait``. False: SIGTERM came first. Raises BrokerUnavailable."""
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    # The first process of a container does not end by a signal it has no handler for.
    loop.add_signal_handler(signal.SIGTERM, terminated.set)
    give_up_at = loop.time() + wait.total_seconds()
    try:
        while not terminated.is_set():
            try:
                await broker.ping()
                break
            except BrokerUnavailable:
                if loop.time() >= give_up_at:
                    raise
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(terminated.wait(), min(_PAUSE_S, max(0.0, give_up_at - loop.time())))
        # The signal may have come while Redis was answering; nobody else would hear of it.
        return not terminated.is_set()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
