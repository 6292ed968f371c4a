"""What becomes of the operator's process: killed anywhere, and frozen while it leads.

Proved: killed between any two writes and started again, it ends with the right counts, makes nothing twice and rolls
no pods, and shrinks nothing before a whole window; a leader that was frozen for longer than its Lease writes nothing
any more, in Kubernetes or in Redis, and ends with an error, while the standby has done the work.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import pytest
import redis

from faults_operator.api_proxy import AGENT, ApiProxy, Fault
from faults_operator.scene import enqueue, pod_owners_of
from handlers.harness import Namespace, OperatorProcess, broker, pool, queue
from handlers.waiting import eventually, stays

pytestmark = pytest.mark.cluster
FROZEN_S = 30.0


def test_a_leader_that_was_frozen_writes_nothing_and_ends_and_the_standby_has_done_the_work(
    namespace: Namespace, proxy: ApiProxy, behind: OperatorProcess, tmp_path: Path, redis_url: str
) -> None:
    standby = OperatorProcess(namespace, tmp_path, identity="operator-1")
    behind.start()
    try:
        behind.wait_leading()
        standby.start()
        namespace.apply(broker(redis_url))
        namespace.apply(queue("mail", paused=True))
        for name in ("one", "two", "three"):
            namespace.apply(pool(name, "mail", autoscaling={"maxReplicas": 9, "targetPerReplica": 1}))
            eventually(lambda name=name: namespace.replicas(f"{name}-worker"), 0)
        standby.wait_standing_by()
        with redis.Redis.from_url(redis_url) as client:
            eventually(lambda: client.exists("asynq:{mail}:paused"), 1)

        frozen_at = time.monotonic()
        behind.signal(signal.SIGSTOP)
        # Whatever it planned or would plan on waking up, there is work in both worlds.
        asyncio.run(enqueue(redis_url, "mail", 6))
        namespace.patch("Queue", "mail", {"spec": {"paused": False}})
        namespace.patch("WorkerPool", "three", {"spec": {"image": "shop:2"}})
        eventually(lambda: "leading" in standby.log, True, within_s=60)
        with redis.Redis.from_url(redis_url) as client:
            eventually(lambda: client.exists("asynq:{mail}:paused"), 0)
        for name in ("one", "two", "three"):
            eventually(lambda name=name: namespace.replicas(f"{name}-worker"), 2)
        # The late riser believes in a paused queue and in counts of 0.
        namespace.patch("WorkerPool", "two", {"spec": {"image": "shop:3"}})
        time.sleep(max(0.0, frozen_at + FROZEN_S - time.monotonic()))

        continued_at, written_before = time.monotonic(), writes_through_the_proxy(namespace)
        behind.signal(signal.SIGCONT)
        assert behind.wait() == 1
        assert proxy.since(continued_at, lambda asked: asked.method != "GET") == []
        assert "could not be renewed for 10 s" in behind.log.splitlines()[-1]
        assert "Traceback" not in behind.log
        stays(lambda: [namespace.replicas(f"{name}-worker") for name in ("one", "two", "three")], [2, 2, 2], for_s=2)
        with redis.Redis.from_url(redis_url) as client:
            assert not client.exists("asynq:{mail}:paused")
        # The API server says the same: of what was under way when it was frozen, nothing has arrived late.
        assert written_before
        assert writes_through_the_proxy(namespace) == written_before
        lease = namespace.get("Lease", "longshore-operator")
        assert lease is not None
        assert lease["spec"]["holderIdentity"].startswith("operator-1_")
    finally:
        behind.signal(signal.SIGCONT)
        standby.stop()
        print(standby.log, file=sys.stderr)


def writes_through_the_proxy(namespace: Namespace) -> list[str]:
    """From the audit log: every write of the operator behind the proxy to this namespace, refused ones included."""
    whole, _, _ = namespace.access.audit_log.read_text().rpartition("\n")  # the last line may be half written
    entries = map(json.loads, whole.splitlines())
    return [
        entry["auditID"]
        for entry in entries
        if entry.get("userAgent") == AGENT
        and entry["verb"] not in ("get", "list", "watch")
        and (entry.get("objectRef") or {}).get("namespace") == namespace.name
    ]


def test_an_operator_killed_anywhere_makes_nothing_twice_and_shrinks_nothing_before_a_window(
    namespace: Namespace, proxy: ApiProxy, behind: OperatorProcess, redis_url: str
) -> None:
    names = [f"crew-{number}" for number in range(5)]
    window_s = 8
    autoscaling = {
        "maxReplicas": 20,
        "targetPerReplica": 2,
        "scaleDown": {"stabilization": f"{window_s}s"},
        "zeroAfter": "1s",
    }
    namespace.apply(broker(redis_url))
    for name in names:
        namespace.apply(pool(name, name, autoscaling=autoscaling))

    def killed_at(write: int) -> None:
        """Start it, and kill it when it has written that many Deployments, of the last one without having heard so."""
        release(namespace)
        unanswered, seen = proxy.unanswered, 0

        def is_later(method: str, path: str, _watch: bool) -> bool:
            nonlocal seen
            seen += is_write(method, path)
            return is_write(method, path) and seen > write

        def is_last(method: str, path: str, _watch: bool) -> bool:
            return is_write(method, path) and seen == write

        def is_write(method: str, path: str) -> bool:
            return method != "GET" and "/deployments/" in path

        with proxy.fault(Fault(on=is_later, silent=True), Fault(on=is_last, unanswered=True)):
            behind.start()
            eventually(lambda: proxy.unanswered > unanswered, True, within_s=60)
            behind.kill()

    killed_at(1)  # one Deployment is there, the others are not
    killed_at(2)
    for name in names:
        asyncio.run(enqueue(redis_url, name, 10))
    killed_at(2)  # some of them have scaled, others have not
    release(namespace)
    behind.start()
    for name in names:
        eventually(lambda name=name: namespace.replicas(f"{name}-worker"), 5)
    deployments = {f"{name}-worker" for name in names}
    made_by = eventually(lambda: pod_owners_of(namespace), lambda now: now.keys() == deployments)
    assert {owner: len(replica_sets) for owner, replica_sets in made_by.items()} == dict.fromkeys(made_by, 1)

    behind.kill()
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    release(namespace)
    lives = behind.log.count("leading")
    behind.start()
    eventually(lambda: behind.log.count("leading") > lives, True, within_s=60)
    stays(lambda: {namespace.replicas(f"{name}-worker") for name in names}, {5}, for_s=window_s - 2)
    for name in names:
        eventually(lambda name=name: namespace.replicas(f"{name}-worker"), 0, within_s=60)
    assert "a visit met a defect" not in behind.log


def release(namespace: Namespace) -> None:
    """Let the next operator lead at once: how long a dead leader's Lease holds is another test's."""
    if namespace.get("Lease", "longshore-operator"):
        namespace.patch("Lease", "longshore-operator", {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}})
