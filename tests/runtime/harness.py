"""A worker server in the test's own loop, on a real Redis, with short periods; and what Redis then holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import redis

from longshore import App, RedisSettings, Server
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.runtime.timing import Timing

PATIENCE_S = 20.0  # a bound for waits that usually take milliseconds; the machine may be busy

QUICK = Timing(
    heartbeat=timedelta(milliseconds=100),
    announce_gap=timedelta(milliseconds=20),
    recover=timedelta(milliseconds=100),
    forward=timedelta(milliseconds=100),
    clean=timedelta(milliseconds=100),
    aggregate=timedelta(milliseconds=50),
    aggregate_idle=timedelta(milliseconds=100),
    aggregate_aside=timedelta(milliseconds=100),
    aggregation_hold=timedelta(milliseconds=500),
    reclaim=timedelta(milliseconds=100),
    sync=timedelta(milliseconds=50),
    poll=timedelta(milliseconds=100),
    park=timedelta(seconds=2),
    backoff=timedelta(milliseconds=200),
    cancel_grace=timedelta(milliseconds=300),
)


def quick(**changes: Any) -> Timing:
    """QUICK with other values."""
    return replace(QUICK, **changes)


@asynccontextmanager
async def serving(app: App, url: str | RedisSettings, **options: Any) -> AsyncIterator[Server]:
    """A server that runs for the length of the block."""
    options = {"concurrency": 10, "shutdown_timeout": 5.0, "timing": QUICK} | options
    async with Server(app, redis=url, **options) as server:
        yield server


def holding() -> tuple[App, asyncio.Event]:
    """An application whose "hold" tasks run until the event is set."""
    app = App()
    release = asyncio.Event()

    @app.task("hold")
    async def hold() -> None:
        await release.wait()

    return app, release


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait until it holds; its value."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"{what} did not come true within {PATIENCE_S:g} s")
        await asyncio.sleep(0.01)
    return value


async def ask(port: int | None, request: str) -> tuple[int, str]:
    """Status and body of what a worker answers on its health address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body.strip()


def state(client: redis.Redis, task_id: str, queue: str = "default") -> str | None:
    """The state a task's hash says; None when there is no task."""
    value = client.hget(keys.task(queue, task_id), "state")
    return value.decode() if value else None


def message(client: redis.Redis, task_id: str, queue: str = "default") -> TaskMessage:
    """A task as it is stored."""
    return codec.decode_task(client.hget(keys.task(queue, task_id), "msg"))


def containers(client: redis.Redis, task_id: str, queue: str = "default") -> set[str]:
    """The containers of a queue that hold the id."""
    prefix = keys.task_prefix(queue).removesuffix("t:")
    member = task_id.encode()
    lists = {name for name in ("pending", "active") if member in client.lrange(prefix + name, 0, -1)}
    names = ("lease", "scheduled", "retry", "archived", "completed")
    return lists | {name for name in names if client.zscore(prefix + name, member) is not None}


def counters(client: redis.Redis, queue: str = "default") -> tuple[int, int]:
    """Processed and failed."""
    prefix = keys.task_prefix(queue).removesuffix("t:")
    processed, failed = client.mget(prefix + "processed", prefix + "failed")
    return int(processed or 0), int(failed or 0)
