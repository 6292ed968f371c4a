"""The story itself: everything at zero, a burst from Go, everything done, everything at zero; and what was seen.

It expects the chart and the example to be installed. Every wait has an end, and says what it waited for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from demo import records
from demo.cluster import Cluster, run
from demo.display import Display, Scene
from demo.errors import DemoError
from demo.evidence import Evidence
from demo.forwarding import forwarded
from demo.watching import Watched, watch_all

BURST_POOLS = ("images", "mail")  # come from zero and go back
POOLS = (*BURST_POOLS, "office")
QUEUES = ("mail", "images", "office")
TICKING = "release-baskets"  # the periodic task that fires often enough for an audience
LOOK_EVERY_S = 0.25

SETTLE_S = 120.0  # until everything stands ready at zero
WORK_S = 240.0  # until a burst is done
SHRINK_S = 120.0  # until the pools are back at zero


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where the story plays."""

    cluster: Cluster
    namespace: str
    producer: Path  # the compiled Go program of the example
    count: int  # tasks in the burst
    ticks: int = 3  # of the periodic task, at least, before the story may end


async def play(stage: Stage, show: Display) -> Evidence:
    """Play the story and give the evidence. Raises DemoError where it cannot go on."""
    scene = Scene()
    async with _background(watch_all(stage.cluster, stage.namespace, scene.watched)), _redis(stage) as (redis, port):
        return await _play(stage, scene, show, redis, port)


async def _play(stage: Stage, scene: Scene, show: Display, redis: Redis, port: int) -> Evidence:
    watched = scene.watched

    async def until(headline: str, reached: Callable[[], bool], timeout_s: float) -> None:
        scene.headline = headline
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                scene.queues = await records.count_queues(redis, QUEUES)
            except RedisError as error:
                raise DemoError(f"Redis cannot be read: {error}") from error
            show.refresh(scene)
            if reached():
                return
            if asyncio.get_running_loop().time() > deadline:
                raise DemoError(f"waited {timeout_s:.0f} s in vain: {headline}")
            await asyncio.sleep(LOOK_EVERY_S)

    def at_zero(*pools: str) -> bool:
        return all(watched.count(pool) == 0 and not watched.live_pods(pool) for pool in pools)

    def nothing_left(*queues: str) -> bool:
        return all(not (scene.queues[name].pending + scene.queues[name].active) for name in queues)

    await until(
        "waiting until Broker and scheduler are ready and the pools stand at zero",
        lambda: _is_ready(watched) and at_zero(*BURST_POOLS) and nothing_left(*BURST_POOLS),
        SETTLE_S,
    )
    pods_at_burst = {pool: len(watched.live_pods(pool)) for pool in BURST_POOLS}
    # The producer runs beside the view: its first tasks are at work before its last one is enqueued.
    producing = asyncio.create_task(_produce(stage, port))
    try:
        await until(f"the Go client enqueues {stage.count} tasks", producing.done, WORK_S)
    finally:
        producing.cancel()
    burst = await producing

    def done() -> int:
        return sum(scene.queues[name].completed + scene.queues[name].archived for name in BURST_POOLS)

    await until(
        f"{stage.count} tasks enqueued by Go in {burst.seconds:.1f} s; workers run them",
        lambda: done() >= stage.count and nothing_left(*BURST_POOLS),
        WORK_S,
    )
    await until("all done; the pools shrink to zero", lambda: at_zero(*BURST_POOLS), SHRINK_S)

    enough = asyncio.create_task(_ticks_fired(redis, f"{stage.namespace}/default", stage.ticks))
    try:
        await until(f"at zero; {stage.ticks} ticks of {TICKING} shall have fired", enough.done, SHRINK_S)
    finally:
        enough.cancel()
    suspended_at = datetime.now(UTC)
    patch = json.dumps({"spec": {"suspend": True}})
    await stage.cluster.kubectl(
        "patch",
        "periodictasks.longshore.dev",
        TICKING,
        "--namespace",
        stage.namespace,
        "--type=merge",
        f"--patch={patch}",
    )
    await until(
        f"{TICKING} is suspended; the last tick's worker goes",
        lambda: _is_suspended(watched) and at_zero(*POOLS) and nothing_left(*QUEUES),
        SHRINK_S,
    )

    accounts = await records.read_periodic(redis, f"{stage.namespace}/default")
    return Evidence(
        enqueued=burst.ids,
        burst_at=burst.first_at,
        burst_ended_at=burst.last_at,
        pods_at_burst=pods_at_burst,
        journal=await records.read_journal(redis),
        completed=await records.completed_ids(redis, QUEUES),
        queues=await records.count_queues(redis, QUEUES),
        burst_pools=BURST_POOLS,
        replicas={pool: tuple(changes) for pool, changes in watched.replicas.items()},
        pods=tuple(watched.pods.values()),
        periodic=tuple(replace(a, suspended_at=suspended_at) if a.name == TICKING else a for a in accounts),
    )


