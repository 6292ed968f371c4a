"""Busy workers killed by scale-in, on a node where real workers run real tasks.

    python benchmarks/scale_in.py [--scale-ins 20] [--pools 2]

Pools whose workers hold one task each. Every round gives a pool four short tasks and two long ones, so that it grows to
six workers and then shrinks while two are at work. The workers journal each task's start and end in Redis. A scale-in
counts when tasks ran at the moment the Deployment's count was lowered. Told for all of them:

- killed: a task was started and did not end on the worker that started it. The bar is 0.
- asked: a pod was asked to stop while a task ran on it, and finished it. Whoever marks idle pods well has few.

It needs the local cluster (`make cluster`) and holds its lock. Exit code 1 when a busy worker was killed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import redis
from operator_cluster import REPOSITORY

from handlers.harness import Manifest, Namespace, broker, pool, running_operator
from handlers.waiting import eventually
from localcluster import cluster
from longshore import Client, Inspector, Task
from longshore.testing import RedisServer

SHORT_S, LONG_S = 1.0, 16.0
APP = """
import asyncio, socket, time
import longshore, redis, os

app = longshore.App()
journal = redis.Redis.from_url(os.environ["LONGSHORE_REDIS_URL"])


@app.task("hold")
async def hold(ctx: longshore.Context, payload: dict) -> None:
    host = socket.gethostname()
    journal.rpush("bench:journal", f"start {ctx.task_id} {host} {time.time()}")
    try:
        await asyncio.sleep(payload["seconds"])
    except BaseException as error:
        journal.rpush("bench:failures", f"{ctx.task_id} on {host} at {time.time():.1f}: {error!r}")
        raise
    journal.rpush("bench:journal", f"end {ctx.task_id} {host} {time.time()}")
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One attempt at a task."""

    task: str
    host: str
    start: float  # unix s
    end: float | None  # None: it did not end there


@dataclass(kw_only=True)
class Seen:
    """What watches of the API server told, with the time at which they did."""

    lowered: list[tuple[float, str, int, int]] = field(default_factory=list)  # when, Deployment, from, to
    asked: dict[str, float] = field(default_factory=dict)  # pod: when it was first seen to be deleted


class Watcher:
    """Watches Deployments and pods, each in a thread."""

    def __init__(self, namespace: Namespace) -> None:
        self.seen = Seen()
        self._namespace = namespace
        self._counts: dict[str, int] = {}
        for path, heed in (("/apis/apps/v1", self._deployment), ("/api/v1", self._pod)):
            plural = "deployments" if heed == self._deployment else "pods"
            url = f"{namespace.server}{path}/namespaces/{namespace.name}/{plural}?watch=true"
            threading.Thread(target=self._listen, args=(url, heed), daemon=True).start()

    def _listen(self, url: str, heed: object) -> None:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._namespace._token}"})
        with urllib.request.urlopen(request, context=self._namespace._ssl) as response:
            for line in response:
                event = json.loads(line)
                heed(event["object"])  # type: ignore[operator]

    def _deployment(self, manifest: Manifest) -> None:
        name, count = manifest["metadata"]["name"], manifest["spec"]["replicas"]
        before = self._counts.get(name, 0)
        self._counts[name] = count
        if count < before:
            self.seen.lowered.append((time.time(), name, before, count))

    def _pod(self, manifest: Manifest) -> None:
        if "deletionTimestamp" in manifest["metadata"]:
            self.seen.asked.setdefault(manifest["metadata"]["name"], time.time())


def runs(client: redis.Redis) -> list[Run]:
    """Every attempt in the journal."""
    starts: dict[tuple[str, str], float] = {}
    ends: dict[tuple[str, str], float] = {}
    for line in client.lrange("bench:journal", 0, -1):
        what, task, host, at = line.decode().split()
        (starts if what == "start" else ends)[task, host] = float(at)
    return [Run(task=key[0], host=key[1], start=at, end=ends.get(key)) for key, at in starts.items()]


def with_running_tasks(seen: Seen, attempts: list[Run], pools: dict[str, str]) -> int:
    """Scale-ins during which at least one worker of that pool was at work."""
    return sum(
        1
        for at, name, _, _ in seen.lowered
        if any(
            each.host.startswith(pools[name]) and each.start < at and (each.end is None or at < each.end)
            for each in attempts
        )
    )


async def burst(url: str, queue: str) -> None:
    """Four short tasks and two long ones."""
    async with Client(url) as client:
        for seconds in (SHORT_S, LONG_S, SHORT_S, SHORT_S, LONG_S, SHORT_S):
            await client.enqueue(Task("hold", {"seconds": seconds}, queue=queue, retention=timedelta(hours=1)))


async def repeated(url: str, queues: list[str]) -> list[str]:
    """What Redis says of tasks that did not succeed at once."""
    found = []
    async with Inspector(url) as inspector:
        for queue in queues:
            for state in ("pending", "active", "retry", "archived", "completed"):
                for task in await inspector.list_tasks(queue, state, size=1000):
                    if state != "completed" or task.message.retried:
                        error = task.message.error
                        found.append(f"task {task.id} is {state}, retried {task.message.retried} times: {error}")
    return found


def measure(namespace: Namespace, url: str, client: redis.Redis, wanted: int, pools: int) -> int:
    namespace.access.kubectl(
        "create", "configmap", "app", f"--from-literal=bench_app.py={APP}", "--namespace", namespace.name
    )
    template = {
        "spec": {
            "containers": [
                {
                    "name": "worker",
                    "env": [{"name": "PYTHONPATH", "value": "/bench"}],
                    "volumeMounts": [{"name": "app", "mountPath": "/bench"}],
                }
            ],
            "volumes": [{"name": "app", "configMap": {"name": "app"}}],
        }
    }
    watcher = Watcher(namespace)
    names = [f"crew-{number}" for number in range(pools)]
    namespace.apply(broker(url))
    for name in names:
        namespace.apply(
            pool(
                name,
                name,
                image="longshore:dev",
                app="bench_app:app",
                concurrency=1,
                drainSeconds=30,
                template=template,
                autoscaling={
                    "maxReplicas": 6,
                    "targetPerReplica": 1,
                    "scaleDown": {"stabilization": "1s"},
                    "zeroAfter": "1s",
                },
            )
        )
        eventually(lambda name=name: namespace.replicas(f"{name}-worker"), 0)
    prefixes = {f"{name}-worker": f"{name}-worker-" for name in names}
    busy_until: defaultdict[str, float] = defaultdict(float)
    give_up_at = time.monotonic() + 60 * wanted
    while (done := with_running_tasks(watcher.seen, runs(client), prefixes)) < wanted:
        if time.monotonic() > give_up_at:
            raise AssertionError(f"only {done} scale-ins with running tasks in {wanted} minutes")
        for name in names:
            if time.monotonic() > busy_until[name] and namespace.replicas(f"{name}-worker") == 0:
                asyncio.run(burst(url, name))
                busy_until[name] = time.monotonic() + LONG_S
        if sys.stdout.isatty():
            print(f"\r{done} of {wanted} scale-ins with running tasks", end="", flush=True)
        time.sleep(0.5)
    print()
    for name in names:
        eventually(lambda name=name: namespace.replicas(f"{name}-worker"), 0, within_s=120)
    port = client.connection_pool.connection_kwargs["port"]
    for line in asyncio.run(repeated(f"redis://127.0.0.1:{port}/0", names)):
        print(line)
    for line in client.lrange("bench:failures", 0, -1):
        print("a handler was interrupted:", line.decode())
    return report(watcher.seen, runs(client), prefixes)


def report(seen: Seen, attempts: list[Run], pools: dict[str, str]) -> int:
    """Tell what was seen; how many busy workers were killed."""
    times: defaultdict[str, int] = defaultdict(int)
    for each in attempts:
        times[each.task] += 1
    killed = [each for each in attempts if each.end is None] + [each for each in attempts if times[each.task] > 1]
    asked = {
        pod
        for pod, at in seen.asked.items()
        for each in attempts
        if each.host == pod and each.start < at and (each.end is None or at < each.end)
    }
    lowered = ", ".join(f"{before} → {after}" for _, _, before, after in seen.lowered)
    print(f"counts lowered {len(seen.lowered)} times: {lowered}")
    print(
        f"{with_running_tasks(seen, attempts, pools)} scale-ins with running tasks; {len(seen.asked)} pods ended, "
        f"{len(times)} tasks ran; pods asked to stop while busy: {len(asked)}"
    )
    for each in killed:
        print(f"  {each}; its pod was asked to stop at {seen.asked.get(each.host)}")
    print(f"busy workers killed: {len(killed)} (bar: 0)")
    return len(killed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale-ins", type=int, default=20)
    parser.add_argument("--pools", type=int, default=2)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        stack.enter_context(cluster.held())
        there_before = cluster.running() is not None
        access = cluster.up(tied=True)
        if not there_before:
            stack.callback(cluster.down)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Bound to this machine's side of the bridge, where pods reach it; it has nothing worth a password.
        server = stack.enter_context(RedisServer("--bind", access.gateway, "127.0.0.1", "--protected-mode", "no"))
        client = stack.enter_context(redis.Redis(port=server.port))
        if "longshore.dev" in access.kubectl("get", "crd", "--output=name"):
            # The operator of a demo would serve our objects, too.
            raise SystemExit(
                "Longshore is installed in this cluster; run `make demo-down` or `make cluster-down` first"
            )
        access.kubectl("apply", "--server-side", "--filename", REPOSITORY / "crds")
        stack.callback(access.kubectl, "delete", "--wait=false", "--filename", REPOSITORY / "crds")
        access.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", REPOSITORY / "crds")
        name = stack.enter_context(access.namespace("scale-in"))
        namespace = Namespace(access, name)
        stack.enter_context(running_operator(namespace, folder))
        url = f"redis://{access.gateway}:{server.port}/0"
        killed = measure(namespace, url, client, arguments.scale_ins, arguments.pools)
        # The Broker goes while there is an operator to let it go.
        access.kubectl("delete", "workerpools,brokers", "--all", "--namespace", name)
    return 1 if killed else 0


if __name__ == "__main__":
    sys.exit(main())
