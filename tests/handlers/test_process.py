"""The life of the operator's process.

Proved: the standby takes over from a leader that stops, and from one that vanishes; a leader whose Lease is taken exits
with an error; a killed watcher fails /livez, and a full list makes up for it meanwhile; before a shrink, idle pods are
marked to go first; what cannot work is told in one line. Left out: the elector itself, and watch streams (their own
tests).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from handlers.harness import (
    Namespace,
    OperatorProcess,
    broker,
    pool,
    queue,
)
from handlers.waiting import eventually, stays, until
from longshore import Client, Task
from longshore.broker.base import RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol.messages import ServerInfo, WorkerInfo
from longshore_operator import process
from longshore_operator.cluster import streams
from longshore_operator.errors import SettingsError
from longshore_operator.settings import Settings


@pytest.fixture
def second(namespace: Namespace, tmp_path: Path) -> Iterator[OperatorProcess]:
    """Another replica, which is not started yet."""
    replica = OperatorProcess(namespace, tmp_path, identity="operator-1")
    yield replica
    replica.stop()
    print(replica.log, file=sys.stderr)


def holder(namespace: Namespace) -> str:
    lease = namespace.get("Lease", "longshore-operator")
    return lease["spec"]["holderIdentity"] if lease else ""


@pytest.mark.cluster
def test_a_standby_serves_its_probes_and_takes_over_when_the_leader_stops(
    namespace: Namespace, operator: OperatorProcess, second: OperatorProcess, redis_url: str
) -> None:
    second.start()
    second.wait_standing_by()
    assert (second.probe("/livez")[0], second.probe("/readyz")[0]) == (200, 200)
    assert holder(namespace).startswith("operator-0_")
    assert "leading" not in second.log

    assert operator.stop() == 0
    eventually(lambda: "leading" in second.log, True)
    assert holder(namespace).startswith("operator-1_")
    namespace.apply(broker(redis_url))
    eventually(lambda: namespace.condition("Broker", "default"), ("True", "OK"))


@pytest.mark.cluster
def test_a_standby_takes_over_from_a_leader_that_vanishes(
    namespace: Namespace, operator: OperatorProcess, second: OperatorProcess
) -> None:
    second.start()
    second.wait_standing_by()
    operator.kill()
    eventually(lambda: "leading" in second.log, True, within_s=60)


@pytest.mark.cluster
def test_a_leader_whose_lease_is_taken_exits_with_an_error(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.patch("Lease", "longshore-operator", {"spec": {"holderIdentity": "thief"}})
    assert operator.wait() == 1
    assert "is held by thief now" in operator.log.splitlines()[-1]
    assert "Traceback" not in operator.log
    assert holder(namespace) == "thief"


@pytest.mark.cluster
def test_a_stop_by_sigint_is_clean_too(namespace: Namespace, operator: OperatorProcess) -> None:
    operator.signal(signal.SIGINT)
    assert operator.wait() == 0
    assert holder(namespace) == ""


def settings(namespace: Namespace, port: int, full_list_s: float) -> Settings:
    return Settings.parse(
        namespace=namespace.name,
        watch_namespace=namespace.name,
        image="longshore:test",
        identity="here",
        health_address=f"127.0.0.1:{port}",
        full_list_seconds=full_list_s,
    )


@pytest.mark.cluster
async def test_a_killed_watcher_fails_the_liveness_probe_and_full_lists_make_up_for_it(
    namespace: Namespace, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "REOPEN_WITHIN_S", 3.0)
    outside = OperatorProcess(namespace, tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(outside._kubeconfig()))
    stop = asyncio.Event()
    running = asyncio.create_task(process.run(settings(namespace, outside.port, 2.0), stop=stop))

    async def livez() -> tuple[int, str]:
        return await asyncio.to_thread(outside.probe, "/livez")

    async def ready(name: str) -> bool:
        condition = await asyncio.to_thread(namespace.condition, "Queue", name)
        return condition == ("True", "OK")

    try:
        await asyncio.to_thread(namespace.apply, broker(redis_url))
        await asyncio.to_thread(namespace.apply, queue("first"))
        async with asyncio.timeout(60):
            while not await ready("first"):  # noqa: ASYNC110 - it is another process' state
                await asyncio.sleep(0.1)
        assert (await livez())[0] == 200

        def watchers() -> list[asyncio.Task[Any]]:
            return [task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for queues.")]

        (watcher,) = watchers()
        watcher.cancel()
        await until(lambda: not watchers())
        await asyncio.to_thread(namespace.apply, queue("second"))
        async with asyncio.timeout(60):
            while not await ready("second"):  # noqa: ASYNC110 - it is another process' state
                await asyncio.sleep(0.1)
        await asyncio.to_thread(namespace.delete, "Queue", "first")

        async with asyncio.timeout(60):
            while (probe := await livez())[0] == 200:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.2)
        assert f"watcher: nobody has watched queues.longshore.dev in {namespace.name} for" in probe[1]
        assert probe[1].count("\n") == 1
    finally:
        stop.set()
        await running


@pytest.mark.cluster
def test_before_a_shrink_idle_pods_are_marked_to_go_first_and_busy_ones_stay(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    """No node runs these pods: to the controllers they are alike, but for what the operator says of them."""
    autoscaling = {
        "maxReplicas": 6,
        "targetPerReplica": 1,
        "scaleDown": {"stabilization": "1s"},
        "zeroAfter": "1s",
    }
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", autoscaling=autoscaling))
    eventually(lambda: namespace.replicas("crew-worker"), 0)
    asyncio.run(_enqueue(redis_url, 6))
    pods = sorted(
        each["metadata"]["name"] for each in eventually(lambda: namespace.list("Pod"), lambda now: len(now) == 6)
    )
    busy = {pods[1]: 30, pods[4]: 300}  # seconds that a task has run there

    stopping = False
    with redis.Redis.from_url(redis_url) as client:
        # Two tasks are at work, the others are done.
        client.delete("asynq:{mail}:pending")
        client.rpush("asynq:{mail}:active", "a", "b")
        while not stopping:
            asyncio.run(_heartbeats(redis_url, pods, busy))
            names = {each["metadata"]["name"] for each in namespace.list("Pod")}
            stopping = namespace.replicas("crew-worker") == 2 and len(names) == 2
            assert busy.keys() <= names
        stays(lambda: {each["metadata"]["name"] for each in namespace.list("Pod")}, set(busy), for_s=1)
    costs = {
        each["metadata"]["name"]: int(each["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"])
        for each in namespace.list("Pod")
    }
    assert costs[pods[4]] > costs[pods[1]] > 0


@pytest.mark.cluster
def test_pods_that_have_ended_or_hang_at_their_end_neither_count_nor_are_marked(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    """One was evicted by its node and stays as a record; another is being deleted and does not go. Both look busy."""

    def active() -> set[str]:
        return {
            each["metadata"]["name"]
            for each in namespace.list("Pod")
            if "deletionTimestamp" not in each["metadata"] and each["status"]["phase"] != "Failed"
        }

    auto = {"maxReplicas": 6, "targetPerReplica": 1, "scaleDown": {"stabilization": "1s"}, "zeroAfter": "1s"}
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", autoscaling=auto))
    eventually(lambda: namespace.replicas("crew-worker"), 0)
    asyncio.run(_enqueue(redis_url, 3))
    ended, hanging, _ = sorted(eventually(active, lambda now: len(now) == 3))
    namespace.patch("Pod", hanging, {"metadata": {"finalizers": ["example.com/hold"]}})
    try:
        namespace.patch("Pod", ended, {"status": {"phase": "Failed", "reason": "Evicted"}}, subresource="status")
        namespace.delete("Pod", hanging)
        fresh = eventually(active, lambda now: len(now) == 3 and not now & {ended, hanging})
        busy = {max(fresh): 30, ended: 300, hanging: 300}
        with redis.Redis.from_url(redis_url) as client:
            client.delete("asynq:{mail}:pending")
            client.rpush("asynq:{mail}:active", "a", "b")  # the third has been put back and done elsewhere
            while len(active()) != 2:
                asyncio.run(_heartbeats(redis_url, sorted(busy), busy))
            assert max(fresh) in active()
    finally:
        namespace.patch("Pod", hanging, {"metadata": {"finalizers": None}})
    del busy[hanging]
    with redis.Redis.from_url(redis_url) as client:
        client.lpop("asynq:{mail}:active")
        while active() != {max(fresh)}:
            asyncio.run(_heartbeats(redis_url, sorted(busy), busy))
    status = eventually(lambda: (namespace.get("WorkerPool", "crew") or {})["status"], lambda now: now["replicas"] == 1)
    assert (status["desiredReplicas"], status["busyReplicas"]) == (1, 1)
    annotations = (namespace.get("Pod", ended) or {})["metadata"].get("annotations") or {}
    assert "controller.kubernetes.io/pod-deletion-cost" not in annotations


async def _enqueue(url: str, count: int) -> None:
    async with Client(url) as client:
        await client.enqueue_many([Task("t", {}, queue="mail") for _ in range(count)])


async def _heartbeats(url: str, pods: list[str], busy: dict[str, int]) -> None:
    """What the workers of these pods would publish."""
    now = datetime.now(UTC)
    redis_broker = RedisBroker.connect(RedisSettings(url=url))
    try:
        for number, name in enumerate(pods):
            server = ServerInfo(
                host=name,
                pid=1,
                server_id=f"server-{number}",
                concurrency=20,
                queues={"mail": 1},
                strict_priority=False,
                status="active",
                started_at=now - timedelta(hours=1),
                active_workers=int(name in busy),
            )
            workers = [
                WorkerInfo(
                    host=name,
                    pid=1,
                    server_id=server.server_id,
                    task_id=f"task-{number}",
                    task_type="t",
                    payload=b"",
                    queue="mail",
                    started_at=now - timedelta(seconds=seconds),
                    deadline=now + timedelta(hours=1),
                )
                for host, seconds in busy.items()
                if host == name
            ]
            await redis_broker.publish_server(server, workers, now=now)
    finally:
        await redis_broker.aclose()


@pytest.mark.cluster
def test_a_hundred_idle_objects_are_not_written(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    """The measurement of benchmarks/operator_figures.py, smaller."""
    names = [f"idle-{number}" for number in range(10)]
    namespace.apply(broker(redis_url))
    for name in names:
        namespace.apply(queue(name))
        namespace.apply(pool(name, name, autoscaling={"maxReplicas": 5}))
    for name in names:
        eventually(lambda name=name: namespace.condition("Queue", name), ("True", "OK"))
        eventually(lambda name=name: namespace.condition("WorkerPool", name, "Progressing"), ("False", "Complete"))

    def versions() -> dict[str, str]:
        kinds = ("Broker", "Queue", "WorkerPool", "Deployment")
        return {
            f"{kind} {each['metadata']['name']}": each["metadata"]["resourceVersion"]
            for kind in kinds
            for each in namespace.list(kind)
        }

    before = eventually(versions, lambda first: _unchanged(first, versions), within_s=60)
    stays(versions, before, for_s=12)


def _unchanged(first: dict[str, str], look: Any) -> bool:
    """Whether it stays so for longer than the status of one object waits."""
    try:
        stays(look, first, for_s=6)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("given", "line"),
    [
        pytest.param({"namespace": None}, "--namespace (LONGSHORE_OPERATOR_NAMESPACE)", id="no home"),
        pytest.param({"watch_namespace": "A_b"}, "--watch-namespace: 'A_b' is not", id="a bad namespace"),
        pytest.param({"watch_namespace": "a,"}, "--watch-namespace: '' is not", id="an empty namespace"),
        pytest.param({"image_pull_policy": "always"}, "--image-pull-policy: 'always' is none of", id="a bad policy"),
        pytest.param({"full_list_seconds": 0.5}, "--full-list-seconds: 0.5 is less than 1", id="a hot loop"),
        pytest.param({"health_address": "8080"}, "--health-address: '8080' is not", id="a bad address"),
        pytest.param({"metrics_address": "8081"}, "--metrics-address: '8081' is not", id="a bad other one"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(given: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.parse(**{"namespace": "n", "image": "i", **given})
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        pytest.param({"LONGSHORE_IMAGE": ""}, "--image (LONGSHORE_IMAGE) is needed", id="no image"),
        pytest.param({"KUBECONFIG": "/nowhere"}, "/nowhere is not there; set KUBECONFIG", id="no credentials"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(flags: dict[str, str], line: str) -> None:
    environment = {
        **os.environ,
        "KUBECONFIG": "/nowhere",
        "LONGSHORE_IMAGE": "i",
        "LONGSHORE_OPERATOR_NAMESPACE": "n",
        "LONGSHORE_HEALTH_ADDRESS": "127.0.0.1:0",
        "LONGSHORE_METRICS_ADDRESS": "",
        **flags,
    }
    done = subprocess.run([sys.executable, "-m", "longshore_operator"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    (only,) = done.stderr.splitlines()
    assert only.startswith("longshore-operator: ")
    assert line in only
