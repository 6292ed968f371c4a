"""``longshore scheduler``: run the periodic entries of one scope."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import click

from longshore.blocking import fastest_loop
from longshore.broker.redis_broker import RedisBroker
from longshore.cli.logs import set_up_logs
from longshore.cli.process import heed_sigterm
from longshore.cli.settings import LOG_SETTINGS, REDIS_SETTINGS, redis_settings, with_settings
from longshore.cli.worker import reach
from longshore.scheduler import Scheduler


class Scope(click.ParamType[str]):
    """<namespace>/<broker>."""

    name = "namespace/broker"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        namespace, slash, broker = text.partition("/")
        if not (namespace and slash and broker) or "/" in broker or text.split() != [text]:
            self.fail(f"{text!r} is not a scope; write <namespace>/<broker>, such as default/main", param, ctx)
        return text


@click.command()
@click.option(
    "--scope",
    envvar="LONGSHORE_PERIODIC_SCOPE",
    type=Scope(),
    required=True,
    show_envvar=True,
    help="Whose entries to run: the namespace and name of the Broker.",
)
@with_settings(*REDIS_SETTINGS, "redis_wait", "health_address", *LOG_SETTINGS)
def scheduler(
    scope: str,
    redis: str,
    redis_username: str | None,
    redis_password: str | None,
    redis_timeout: timedelta,
    redis_wait: timedelta,
    health_address: tuple[str, int] | None,
    log_level: str,
    log_format: str,
) -> None:
    """Enqueue the periodic tasks of a Broker at their times, until SIGTERM or SIGINT.

    The entries lie in Redis, where the operator writes them. Any number of schedulers may run for one scope: one is
    active, the others stand by, and no tick is enqueued twice.
    """
    heed_sigterm()
    settings = redis_settings(redis, redis_username, redis_password, redis_timeout)
    set_up_logs(log_level, log_format)

    async def serve() -> None:
        broker = RedisBroker.connect(settings)
        try:
            if await reach(broker, wait=redis_wait):
                await Scheduler(scope, broker=broker, health_address=health_address).serve()
        finally:
            await broker.aclose()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(serve())
