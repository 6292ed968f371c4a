"""The blocking way to run a server: its own event loop, the fastest that is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta

from longshore.app import App
from longshore.broker.base import RedisSettings
from longshore.policy.grouping import DEFAULT_GRACE_PERIOD
from longshore.server import DEFAULT_CONCURRENCY, DEFAULT_QUEUES, DEFAULT_SHUTDOWN_TIMEOUT, Server


def run(
    app: App,
    *,
    redis: str | RedisSettings | None = None,
    queues: Mapping[str, int] = DEFAULT_QUEUES,
    strict_priority: bool = False,
    concurrency: int = DEFAULT_CONCURRENCY,
    process_pool_size: int | None = None,
    shutdown_timeout: timedelta | float = DEFAULT_SHUTDOWN_TIMEOUT,
    health_address: tuple[str, int] | None = None,
    group_grace_period: timedelta | float = DEFAULT_GRACE_PERIOD,
    group_max_delay: timedelta | float | None = None,
    group_max_size: int | None = None,
) -> None:
    """Run an application's handlers until SIGTERM or SIGINT. The options are those of Server."""

    async def serve() -> None:
        await Server(
            app,
            redis=redis,
            queues=queues,
            strict_priority=strict_priority,
            concurrency=concurrency,
            process_pool_size=process_pool_size,
            shutdown_timeout=shutdown_timeout,
            health_address=health_address,
            group_grace_period=group_grace_period,
            group_max_delay=group_max_delay,
            group_max_size=group_max_size,
        ).serve()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(serve())


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop when it is installed; None for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
