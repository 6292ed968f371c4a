"""Two tenants of one operator: one who does as the documentation says, and one who does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from faults_operator.scene import enqueue
from handlers.harness import Metrics, Namespace, OperatorProcess, broker, pool, running_operator
from handlers.waiting import eventually
from localcluster.access import Access
from longshore.testing import RedisServer


@dataclass(frozen=True, kw_only=True)
class Tenants:
    """The operator serves both; ``neighbour`` has a Redis and a pool of its own, which scales with its tasks."""

    neighbour: Namespace
    hostile: Namespace
    operator: OperatorProcess
    redis: RedisServer  # the neighbour's
    numbers: Iterator[int]

    def neighbour_scales(self) -> None:
        """Give the neighbour one more task, and wait until its pool has one more replica."""
        number = next(self.numbers)
        asyncio.run(enqueue(self.redis.url, "steady", 1))
        eventually(lambda: self.neighbour.replicas("steady-worker"), number, within_s=15)

    def unharmed(self) -> None:
        """The neighbour is served, nothing is stuck, and no visit or poll met a defect."""
        self.neighbour_scales()
        assert self.operator.probe("/livez") == (200, "ok\n")
        for words in ("met a defect", "failed unexpectedly", "Traceback"):
            assert words not in self.operator.log

    def metrics(self) -> Metrics:
        """What the operator tells Prometheus."""
        return self.operator.metrics()


@contextmanager
def two_tenants(access: Access, folder: Path) -> Iterator[Tenants]:
    """An operator that leads, and the neighbour's pool at zero."""
    with access.namespace("neighbour") as near, access.namespace("hostile") as far, RedisServer() as server:
        neighbour, hostile = Namespace(access, near), Namespace(access, far)
        with running_operator(neighbour, folder, LONGSHORE_WATCH_NAMESPACE=f"{near},{far}") as operator:
            neighbour.apply(broker(server.url))
            neighbour.apply(pool("steady", "steady", autoscaling={"maxReplicas": 1000, "targetPerReplica": 1}))
            eventually(lambda: neighbour.condition("WorkerPool", "steady"), ("True", "ScaledToZero"))
            yield Tenants(neighbour=neighbour, hostile=hostile, operator=operator, redis=server, numbers=count(1))
