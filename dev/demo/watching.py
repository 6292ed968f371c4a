"""The cluster's account: watches that run from before the burst to the end, so that no change is missed.

kubectl does the watching, so whatever credentials a kubeconfig holds will do. A watch that the API server ends is begun
anew; it first lists what exists, and whatever is then absent is gone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from demo.cluster import Cluster
from demo.evidence import PodLife, ReplicaChange

Object = dict[str, Any]

POOL_LABEL = "longshore.dev/pool"


class Watched:
    """What the watches have seen so far. Written by :func:`watch_all` only."""

    def __init__(self) -> None:
        self.pods: dict[str, PodLife] = {}  # by uid
        self.replicas: dict[str, list[ReplicaChange]] = {}  # by pool
        self.pools: dict[str, Object] = {}  # WorkerPools as they stand, by name
        self.periodic: dict[str, Object] = {}  # PeriodicTasks
        self.brokers: dict[str, Object] = {}

    def count(self, pool: str) -> int | None:
        """Give the replicas its Deployment asks for; None before there is one."""
        changes = self.replicas.get(pool)
        return changes[-1].replicas if changes else None

    def live_pods(self, pool: str) -> list[PodLife]:
        """Give the pods of a pool that exist, ending ones included."""
        return [pod for pod in self.pods.values() if pod.pool == pool and not pod.gone]

    def see_pod(self, event: str, pod: Object) -> None:
        """Take in a watch event of a worker pod."""
        meta = pod["metadata"]
        life = self.pods.get(meta["uid"]) or PodLife(name=meta["name"], pool=meta["labels"][POOL_LABEL])
        if "deletionTimestamp" in meta:
            # The API server writes when the grace period will have ended, not when it began.
            grace = timedelta(seconds=meta.get("deletionGracePeriodSeconds", 0))
            if life.told_to_stop_at is None:
                life = replace(life, told_to_stop_at=datetime.fromisoformat(meta["deletionTimestamp"]) - grace)
        for container in pod.get("status", {}).get("containerStatuses", []):
            life = replace(life, restarts=container.get("restartCount", 0))
            if ended := container.get("state", {}).get("terminated"):
                life = replace(life, exit_code=ended.get("exitCode"), exit_reason=ended.get("reason"))
        self.pods[meta["uid"]] = replace(life, gone=event == "DELETED")

    def see_deployment(self, event: str, deployment: Object) -> None:
        """Take in a watch event of a pool's Deployment."""
        pool = deployment["metadata"]["labels"].get(POOL_LABEL)
        if pool is None:
            return
        count = 0 if event == "DELETED" else deployment["spec"].get("replicas", 1)
        changes = self.replicas.setdefault(pool, [])
        if not changes or changes[-1].replicas != count:
            changes.append(ReplicaChange(at=datetime.now(UTC), replicas=count))

    def see_resource(self, seen: dict[str, Object], event: str, resource: Object) -> None:
        """Keep one of our own resources as it stands."""
        if event == "DELETED":
            seen.pop(resource["metadata"]["name"], None)
        else:
            seen[resource["metadata"]["name"]] = resource

    def pods_gone_except(self, uids: set[str]) -> None:
        """After a fresh list: what is not in it has gone."""
        for uid, pod in self.pods.items():
            if uid not in uids:
                self.pods[uid] = replace(pod, gone=True)


async def watch_all(cluster: Cluster, namespace: str, watched: Watched) -> None:
    """Watch everything the demo looks at, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_watch_pods(cluster, namespace, watched))
        group.create_task(_watch_deployments(cluster, namespace, watched))
        for resource, seen in (
            ("workerpools.longshore.dev", watched.pools),
            ("periodictasks.longshore.dev", watched.periodic),
            ("brokers.longshore.dev", watched.brokers),
        ):
            group.create_task(_watch_resource(cluster, namespace, resource, watched, seen))


async def _watch_pods(cluster: Cluster, namespace: str, watched: Watched) -> None:
    while True:
        listed = await cluster.read("pods", "--namespace", namespace, "--selector", POOL_LABEL)
        watched.pods_gone_except({pod["metadata"]["uid"] for pod in listed["items"]})
        async for event, pod in _events(cluster, namespace, "pods", "--selector", POOL_LABEL):
            watched.see_pod(event, pod)


async def _watch_deployments(cluster: Cluster, namespace: str, watched: Watched) -> None:
    while True:
        async for event, deployment in _events(cluster, namespace, "deployments", "--selector", POOL_LABEL):
            watched.see_deployment(event, deployment)


async def _watch_resource(
    cluster: Cluster, namespace: str, resource: str, watched: Watched, seen: dict[str, Object]
) -> None:
    while True:
        async for event, item in _events(cluster, namespace, resource):
            watched.see_resource(seen, event, item)


async def _events(cluster: Cluster, namespace: str, *what: str) -> AsyncIterator[tuple[str, Object]]:
    """Give watch events until the API server ends the watch."""
    kubectl = await cluster.start_kubectl(
        "get", *what, "--namespace", namespace, "--watch", "--output-watch-events", "--output", "json"
    )
    assert kubectl.stdout is not None
    try:
        async for line in kubectl.stdout:  # one event a line
            document = json.loads(line)
            yield document["type"], document["object"]
    finally:
        if kubectl.returncode is None:
            kubectl.kill()
        await kubectl.wait()
    await asyncio.sleep(0.5)  # an API server that refuses is not asked in a tight loop
