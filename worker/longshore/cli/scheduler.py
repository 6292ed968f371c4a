"""``longshore scheduler``: run the periodic entries of one scope."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import click

from longshore.blocking import fastest_loop
from longshore.broker.base import RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.cli.logs import set_up_logs
from longshore.cli.process import heed_sigterm
from longshore.cli.redis_options import with_redis
from longshore.cli.settings import LOG_SETTINGS, with_settings
from longshore.cli.target import load_app, scope_of
from longshore.cli.worker import reach
from longshore.scheduler import Scheduler


@click.command()
@click.argument("application", metavar="[MODULE:APP]", required=False)
@click.option(
    "--scope",
    envvar="LONGSHORE_PERIODIC_SCOPE",
    metavar="NAMESPACE/BROKER|NAME",
    show_envvar=True,
    help="Whose entries to run: namespace and name of the Broker, or a name for the application's. "
    "Default: the application, as in shop.tasks.app.",
)
@with_redis
@with_settings("redis_wait", "sync_interval", "health_address", *LOG_SETTINGS)
@click.pass_context
def scheduler(
    context: click.Context,
    application: str | None,
    scope: str | None,
    redis: RedisSettings,
    redis_wait: timedelta,
    sync_interval: timedelta,
    health_address: tuple[str, int] | None,
    log_level: str,
    log_format: str,
) -> None:
    """Enqueue periodic tasks at their times, until SIGTERM or SIGINT.

    With MODULE:APP, those that the application declares by @app.periodic and its provider. Without, those of a Broker:
    its entries lie in Redis, where the operator writes them. Any number of schedulers may run for one scope: one is
    active, the others stand by, and no tick is enqueued twice.
    """
    heed_sigterm()
    app = None if application is None else load_app(application)
    chosen = scope or (scope_of(application) if application is not None else None)
    if chosen is None or (app is None and not _names_a_broker(chosen)):
        option = next(parameter for parameter in context.command.params if parameter.name == "scope")
        if chosen is None:
            raise click.MissingParameter(ctx=context, param=option)
        problem = f"{chosen!r} is not a scope; write <namespace>/<broker>, such as default/main, or give MODULE:APP"
        raise click.BadParameter(problem, ctx=context, param=option)
    set_up_logs(log_level, log_format)

    async def serve() -> None:
        broker = RedisBroker.connect(redis)
        try:
            running = Scheduler(
                chosen, app=app, sync_interval=sync_interval, broker=broker, health_address=health_address
            )
            if await reach(broker, wait=redis_wait):
                await running.serve()
        finally:
            await broker.aclose()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(serve())


def _names_a_broker(scope: str) -> bool:
    namespace, slash, broker = scope.partition("/")
    return bool(namespace and slash and broker) and "/" not in broker and scope.split() == [scope]
