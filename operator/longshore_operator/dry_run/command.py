"""``python -m longshore_operator plan``: what the operator would do with some manifests, without a cluster."""

from __future__ import annotations

import asyncio
import sys

import click

from longshore_operator.dry_run.manifests import read_manifests
from longshore_operator.dry_run.printing import as_json, as_text, as_yaml
from longshore_operator.dry_run.rehearsal import rehearse
from longshore_operator.errors import OperatorError
from longshore_operator.plan.settings import PlanSettings

_PRINT = {"text": as_text, "yaml": as_yaml, "json": as_json}


def _backlog(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    backlog = {}
    for each in given:
        name, equals, count = each.rpartition("=")
        if not equals or not name or not count.isdigit():
            raise click.BadParameter(f"{each!r} is not QUEUE=TASKS, like critical=2400")
        backlog[name] = int(count)
    return backlog


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--filename", "-f", "paths", multiple=True, required=True, metavar="PATH", help="File, folder, or - for input."
)
@click.option("--recursive", "-R", is_flag=True, help="Look into the folders within folders, too.")
@click.option("--namespace", "-n", default="default", show_default=True, help="Of objects that name none.")
@click.option(
    "--redis", metavar="URL", help="Read this Redis in place of each Broker's own. It is only read, never written."
)
@click.option(
    "--backlog",
    multiple=True,
    metavar="QUEUE=TASKS",
    callback=_backlog,
    help="Without --redis: so many tasks wait in the queue. May be repeated.",
)
@click.option(
    "--image",
    default="longshore",
    show_default=True,
    help="The image that schedulers run, unless their Broker names one.",
)
@click.option("--output", "-o", type=click.Choice(list(_PRINT)), default="text", show_default=True)
def plan(
    paths: tuple[str, ...],
    recursive: bool,
    namespace: str,
    redis: str | None,
    backlog: dict[str, int],
    image: str,
    output: str,
) -> None:
    """Print what the operator would do with these manifests: what it would apply, and how many workers and why.

    No cluster is asked. Each object is checked as the API server would check it, and then goes through the operator's
    own decisions as if all of them had just been applied. Secrets that are not among the manifests count as there.

    \b
    python -m longshore_operator plan -f manifests/
    python -m longshore_operator plan -f manifests/ --backlog critical=2400
    python -m longshore_operator plan -f pool.yaml --redis redis://localhost:6379/0
    helm template shop ./chart | python -m longshore_operator plan -f - -o yaml

    \b
    Exit codes: 0 all objects would become Ready by themselves; 1 one would be refused or would not become Ready;
    2 something given cannot be used.
    """
    if redis is not None and backlog:
        raise click.UsageError("--backlog is for a plan without --redis")
    try:
        documents = read_manifests(paths, recursive=recursive)
        rehearsal = asyncio.run(
            rehearse(documents, namespace=namespace, settings=PlanSettings(image=image), redis=redis, backlog=backlog)
        )
    except OperatorError as error:
        click.echo(f"plan: {error}", err=True)
        sys.exit(2)
    click.echo(_PRINT[output](rehearsal), nl=False)
    if output != "text":  # what is wrong must not be missed
        for outcome in rehearsal.outcomes:
            for problem in (*outcome.refused, *([outcome.problem] if outcome.problem else ())):
                click.echo(f"{outcome.kind} {outcome.namespace}/{outcome.name}: {problem}", err=True)
    sys.exit(0 if rehearsal.good else 1)
