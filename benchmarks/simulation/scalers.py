"""Who decides the count. Both look at the same world, each as it really does: its poll, its view, its rules."""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Protocol

from longshore_operator.api.worker_pool import WorkerPoolSpec
from longshore_operator.plan.load import Load
from longshore_operator.plan.observed import PoolMemory
from longshore_operator.plan.replicas import decide_replicas
from simulation.world import Pod, World

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Scaler(Protocol):
    """Changes the world's count in its own rhythm."""

    name: str

    def attach(self, world: World) -> None:
        """Begin to look."""


class Longshore:
    """The operator: a poll a second, the real decision with the defaults of a WorkerPool, and deletion costs.

    Which worker runs what is known from heartbeats, every five seconds, and right after a worker's first task.
    """

    name = "Longshore"
    POLL, HEARTBEAT = 1.0, 5.0

    def attach(self, world: World) -> None:
        self._world = world
        circumstances = world.circumstances
        self._spec = WorkerPoolSpec.model_validate(
            {
                "queues": [{"name": "default"}],
                "image": "simulated",
                "concurrency": circumstances.concurrency,
                "autoscaling": {
                    "maxReplicas": circumstances.max_replicas,
                    "targetPerReplica": circumstances.target_per_replica,
                },
            }
        )
        self._memory: PoolMemory | None = None
        world.every(self.HEARTBEAT, self._heartbeats, first=0.9)
        world.every(self.POLL, self._poll, first=0.37)

    def _heartbeats(self) -> None:
        for pod in self._world.pods:
            pod.heard = dict(pod.running)

    def _poll(self) -> None:
        world = self._world
        running = world.running
        told = sum(len(pod.heard.keys() & pod.running.keys()) for pod in world.pods)
        decision = decide_replicas(
            self._spec,
            Load(
                waiting=Fraction(len(world.waiting)),
                running=Fraction(running),
                unseen=running - told,
                grouped=0,
                busy=frozenset(pod.name for pod in world.staying if pod.heard),
                unreadable=(),
                problem=None,
            ),
            found=len(world.staying),
            memory=self._memory,
            now=_BEGIN + timedelta(seconds=world.now),
        )
        self._memory = decision.memory
        if decision.replicas != len(world.staying):
            world.scale(decision.replicas, self._cost)

    def _cost(self, pod: Pod) -> tuple[float, ...]:
        """The deletion cost: idle ones first, then those whose oldest task is the youngest."""
        return (self._world.now - min(pod.heard.values()) + 1 if pod.heard else 0, -pod.ready_at)


class Keda:
    """KEDA 2 with its Redis-list scaler on the pending list, and the HorizontalPodAutoscaler it makes, all defaults.

    From https://keda.sh/docs/latest/reference/scaledobject-spec/ (pollingInterval 30 s, cooldownPeriod 300 s) and
    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ (every 15 s, tolerance 10 %, growth by
    the larger of 4 pods and 100 % in 15 s, the highest recommendation of 300 s for a shrink). KEDA itself steps from
    zero to one and back; everything between is the HPA's, which asks for the list's length each time. The length of a
    list does not tell who is busy, so which pod goes is the ReplicaSet's choice: the youngest.
    """

    name = "KEDA"
    POLL, COOLDOWN = 30.0, 300.0
    SYNC, TOLERANCE, PERIOD, WINDOW = 15.0, 0.1, 15.0, 300.0

    def attach(self, world: World) -> None:
        self._world = world
        self._active_at = -math.inf
        self._recommended: deque[tuple[float, int]] = deque()
        self._grown: deque[tuple[float, int]] = deque()  # when, and by how many
        world.every(self.POLL, self._poll, first=7.3)
        world.every(self.SYNC, self._sync, first=3.1)

    def _poll(self) -> None:
        world = self._world
        count = len(world.staying)
        if world.waiting:
            self._active_at = world.now
            if count == 0:
                world.scale(1, _youngest)
        elif count and world.now - self._active_at >= self.COOLDOWN:
            world.scale(0, _youngest)

    def _sync(self) -> None:
        world = self._world
        count = len(world.staying)
        if count == 0:
            return  # a target of zero replicas is left alone
        length, target = len(world.waiting), world.circumstances.target_per_replica
        ratio = length / (target * count)
        wanted = count if abs(1 - ratio) <= self.TOLERANCE else math.ceil(length / target)
        self._recommended.append((world.now, wanted))
        while self._recommended[0][0] < world.now - self.WINDOW:
            self._recommended.popleft()
        if wanted < count:
            wanted = min(count, max(each for _, each in self._recommended))
        if wanted > count:
            while self._grown and self._grown[0][0] <= world.now - self.PERIOD:
                self._grown.popleft()
            begun = count - sum(each for _, each in self._grown)
            wanted = min(wanted, max(begun + 4, begun * 2))
        wanted = min(max(wanted, 1), world.circumstances.max_replicas)
        if wanted > count:
            self._grown.append((world.now, wanted - count))
        if wanted != count:
            world.scale(wanted, _youngest)


def _youngest(pod: Pod) -> tuple[float, ...]:
    return (-pod.ready_at,)
