"""From a burst of tasks into an empty queue to the Deployment's new replica count, as the API server's watch tells it.

    python benchmarks/burst_to_replicas.py [--bursts 20] [--tasks 500] [--pools 1]

A pool stands at zero with a pollInterval of 1s. Each burst starts at a random moment of the poll; the clock runs from
before the first task is enqueued. Between bursts the queue is emptied and the pool goes back to zero. With --pools, as
many other pools and queues of the same Broker stand by. Exit code 1 when the 95th percentile is above 1.5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import queue as queues
import random
import statistics
import sys
import threading
import time
import urllib.request

import redis
from operator_cluster import Bench, bench

from handlers.harness import KINDS, broker, pool, queue
from handlers.waiting import eventually
from longshore import Client, Task

BAR_S = 1.5
BUSY = "burst"


class Watch:
    """Hears of each count of one Deployment, in a thread of its own."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.heard: queues.Queue[tuple[float, int]] = queues.Queue()
        path = KINDS["Deployment"].path(bench.namespace.name)
        self._request = urllib.request.Request(
            f"{bench.namespace.server}{path}?watch=true&fieldSelector=metadata.name%3D{name}",
            headers={"Authorization": f"Bearer {bench.namespace._token}"},
        )
        self._ssl = bench.namespace._ssl
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with urllib.request.urlopen(self._request, context=self._ssl) as response:
            for line in response:
                self.heard.put((time.monotonic(), json.loads(line)["object"]["spec"]["replicas"]))

    def wait_above_zero(self) -> tuple[float, int]:
        """The moment at which a count above zero was heard, and the count."""
        while True:
            at, count = self.heard.get(timeout=30)
            if count > 0:
                return at, count


def measure(bench: Bench, bursts: int, tasks: int, others: int) -> list[float]:
    namespace = bench.namespace
    autoscaling = {"maxReplicas": 30, "scaleDown": {"stabilization": "1s"}, "zeroAfter": "1s"}
    namespace.apply(broker(bench.redis_url))
    namespace.apply(pool("crew", BUSY, autoscaling=autoscaling))
    for number in range(others):
        namespace.apply(queue(f"idle-{number}"))
        namespace.apply(pool(f"idle-{number}", f"idle-{number}", autoscaling=autoscaling))
    eventually(lambda: namespace.replicas("crew-worker"), 0)
    if others:
        eventually(lambda: namespace.replicas(f"idle-{others - 1}-worker"), 0, within_s=120)
        time.sleep(5)
    watch = Watch(bench, "crew-worker")
    taken = []
    with redis.Redis.from_url(bench.redis_url) as client:
        for number in range(bursts):
            time.sleep(random.random())
            started = time.monotonic()
            asyncio.run(burst(bench.redis_url, tasks))
            enqueued = time.monotonic()
            at, count = watch.wait_above_zero()
            taken.append(at - started)
            print(f"burst {number + 1:2}: {at - started:.3f} s (enqueued after {enqueued - started:.3f} s) → {count}")
            client.flushall()
            eventually(lambda: namespace.replicas("crew-worker"), 0)
            while not watch.heard.empty():
                watch.heard.get()
    return taken


async def burst(url: str, tasks: int) -> None:
    async with Client(url) as client:
        await client.enqueue_many([Task("noop", {}, queue=BUSY) for _ in range(tasks)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bursts", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--pools", type=int, default=0, help="other pools and queues of the same Broker")
    arguments = parser.parse_args()
    with bench() as ready:
        taken = measure(ready, arguments.bursts, arguments.tasks, arguments.pools)
    p95 = statistics.quantiles(taken, n=20, method="inclusive")[-1]
    print(
        f"{arguments.tasks} tasks → new count: p50 {statistics.median(taken):.2f} s, p95 {p95:.2f} s, "
        f"max {max(taken):.2f} s over {len(taken)} bursts (bar: p95 ≤ {BAR_S} s)"
    )
    return 0 if p95 <= BAR_S else 1


if __name__ == "__main__":
    sys.exit(main())
