"""``python -m longshore_operator``: runs until it is stopped; one clear line when it cannot."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import click

from longshore_operator import logs
from longshore_operator.cluster.connection import own_namespace
from longshore_operator.errors import OperatorError
from longshore_operator.process import run
from longshore_operator.settings import Settings

logger = logging.getLogger(__name__)


class _EmptyMeansSomething(click.Option):
    """An option whose variable may be empty on purpose; click takes an empty one for none."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return os.environ.get(str(self.envvar))


class _Commands(click.Group):
    """`plan` is imported only when it is asked for: a running operator has no use for what it needs."""

    def list_commands(self, _: click.Context) -> list[str]:
        return ["plan"]

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name != "plan":
            return None
        from longshore_operator.dry_run.command import plan

        return plan


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.pass_context
@click.option(
    "--namespace",
    envvar="LONGSHORE_OPERATOR_NAMESPACE",
    help="The operator's own namespace, where its Lease is kept. In a pod, that pod's.",
)
@click.option(
    "--watch-namespace",
    envvar="LONGSHORE_WATCH_NAMESPACE",
    help="The only namespaces to serve, separated by commas. Empty: all.",
)
@click.option("--image", envvar="LONGSHORE_IMAGE", help="The image that schedulers run, unless their Broker names one.")
@click.option(
    "--image-pull-policy",
    envvar="LONGSHORE_IMAGE_PULL_POLICY",
    help="Always, IfNotPresent or Never, for that image. Default: Kubernetes' own for its tag.",
)
@click.option(
    "--lease-name", envvar="LONGSHORE_LEASE_NAME", default="longshore-operator", show_default=True, help="Of the Lease."
)
@click.option("--identity", envvar="LONGSHORE_IDENTITY", help="This replica's name in the Lease. Default: the host's.")
@click.option(
    "--health-address",
    envvar="LONGSHORE_HEALTH_ADDRESS",
    default=":8080",
    show_default=True,
    help="host:port of the probes /livez and /readyz.",
)
@click.option(
    "--metrics-address",
    cls=_EmptyMeansSomething,
    envvar="LONGSHORE_METRICS_ADDRESS",
    default=":8081",
    show_default=True,
    help="host:port of /metrics, for Prometheus. Empty: none.",
)
@click.option(
    "--full-list-seconds",
    envvar="LONGSHORE_FULL_LIST_SECONDS",
    type=float,
    default=300.0,
    show_default=True,
    help="Between full lists, which repair what a watch has missed.",
)
@click.option(
    "--log-level",
    envvar="LONGSHORE_LOG_LEVEL",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.option(
    "--log-format",
    envvar="LONGSHORE_LOG_FORMAT",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
)
def main(
    context: click.Context,
    namespace: str | None,
    watch_namespace: str | None,
    image: str | None,
    image_pull_policy: str | None,
    lease_name: str,
    identity: str | None,
    health_address: str,
    metrics_address: str,
    full_list_seconds: float,
    log_level: str,
    log_format: str,
) -> None:
    """Run Longshore's operator: Brokers, Queues, WorkerPools and PeriodicTasks become running workers.

    With the command `plan`, only say what it would do.
    """
    if context.invoked_subcommand is not None:
        return
    logs.set_up(level=log_level, form=log_format)
    try:
        settings = Settings.parse(
            namespace=namespace or own_namespace(),
            image=image,
            image_pull_policy=image_pull_policy,
            watch_namespace=watch_namespace,
            lease_name=lease_name,
            identity=identity,
            health_address=health_address,
            metrics_address=metrics_address,
            full_list_seconds=full_list_seconds,
        )
        asyncio.run(run(settings))
    except OperatorError as error:
        click.echo(f"longshore-operator: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
