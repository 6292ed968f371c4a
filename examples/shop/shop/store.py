"""The shop's own data, which in this example lives in the workers' Redis, under shop: keys.

shop:outbox       list    one JSON e-mail each; there is no mail server in an example
shop:thumbnails   hash    image id to PNG
shop:reports      list    one JSON report each, newest last
shop:journal      stream  what the workers did: {event: started | finished, task, type, retried, worker}
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import redis
import redis.asyncio

import longshore

OUTBOX = "shop:outbox"
THUMBNAILS = "shop:thumbnails"
REPORTS = "shop:reports"
JOURNAL = "shop:journal"
JOURNAL_LENGTH = 100_000  # older entries go


def _url() -> str:
    return os.environ.get("LONGSHORE_REDIS_URL", "redis://127.0.0.1:6379/0")


def _login() -> dict[str, Any]:
    login = {
        "username": os.environ.get("LONGSHORE_REDIS_USERNAME"),
        "password": os.environ.get("LONGSHORE_REDIS_PASSWORD"),
    }
    return {key: value for key, value in login.items() if value}


@cache
def database() -> redis.asyncio.Redis:
    """One pool of connections for the async handlers."""
    return redis.asyncio.Redis.from_url(_url(), **_login())


@cache
def database_for_threads() -> redis.Redis:
    """The same for plain functions, which run in threads."""
    return redis.Redis.from_url(_url(), **_login())


def _entry(event: str, ctx: longshore.Context) -> dict[Any, Any]:
    return {
        "event": event,
        "task": ctx.task_id,
        "type": ctx.type,
        "retried": ctx.retried,
        "worker": socket.gethostname(),
    }


@asynccontextmanager
async def journal(ctx: longshore.Context) -> AsyncIterator[None]:
    """Note that a task started and, unless it failed or was cut off, that it finished."""
    await database().xadd(JOURNAL, _entry("started", ctx), maxlen=JOURNAL_LENGTH)
    yield
    await database().xadd(JOURNAL, _entry("finished", ctx), maxlen=JOURNAL_LENGTH)


@contextmanager
def journal_from_thread(ctx: longshore.Context) -> Iterator[None]:
    """The same for plain functions."""
    database_for_threads().xadd(JOURNAL, _entry("started", ctx), maxlen=JOURNAL_LENGTH)
    yield
    database_for_threads().xadd(JOURNAL, _entry("finished", ctx), maxlen=JOURNAL_LENGTH)