@dataclass(frozen=True, kw_only=True)
class Burst:
    """What the Go producer said it did."""

    ids: tuple[str, ...]
    first_at: datetime
    last_at: datetime

    @property
    def seconds(self) -> float:
        return (self.last_at - self.first_at).total_seconds()


async def _produce(stage: Stage, port: int) -> Burst:
    """Run the Go producer through the forwarded port."""
    with tempfile.TemporaryDirectory() as folder:
        ids = Path(folder) / "ids"
        said = await run(
            stage.producer, "--redis", f"127.0.0.1:{port}", "--count", str(stage.count), "--ids", ids,
            env={"REDIS_PASSWORD": await _password(stage)},
            timeout_s=WORK_S,
        )  # fmt: skip
        summary = json.loads(said)
        return Burst(
            ids=tuple(line.split()[1] for line in ids.read_text().splitlines()),
            first_at=datetime.fromtimestamp(summary["first_at"], UTC),
            last_at=datetime.fromtimestamp(summary["last_at"], UTC),
        )


async def _ticks_fired(redis: Redis, scope: str, ticks: int) -> None:
    while True:
        for account in await records.read_periodic(redis, scope):
            if account.name == TICKING and account.enqueued >= ticks:
                return
        await asyncio.sleep(1)


async def _password(stage: Stage) -> str:
    secret = await stage.cluster.read("secret", "redis", "--namespace", stage.namespace)
    return base64.b64decode(secret["data"]["password"]).decode()


@asynccontextmanager
async def _redis(stage: Stage) -> AsyncIterator[tuple[Redis, int]]:
    """Open a way to the example's Redis: a client, and the local port for the producer."""
    password = await _password(stage)
    async with (
        forwarded(stage.cluster, stage.namespace, "service/redis", 6379) as port,
        Redis(host="127.0.0.1", port=port, password=password, socket_timeout=30) as redis,
    ):
        yield redis, port


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine beside a block; if it fails, so does the block."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            yield
            task.cancel()
    except BaseExceptionGroup as failures:
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from failures


def _is_ready(watched: Watched) -> bool:
    """The Broker is ready with its scheduler, and each pool and periodic task is known to the operator."""
    broker = watched.brokers.get("default", {})
    conditions = {c["type"]: c["status"] for c in broker.get("status", {}).get("conditions", [])}
    if conditions.get("Ready") != "True" or conditions.get("SchedulerReady") != "True":
        return False
    return set(POOLS) <= watched.replicas.keys() and bool(_next_tick(watched))


def _next_tick(watched: Watched) -> str | None:
    tick: str | None = watched.periodic.get(TICKING, {}).get("status", {}).get("nextTick")
    return tick


def _is_suspended(watched: Watched) -> bool:
    conditions = watched.periodic.get(TICKING, {}).get("status", {}).get("conditions", [])
    return any(c["type"] == "Suspended" and c["status"] == "True" for c in conditions)
