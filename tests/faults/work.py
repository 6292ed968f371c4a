"""The application that fault tests run, in the test's own process or, as a program of its own, in others.

    python work.py REDIS_URL JOURNAL

Tasks fail as often as they were promised to, and then succeed. A lease that was lost is retried without being counted,
so that every count is known beforehand, whatever happens to Redis and to the workers.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from faults.journal import Journal, journalled_logs
from longshore import App, Context, GroupedTask, RedisSettings, RetryPolicy, Server, Task
from longshore.errors import LeaseExpired
from longshore.runtime.timing import Timing

# Leases as long as Asynq's would make each test take minutes.
SHORT = Timing(
    lease=timedelta(seconds=3),
    skew=timedelta(seconds=1),
    heartbeat=timedelta(milliseconds=500),
    announce_gap=timedelta(milliseconds=100),
    recover=timedelta(milliseconds=300),
    forward=timedelta(milliseconds=200),
    clean=timedelta(seconds=1),
    aggregate=timedelta(milliseconds=200),
    aggregate_idle=timedelta(milliseconds=300),
    aggregate_aside=timedelta(milliseconds=500),
    aggregation=timedelta(seconds=8),
    aggregation_hold=timedelta(milliseconds=500),
    reclaim=timedelta(milliseconds=500),
    sync=timedelta(milliseconds=200),
    announce=timedelta(milliseconds=500),
    silence=timedelta(milliseconds=1500),
    poll=timedelta(milliseconds=200),
    park=timedelta(seconds=2),
    backoff=timedelta(milliseconds=300),
)
TIMEOUT = timedelta(seconds=1)  # of one call
CONCURRENCY = 10
QUEUES = {"default": 2, "low": 1}


class Failed(Exception):
    """What a handler raises that was asked to fail."""


def application(journal: Journal, *, busy_s: float = 0.005) -> App:
    """Handlers that take a little time and note what they do."""
    app = App(retry=RetryPolicy(delay=1, backoff=1, jitter=0, uncounted_for=(LeaseExpired,)))

    @app.task("work")
    async def work(context: Context, failures: int) -> str:
        journal.note("run", id=context.task_id, retried=context.retried)
        await asyncio.sleep(busy_s)
        if context.retried < failures:
            raise Failed
        return "done"

    app.task("unique:")(work)  # each type with a lock of its own

    @app.task("plain")
    def plain(context: Context) -> None:
        journal.note("run", id=context.task_id, retried=context.retried)

    @app.task("merged", retention=3600)
    async def merged(context: Context, parts: list[str]) -> None:
        journal.note("run", id=context.task_id, retried=context.retried)
        journal.note("merged", id=context.task_id, parts=parts)

    @app.aggregator()
    async def merge(group: str, tasks: Sequence[GroupedTask]) -> Task:
        return Task("merged", [task.id for task in tasks])

    return app


def server(url: str, journal: Journal, *, busy_s: float = 0.005, **options: Any) -> Server:
    """A worker server of that application."""
    given: dict[str, Any] = {"concurrency": CONCURRENCY, "timing": SHORT, "group_max_size": 7} | options
    return Server(
        application(journal, busy_s=busy_s),
        redis=RedisSettings(url=url, timeout=TIMEOUT),
        queues=QUEUES,
        shutdown_timeout=5,
        group_grace_period=1,
        **given,
    )


async def _main(url: str, path: Path) -> None:
    journal = Journal(path)
    logging.getLogger("longshore").propagate = False  # only into the journal
    with journalled_logs(journal):
        await server(url, journal).serve()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2])))
