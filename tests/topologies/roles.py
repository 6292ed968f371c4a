"""What each kind of program does with a Redis, all of it: for the rights that it needs there."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis

from longshore import App, Client, Context, Inspector, RedisSettings, Scheduler, SkipRetry, Task, TaskState
from longshore.errors import LongshoreError
from longshore.protocol import codec, keys
from longshore.protocol.snapshots import ArchiveLimits
from longshore.scheduler import application_scope
from longshore.testing import new_message, queue_content, seed_keyspace
from runtime.harness import quick, serving, until

Role = Callable[[RedisSettings, redis.Redis], Awaitable[None]]

_TIMING = quick(lease=timedelta(seconds=2), skew=timedelta(milliseconds=500))


async def client(settings: RedisSettings, admin: redis.Redis) -> None:
    """Enqueue in every way, wait for results, cancel nothing."""
    async with Client(settings, retry_for=0) as client:
        await client.ping()
        await client.enqueue("work", unique_for=60)
        await client.enqueue("work", process_in=60, unique_for=60, queue="low")
        await client.enqueue("work", group="g")
        await client.enqueue_many([Task("work", n) for n in range(20)])
        info = await client.enqueue("work", retention=60)
        waiting = asyncio.create_task(client.result(info.message.id, timeout=60))
        await until(lambda: admin.exists(keys.waiting("default", info.message.id)) or waiting.done())
        await asyncio.sleep(0.1)
        assert not waiting.done() or waiting.exception()
        waiting.cancel()
        results = await asyncio.gather(waiting, return_exceptions=True)
        if isinstance(results[0], LongshoreError):
            raise results[0]


async def worker(settings: RedisSettings, admin: redis.Redis) -> None:
    """Run tasks with every outcome, limits and groups; every duty comes up."""
    app = App()
    done: set[str] = set()

    @app.task("work", rate_limit="1000/s", max_concurrency=5)
    async def work(context: Context) -> None:
        await context.progress({"n": 1})
        await context.write_result("x")
        done.add(context.task_id)

    @app.task("plain")
    async def plain(payload: str, context: Context) -> None:
        done.add(context.task_id)
        if payload == "fail":
            raise RuntimeError
        if payload == "archive":
            raise SkipRetry

    @app.aggregator(max_size=2)
    async def merge(group: str, tasks: list[object]) -> Task:
        return Task("plain", "merged")

    now_s = codec.unix_seconds(datetime.now(UTC))
    ours = ["w1", "w2", "p1", "p2", "p3", "due", "lost", "gone"]
    kept = timedelta(seconds=60)

    def task(id: str, type: str = "plain", payload: bytes = b'"ok"', **more: object) -> object:  # noqa: A002
        return new_message(id=id, type=type, payload=payload, **more)

    async with Client(
        RedisSettings(url=f"redis://127.0.0.1:{admin.connection_pool.connection_kwargs['port']}")
    ) as other:
        seed_keyspace(
            admin,
            {keys.QUEUES: {b"default"}}
            | queue_content(
                active=[(task("lost"), now_s - 60)],
                scheduled=[(task("due"), now_s - 1)],
                completed=[(task("old", retention=kept, completed_at=datetime.now(UTC)), now_s - 5)],
            ),
        )
        admin.lpush(keys.pending("default"), "nothing")  # an id without a task
        async with serving(
            app, settings, queues={"default": 1, "low": 1}, timing=_TIMING, group_max_size=2, group_grace_period=1.0
        ) as server:
            await other.enqueue("work", task_id="w1", retention=60)
            await other.enqueue("work", task_id="w2", unique_for=60)
            for number, payload in enumerate(("ok", "fail", "archive"), 1):
                await other.enqueue("plain", payload, task_id=f"p{number}", retention=60 if number == 1 else None)
            for _ in range(4):
                await other.enqueue("plain", "ok", group="g")
            await other.enqueue("plain", "ok", task_id="gone")
            await until(lambda: done.issuperset(ours), f"the runs of {ours}")
            await until(lambda: not admin.exists(keys.task("default", "old")), "the janitor")
            await until(lambda: not admin.exists(keys.group("default", "g")), "the aggregator")
            name = keys.server(socket.gethostname(), os.getpid(), server.server_id)
            await until(lambda: admin.exists(name), "the heartbeat")
            await until(lambda: admin.publish(keys.CANCEL_CHANNEL, "x"), "the subscription")


async def scheduler(settings: RedisSettings, admin: redis.Redis) -> None:
    """Run a tick of an entry in code, and publish it."""
    app = App()

    @app.periodic("@every 1s")
    @app.task("tick", unique_for=10)
    async def tick() -> None: ...

    @app.periodic("@every 2s", name="more")
    @app.task("tock")
    async def tock() -> None: ...

    async with Scheduler("shop", redis=settings, app=app):
        await until(lambda: admin.llen(keys.pending("default")) >= 2, "the ticks")
        await until(lambda: admin.exists(keys.SCHEDULERS), "the entries")
        await until(lambda: admin.keys("asynq:scheduler_history:*"), "the history")
    async with Scheduler("shop", redis=settings, app=App()):  # the next version declares none
        await until(lambda: not admin.exists(keys.periodic_entries(application_scope("shop"))), "the removal")


async def inspector(settings: RedisSettings, admin: redis.Redis) -> None:
    """Read everything, and act on everything."""
    now_s = codec.unix_seconds(datetime.now(UTC))
    message = new_message
    seed_keyspace(
        admin,
        {keys.QUEUES: {b"default"}}
        | queue_content(
            pending=[message(id="p")],
            active=[(message(id="a"), now_s + 600)],
            scheduled=[(message(id=f"s{n}"), now_s + 600) for n in range(5)],
            retry=[(message(id=f"r{n}"), now_s + 600) for n in range(5)],
            archived=[(message(id=f"x{n}"), now_s) for n in range(5)],
            completed=[(message(id=f"c{n}"), now_s + 600) for n in range(5)],
            groups={"g": [(message(id=f"g{n}"), now_s) for n in range(5)]},
        ),
    )
    async with Inspector(settings) as inspector:
        await inspector.ping()
        known = await inspector.snapshot(["default"], scope="shop/main", ticks_of={"daily": "default"})
        await inspector.snapshot(["default"], scope="shop/main", ticks_of={"daily": "default"}, known=known)
        await inspector.queues()
        await inspector.queue("default")
        await inspector.history("default")
        await inspector.groups("default")
        await inspector.memory_usage("default")
        await inspector.pause("default")
        await inspector.unpause("default")
        for state in TaskState:
            await inspector.list_tasks("default", state, group="g" if state is TaskState.AGGREGATING else None)
        await inspector.task("default", "p")
        await inspector.find_task("p")
        await inspector.update_payload("default", "p", b"new")
        await inspector.run_task("default", "s0")
        await inspector.archive_task("default", "s1")
        await inspector.delete_task("default", "s2")
        await inspector.run_task("default", "g0")
        for state in ("scheduled", "retry", "archived"):
            await inspector.run_all("default", state)
        await inspector.archive_all("default", "pending")
        await inspector.archive_all("default", "aggregating", group="g")
        await inspector.delete_all("default", "completed")
        await inspector.delete_all("default", "archived")
        await inspector.cancel("a")
        await inspector.cancel("a", queue="default", then="archive")
        await inspector.servers()
        await inspector.scheduler_entries()
        await inspector.enqueue_events("e")
        await inspector.periodic_entries("shop/main")
        await inspector.write_periodic("shop/main", {}, remove=["daily"])
        admin.delete(keys.active("default"), keys.lease("default"))
        await inspector.purge("default")
        await inspector.limit_archive("default", ArchiveLimits(max_tasks=5, max_age=timedelta(hours=1)))
        await inspector.unlimit_archive("default")
        await inspector.retire_queue("default", delete_tasks=True)
        admin.sadd(keys.QUEUES, "default")
        await inspector.remove_queue("default", force=True)


ROLES: Mapping[str, Role] = {"client": client, "worker": worker, "scheduler": scheduler, "inspector": inspector}

_PAGE = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()


def rights(role: str) -> list[str]:
    """The rules of a role's row in the page's table, with those that all need."""
    [every] = re.findall(r"^\| every program \| (.*) \|$", _PAGE, re.MULTILINE)
    [own] = re.findall(rf"^\| {role} \| (.*) \|$", _PAGE, re.MULTILINE)
    return re.findall(r"`([^`]+)`", every) + re.findall(r"`([^`]+)`", own)
