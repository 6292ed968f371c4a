"""Every figure of the operator that needs a control plane only, as a table, and written into docs/performance.md.

    python benchmarks/operator_figures.py [--pools 1000] [--periodic-tasks 500] [--seconds 60] [--only start,idle]
                                          [--no-write]

There are no nodes, so no worker runs: what is measured ends with the count in the Deployment. A small scene with one
pool, and a large one that goes through all parts in their order. A smaller size is for trying, and is never written.
Ends with 1 when a bar is missed or a part failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import redis
from figures import Figure, table
from operator_cluster import Scene, Usage, Watch, ready, rolled_out, scene
from performance import circumstances, write

from handlers.harness import Manifest, OperatorProcess
from handlers.waiting import eventually
from longshore import Client, Task

BEGIN, END = "<!-- measured, operator: begin -->", "<!-- measured, operator: end -->"
SIZE = 1000
BURSTS, BURST_TASKS = 20, 500
TAKEOVERS = 3
SETTLED_S = 5.0  # without a write, the scene has come to rest


def start(bench: Scene) -> list[Figure]:
    """From the start of the operator's process to Ready of each object, none of which any operator has ever seen."""
    kinds = {"Broker": 1, "Queue": bench.pools, "WorkerPool": bench.pools, "PeriodicTask": bench.periodic_tasks}
    watches = {kind: Watch(bench.namespace, kind) for kind in kinds}
    turned_away, audit_log = bench.turned_away(), bench.audit_log.stat().st_size
    began = time.monotonic()
    bench.operator().start()
    taken: dict[str, float] = {}
    for kind, count in kinds.items():
        if count:
            taken[kind] = watches[kind].until(ready, count=count, within_s=600) - began
        watches[kind].close()
    used = Usage.of(bench.operator().pid)
    writes = bench.writes(audit_log)
    for what, count in writes.most_common():
        print(f"  {count} × {what}")
    print(f"  {used.processor_s:.1f} s of processor time, {used.resident_mb:.0f} MB; {_each(taken)}")
    refused = bench.turned_away() - turned_away
    slowest = max(taken.values())
    return [
        Figure(
            name=f"start with {_objects(bench)}, Deployments still to be made → all Ready",
            bar="≤ 60 s, no 429",
            figure=f"{slowest:.1f} s with {writes.total()} writes and {used.processor_s:.0f} s of processor time, "
            f"{refused} × 429",
            ok=slowest <= 60 and refused == 0,
        )
    ]


def idle(bench: Scene, seconds: float) -> list[Figure]:
    """What the operator does while nothing happens, not even at the controllers that are slower than it."""
    watch = Watch(bench.namespace, "WorkerPool")
    watch.until(rolled_out, count=bench.pools, within_s=900)
    watch.close()
    _settle(bench)
    pid = bench.operator().pid
    before, trips, begin = Usage.of(pid), bench.trips.count, bench.audit_log.stat().st_size
    time.sleep(seconds)
    after, made = Usage.of(pid), bench.trips.count - trips
    writes = bench.writes(begin)
    lease = writes.pop("update/leases", 0)
    for what, count in writes.most_common():
        print(f"  {count} × {what}")
    share, each_second = after.share_since(before), made / seconds
    name = f"{_objects(bench)}, idle for {seconds:g} s"
    return [
        Figure(
            name=f"{name}: writes besides the Lease",
            bar="0",
            figure=f"{writes.total()} ({lease} of the Lease)",
            ok=writes.total() == 0 and lease > 0,
        ),
        Figure(name=f"{name}: processor", bar="≤ 15 % of a core", figure=f"{share:.1%}", ok=share <= 0.15),
        Figure(
            name=f"{name}: resident memory",
            bar="≤ 300 MB",
            figure=f"{after.resident_mb:.0f} MB",
            ok=after.resident_mb <= 300,
        ),
        Figure(
            name=f"{name}: round trips to Redis",
            bar="1 a second",
            figure=f"{each_second:.2f} a second",
            ok=0.8 <= each_second <= 1.05,
        ),
    ]


