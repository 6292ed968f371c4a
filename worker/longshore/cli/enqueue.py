"""``longshore enqueue``: create one task."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from longshore.broker.base import RedisSettings
from longshore.cli.redis_options import with_redis
from longshore.cli.values import Duration, Header, Moment, TimeLimit
from longshore.client import Client
from longshore.errors import InvalidOption
from longshore.task import Task


@click.command()
@click.argument("task_type", metavar="TYPE")
@click.option("--payload", help="JSON text; @FILE reads a file, - reads standard input. Default: no payload.")
@click.option("--raw", is_flag=True, help="Take the payload's bytes as they are; they need not be JSON.")
@click.option("--queue", help="Queue to put it in.  [default: default]")
@click.option("--max-retry", type=int, help="Retries after the first attempt.  [default: 25]")
@click.option("--timeout", type=TimeLimit(), help="Time limit of one attempt, or none.  [default: 30m]")
@click.option("--deadline", type=Moment(), help="No attempt runs beyond this time.")
@click.option("--at", "process_at", type=Moment(), help="Do not run it before this time.")
@click.option("--in", "process_in", type=Duration(), help="Do not run it before so long from now.")
@click.option("--unique-for", type=Duration(), help="Refuse the task while an equal one holds the lock.")
@click.option("--task-id", help="The task's id.  [default: a random UUID]")
@click.option("--retention", type=Duration(), help="Keep the task so long after success.")
@click.option("--group", help="Wait in this group to be aggregated.")
@click.option("--header", "headers", type=Header(), multiple=True, help="Text that travels along. May be repeated.")
@with_redis
def enqueue(
    task_type: str,
    payload: str | None,
    raw: bool,
    headers: tuple[tuple[str, str], ...],
    redis: RedisSettings,
    **options: str | int | timedelta | datetime | None,
) -> None:
    """Create a task of TYPE and print its id."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if headers:
        given["headers"] = dict(headers)
    task = Task(task_type, _payload(payload, raw=raw), **given)

    async def create() -> str:
        async with Client(redis, retry_for=0) as client:
            return (await client.enqueue(task)).message.id

    click.echo(asyncio.run(create()))


def _payload(given: str | None, *, raw: bool) -> bytes | None:
    if given is None:
        return None
    try:
        if given == "-":
            content = sys.stdin.buffer.read()
        elif given.startswith("@"):
            content = Path(given[1:]).read_bytes()
        else:
            content = os.fsencode(given)  # the bytes that were written, whatever they are
    except OSError as error:
        raise InvalidOption("--payload", f"cannot read {given[1:]}: {error.strerror}") from error
    if not raw:
        try:
            json.loads(content)
        except ValueError as error:
            raise InvalidOption("--payload", f"is not JSON: {error}; give --raw for other bytes") from error
    return content
