"""A queue, pods and tasks in simulated time. Knows nothing of how counts are decided."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from simulation.loads import Load, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What both scalers are given alike. Seconds."""

    concurrency: int = 10  # tasks one pod runs at once
    target_per_replica: int = 20  # tasks a pod is meant for, waiting or running
    max_replicas: int = 30
    starts_in: float = 4.0  # from the new count to a pod that takes tasks: scheduling, container, imports
    grace: float = 60.0  # a pod that must stop may finish its tasks for so long; then it is killed


@dataclass(kw_only=True, slots=True, eq=False)
class Pod:
    """One worker."""

    name: str
    ready_at: float
    leaving: bool = False
    running: dict[int, float] = field(default_factory=dict)  # number of the task → when it began
    heard: dict[int, float] = field(default_factory=dict)  # the same as its last heartbeat told


@dataclass(kw_only=True, slots=True)
class Counts:
    """What happened to tasks."""

    finished: int = 0
    interrupted: int = 0  # were running when their pod was killed, and ran again
    asked_to_stop_busy: int = 0  # pods that were told to stop while they ran something
    waits: list[float] = field(default_factory=list)  # from arrival to the first start


class World:
    """Events in their order. ``every`` adds somebody who looks again and again, a scaler or a measurement."""

    def __init__(self, load: Load, circumstances: Circumstances) -> None:
        self.now = 0.0
        self.circumstances = circumstances
        self.counts = Counts()
        self.pods: list[Pod] = []  # those that are gone are not in it
        self.waiting: deque[tuple[int, Task, bool]] = deque()  # number, task, whether it ran before
        self._tasks = load.tasks
        self._chance = random.Random(0)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._named = 0
        self._left = len(load.tasks)
        self._lasts = load.lasts
        for number, task in enumerate(load.tasks):
            self._at(task.arrives_at, lambda number=number, task=task: self._arrive(number, task))

    @property
    def staying(self) -> list[Pod]:
        """Pods that are not about to go."""
        return [pod for pod in self.pods if not pod.leaving]

    @property
    def ready(self) -> list[Pod]:
        """Pods that take tasks."""
        return [pod for pod in self.pods if not pod.leaving and pod.ready_at <= self.now]

    @property
    def running(self) -> int:
        """Tasks that run, on pods that are about to go, too."""
        return sum(len(pod.running) for pod in self.pods)

    def every(self, interval: float, look: Callable[[], None], *, first: float) -> None:
        """Have ``look`` called at ``first`` and then at each interval."""

        def again() -> None:
            look()
            if self._left or self.now < self._lasts or self.pods:
                self._at(self.now + interval, again)

        self._at(first, again)

    def run(self, *, at_most: float) -> None:
        """Until everything is done and all pods are gone, or that time has come."""
        while self._events and self._events[0][0] <= at_most:
            self.now, _, happen = heapq.heappop(self._events)
            happen()

    def scale(self, count: int, first_to_go: Callable[[Pod], tuple[float, ...]]) -> None:
        """Set the number of pods; of several, those with the smallest ``first_to_go`` are told to stop.

        As a ReplicaSet does, pods that are not ready go before others, whatever that says.
        """
        staying = self.staying
        for _ in range(count - len(staying)):
            self._named += 1
            pod = Pod(name=f"pod-{self._named}", ready_at=self.now + self.circumstances.starts_in)
            self.pods.append(pod)
            self._at(pod.ready_at, lambda pod=pod: self._fill(pod))
        if count < len(staying):
            staying.sort(key=lambda pod: (pod.ready_at <= self.now, *first_to_go(pod)))
            for pod in staying[: len(staying) - count]:
                self._stop(pod)

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (time, self._order, happen))

    def _arrive(self, number: int, task: Task) -> None:
        self.waiting.append((number, task, False))
        self._dispatch()

    def _dispatch(self) -> None:
        """Workers that have room are equally quick: one of them takes the next task."""
        room = [pod for pod in self.ready if len(pod.running) < self.circumstances.concurrency]
        while self.waiting and room:
            pod = self._chance.choice(room)
            self._begin(pod)
            if len(pod.running) >= self.circumstances.concurrency:
                room.remove(pod)

    def _fill(self, pod: Pod) -> None:
        while self.waiting and not pod.leaving and len(pod.running) < self.circumstances.concurrency:
            self._begin(pod)

    def _begin(self, pod: Pod) -> None:
        number, task, again = self.waiting.popleft()
        pod.running[number] = self.now
        if not again:
            self.counts.waits.append(self.now - task.arrives_at)
        self._at(self.now + task.runs_for, lambda began=self.now: self._finish(pod, number, began))

    def _finish(self, pod: Pod, number: int, began: float) -> None:
        if pod.running.get(number) != began:
            return  # its pod was killed meanwhile
        del pod.running[number]
        self.counts.finished += 1
        self._left -= 1
        if pod.leaving and not pod.running:
            self.pods.remove(pod)
        self._fill(pod)

    def _stop(self, pod: Pod) -> None:
        pod.leaving = True
        if not pod.running:
            self.pods.remove(pod)
            return
        self.counts.asked_to_stop_busy += 1
        self._at(self.now + self.circumstances.grace, lambda: self._kill(pod))

    def _kill(self, pod: Pod) -> None:
        if pod not in self.pods:
            return
        self.pods.remove(pod)
        for number in pod.running:
            self.counts.interrupted += 1
            self.waiting.appendleft((number, self._tasks[number], True))
        pod.running.clear()
        self._dispatch()