def burst(bench: Scene, bar_s: float) -> list[Figure]:
    """From before the first of many tasks is enqueued to the count above zero, as a watch of the Deployment tells it.

    Each burst comes at a random moment of the poll. In between the queue is emptied, and the pool goes back to zero.
    """
    taken = []
    name = "p-0-worker"
    eventually(lambda: bench.namespace.replicas(name), 0, within_s=60)
    watch = Watch(bench.namespace, "Deployment", name=name)
    for _ in range(BURSTS):
        time.sleep(random.random())
        watch.forget()
        began = time.monotonic()
        asyncio.run(_enqueue(bench.redis_url, ["q-0"] * BURST_TASKS))
        taken.append(watch.until(_above_zero, count=1, within_s=60) - began)
        _empty(bench)
        watch.until(lambda manifest: not _above_zero(manifest), count=1, within_s=60)
    watch.close()
    p50, p95 = statistics.median(taken), statistics.quantiles(taken, n=20, method="inclusive")[-1]
    pools = "1 pool" if bench.pools == 1 else f"1 of {bench.pools:,} pools on one Broker"
    return [
        Figure(
            name=f"burst of {BURST_TASKS} tasks → count written, {pools}",
            bar=f"p95 ≤ {bar_s:g} s",
            figure=f"p50 {p50:.2f} s, p95 {p95:.2f} s, longest {max(taken):.2f} s of {len(taken)}",
            ok=p95 <= bar_s,
        )
    ]


def takeover(bench: Scene) -> list[Figure]:
    """From SIGKILL of the leader to the count that a burst after it asks for: the other one has decided and written."""
    taken = []
    name = "p-0-worker"
    leader, standby = bench.operator(0), bench.operator(1)
    standby.start()
    eventually(lambda: standby.probe("/livez")[0], 200, within_s=60)
    watch = Watch(bench.namespace, "Deployment", name=name)
    for _ in range(TAKEOVERS):
        _settle(bench)
        eventually(lambda: bench.namespace.replicas(name), 0, within_s=120)
        time.sleep(random.random() * 2)  # any moment between two renewals of the Lease
        watch.forget()
        began = time.monotonic()
        leader.kill()
        asyncio.run(_enqueue(bench.redis_url, ["q-0"] * BURST_TASKS))
        taken.append(watch.until(_above_zero, count=1, within_s=120) - began)
        _empty(bench)
        leader.start()
        leader, standby = standby, leader
        eventually(lambda: standby.probe("/livez")[0], 200, within_s=60)  # noqa: B023 - called at once
    watch.close()
    bench.operators = {"operator-0": leader, "operator-1": standby}
    return [
        Figure(
            name=f"leader killed → the other has written a count, {_objects(bench)}",
            bar="≤ 20 s",
            figure=f"{min(taken):.1f} to {max(taken):.1f} s, {len(taken)} times",
            ok=max(taken) <= 20,
        )
    ]


def all_at_once(bench: Scene) -> list[Figure]:
    """From before the first of as many tasks as there are queues to the last Deployment's new count."""
    _settle(bench)
    pid = _leader(bench).pid
    watch = Watch(bench.namespace, "Deployment")
    turned_away, before, begin = bench.turned_away(), Usage.of(pid), bench.audit_log.stat().st_size
    began = time.monotonic()
    asyncio.run(_enqueue(bench.redis_url, [f"q-{number}" for number in range(bench.pools)]))
    last = watch.until(_above_zero, count=bench.pools, within_s=300) - began
    used = Usage.of(pid).processor_s - before.processor_s
    refused, writes = bench.turned_away() - turned_away, bench.writes(begin)
    for what, count in writes.most_common():
        print(f"  {count} × {what}")
    watch.close()
    return [
        Figure(
            name=f"every backlog changes at once, {bench.pools:,} pools → every count written",
            bar="≤ 20 s, no 429",
            figure=f"{last:.1f} s with {used:.1f} s of processor time, {refused} × 429",
            ok=last <= 20 and refused == 0,
        )
    ]


def _above_zero(manifest: Manifest) -> bool:
    # the scheduler's Deployment is no pool's
    return bool(manifest["spec"]["replicas"] > 0 and manifest["metadata"]["name"].endswith("-worker"))


async def _enqueue(url: str, queues: Sequence[str]) -> None:
    async with Client(url) as client:
        await client.enqueue_many([Task("noop", {}, queue=queue) for queue in queues])


def _empty(bench: Scene) -> None:
    with redis.Redis.from_url(bench.redis_url) as client:
        for key in client.scan_iter("asynq:{q-*", count=10_000):
            client.delete(key)


def _settle(bench: Scene) -> None:
    """Wait until the operator has nothing left to write: the controllers of Kubernetes need a while for so many."""
    seen, since = bench.audit_log.stat().st_size, time.monotonic()
    give_up_at = since + 900
    while time.monotonic() < since + SETTLED_S:
        if time.monotonic() > give_up_at:
            raise RuntimeError("the operator goes on writing")
        time.sleep(0.5)
        size = bench.audit_log.stat().st_size
        if size > seen:
            writes = bench.writes(seen)
            writes.pop("update/leases", None)
            seen = size
            since = time.monotonic() if writes else since


def _leader(bench: Scene) -> OperatorProcess:
    return next(iter(bench.operators.values()))


def _objects(bench: Scene) -> str:
    return f"{bench.pools:,} pools + {bench.pools:,} queues + {bench.periodic_tasks:,} periodic tasks"


def _each(taken: dict[str, float]) -> str:
    return ", ".join(f"{kind} after {seconds:.1f} s" for kind, seconds in taken.items())


@contextlib.contextmanager
def _running(bench: Scene) -> Iterator[Scene]:
    """An operator that leads, if the scene has none yet."""
    if not bench.operators:
        bench.operator().start()
        bench.operator().wait_leading()
    yield bench


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=int, default=SIZE)
    parser.add_argument("--periodic-tasks", type=int, default=SIZE // 2)
    parser.add_argument("--seconds", type=float, default=60.0, help="to watch the idle operator")
    parser.add_argument("--only", help=f"parts to measure, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md as it is")
    parser.add_argument("--log", type=Path, help="where to put the operators' logs")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(PARTS)
    load = os.getloadavg()[0]
    figures: list[Figure] = []
    failed = False
    large = [name for name in names if name != "burst-1"]
    sizes = [(1, 0, ["burst-1"])] if "burst-1" in names else []
    sizes += [(arguments.pools, arguments.periodic_tasks, large)] if large else []
    for pools, periodic_tasks, parts in sizes:
        print(f"── a scene with {pools} pools", flush=True)
        with scene(pools=pools, periodic_tasks=periodic_tasks) as bench:
            for name in parts:
                print(f"── {name}", flush=True)
                try:
                    found = PARTS[name](bench, arguments.seconds)
                except Exception:
                    traceback.print_exc()
                    failed = True
                    continue
                print(table(found), flush=True)
                figures += found
            if arguments.log:
                for identity, operator in bench.operators.items():
                    (arguments.log / f"{identity}-{pools}.log").write_text(operator.log)
    text = f"{circumstances(load)}\n\n{table(figures)}"
    print(f"\n{text}")
    whole = not failed and names == list(PARTS) and (arguments.pools, arguments.periodic_tasks) == (SIZE, SIZE // 2)
    if whole and not arguments.no_write:
        write(text, begin=BEGIN, end=END)
    sys.exit(failed or not all(figure.ok for figure in figures))


def _with_operator(part: Callable[[Scene], list[Figure]]) -> Callable[[Scene, float], list[Figure]]:
    def measure(bench: Scene, _seconds: float) -> list[Figure]:
        with _running(bench):
            return part(bench)

    return measure


def _idle(bench: Scene, seconds: float) -> list[Figure]:
    with _running(bench):
        return idle(bench, seconds)


PARTS: dict[str, Callable[[Scene, float], list[Figure]]] = {
    "burst-1": _with_operator(lambda bench: burst(bench, 1.2)),
    "start": lambda bench, _seconds: start(bench),
    "idle": _idle,
    "burst": _with_operator(lambda bench: burst(bench, 2.5)),
    "takeover": _with_operator(takeover),
    "all-at-once": _with_operator(all_at_once),
}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is brought down
    main()
