"""Objects, readings and clusters for tests of the plan, in as few words as possible. No clock: time is a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from longshore.protocol.messages import ServerInfo, WorkerInfo
from longshore.protocol.snapshots import BrokerSnapshot, EntriesSnapshot, QueueSnapshot, ServerSnapshot
from longshore_operator.api.broker import Broker
from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.api.queue import Queue
from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.plan.actions import ApplyDeployment, Note, Plan, ScaleDeployment, SetDeletionCost
from longshore_operator.plan.observed import (
    BrokerReading,
    ChildDeployment,
    ObservedPool,
    PodReading,
    PoolMemory,
    SecretReading,
)
from longshore_operator.plan.worker_pool import plan_worker_pool

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CREATED = "2026-02-01T00:00:00Z"


def at(seconds: float) -> datetime:
    """The moment so many seconds after the start."""
    return START + timedelta(seconds=seconds)


def meta(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": CREATED,
        **more,
    }


def broker(name: str = "default", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Broker:
    spec = {"url": "redis://redis:6379/0", **spec}  # url=None for another kind of Redis
    return Broker.parse({"metadata": meta(name, **(metadata or {})), "spec": spec})


def queue(name: str = "mail", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Queue:
    return Queue.parse({"metadata": meta(name, **(metadata or {})), "spec": spec})


def periodic(name: str = "report", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> PeriodicTask:
    spec = {"schedule": "0 * * * *", "task": {"type": "report:hourly"}, **spec}
    return PeriodicTask.parse({"metadata": meta(name, **(metadata or {})), "spec": spec})


def pool(name: str = "mail", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> WorkerPool:
    """A pool of the queue of its name. Without autoscaling unless given."""
    spec = {"queues": [{"name": name}], "image": "shop:1.0", "app": "shop.tasks:app", **spec}
    return WorkerPool.parse({"metadata": meta(name, **(metadata or {})), "spec": spec})


def scaled(name: str = "mail", *, auto: Mapping[str, Any] | None = None, **spec: Any) -> WorkerPool:
    """A pool that scales from 0 to 30, one worker for 40 tasks."""
    return pool(name, autoscaling={"maxReplicas": 30, "targetPerReplica": 40, **(auto or {})}, **spec)


def with_status(resource: Any, status: Mapping[str, Any] | None) -> Any:
    """The object after its status was written; None: it was not."""
    return resource if status is None else resource.model_copy(update={"status": dict(status)})


def reading(
    *queues: QueueSnapshot,
    servers: Iterable[ServerSnapshot] = (),
    now: datetime = START,
    entries: Mapping[str, bytes] = MappingProxyType({}),
    **more: Any,
) -> BrokerReading:
    """A good poll."""
    snapshot = BrokerSnapshot(
        redis_version="7.0.15",
        latency=timedelta(milliseconds=1),
        queues={each.name: each for each in queues},
        servers=tuple(servers),
        entries=EntriesSnapshot(entries, repr(entries).encode()),
        **more,
    )
    return BrokerReading(snapshot=snapshot, read_at=now)


def failed(last: BrokerReading, *, failures: int = 2, since: datetime = START) -> BrokerReading:
    """The same Broker after polls that failed."""
    return replace(last, failures=failures, failing_since=since, error="Connection refused")


UNREAD = BrokerReading()


def server(host: str, *tasks: tuple[str, datetime]) -> ServerSnapshot:
    """A live worker, and the queue and start of each task that it runs."""
    info = ServerInfo(
        host=host,
        pid=1,
        server_id=f"id-{host}",
        concurrency=20,
        queues={},
        strict_priority=False,
        status="active",
        started_at=START,
        active_workers=len(tasks),
    )
    workers = tuple(
        WorkerInfo(
            host=host,
            pid=1,
            server_id=f"id-{host}",
            task_id=f"{host}-{number}",
            task_type="mail:send",
            payload=b"",
            queue=name,
            started_at=started,
            deadline=started + timedelta(hours=1),
        )
        for number, (name, started) in enumerate(tasks)
    )
    return ServerSnapshot(info=info, workers=workers)


def running(name: str, **more: Any) -> PodReading:
    return PodReading(**{"name": name, "phase": "Running", "ready": True, "terminating": False, **more})


def conditions(plan_or_status: Plan | Mapping[str, Any] | None) -> dict[str, tuple[str, str]]:
    """Type to (status, reason)."""
    status = plan_or_status.status if isinstance(plan_or_status, Plan) else plan_or_status
    assert status is not None
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def message(plan: Plan, type_: str) -> str:
    assert plan.status is not None
    return next(each["message"] for each in plan.status["conditions"] if each["type"] == type_)


def notes(plan: Plan) -> list[tuple[str, str]]:
    return [(each.type, each.reason) for each in plan.notes]


def live(
    manifest: Mapping[str, Any], *, ready: int | None = None, owned: bool = True, **status: Any
) -> ChildDeployment:
    """A Deployment as the cluster shows it once Kubernetes has done its part (unless ``ready`` says otherwise)."""
    count = manifest["spec"]["replicas"]
    ready = count if ready is None else ready
    metadata = {**manifest["metadata"], "uid": f"uid-{manifest['metadata']['name']}", "generation": 1}
    state = {"observedGeneration": 1, "replicas": count, "readyReplicas": ready, "updatedReplicas": count, **status}
    return ChildDeployment(manifest={**manifest, "metadata": metadata, "status": state}, owned=owned)


@dataclass(kw_only=True)
class PoolWorld:
    """A pool in a small cluster: what the plan asks for happens at once, and time moves when told to.

    ``busy`` maps pods to the number of tasks they run (of the pool's first queue), since ``busy_since``.
    """

    pool: WorkerPool
    broker: Broker | None = field(default_factory=broker)
    pending: int = 0
    due: int = 0
    hidden: int = 0  # active tasks that no heartbeat tells of
    paused: bool = False
    problem: str | None = None
    busy: dict[str, int] = field(default_factory=dict)
    busy_since: dict[str, datetime] = field(default_factory=dict)
    reachable: bool = True
    failing_since: datetime | None = None
    failures: int = 0
    secret: SecretReading | None = None
    sharing: tuple[WorkerPool, ...] = ()
    apply_error: str | None = None
    time: float = 0.0
    memory: PoolMemory | None = None
    child: ChildDeployment | None = None
    pods: list[PodReading] = field(default_factory=list)
    last: Plan | None = None
    applied: list[ApplyDeployment] = field(default_factory=list)
    events: list[Note] = field(default_factory=list)
    status_writes: int = 0
    removed: list[str] = field(default_factory=list)
    _last_good: BrokerReading | None = None
    _serial: int = 0

    @property
    def now(self) -> datetime:
        return at(self.time)

    @property
    def replicas(self) -> int | None:
        return None if self.child is None else self.child.manifest["spec"]["replicas"]

    @property
    def decision(self) -> str:
        return str(self.pool.status["decision"])

    def observe(self) -> ObservedPool:
        name = self.pool.spec.queues[0].name
        queues = [
            QueueSnapshot(
                name=each.name,
                pending=self.pending if each.name == name and self.problem is None else 0,
                scheduled=self.due if each.name == name else 0,
                due=self.due if each.name == name else 0,
                active=(sum(self.busy.values()) + self.hidden) if each.name == name else 0,
                paused_at=START if self.paused else None,
                problem=self.problem,
            )
            for each in self.pool.spec.queues
        ]
        servers = [
            server(pod.name, *[(name, self.busy_since.get(pod.name, self.now))] * self.busy.get(pod.name, 0))
            for pod in self.pods
        ]
        if self.reachable:
            current = self._last_good = reading(*queues, servers=servers, now=self.now)
            self.failures, self.failing_since = 0, None
        else:
            self.failures += 1
            self.failing_since = self.failing_since or self.now
            current = failed(self._last_good or UNREAD, failures=self.failures, since=self.failing_since)
        return ObservedPool(
            broker=self.broker,
            reading=current,
            secret=self.secret,
            deployment=self.child,
            pods=tuple(self.pods),
            sharing=self.sharing,
            memory=self.memory,
            apply_error=self.apply_error,
        )

    def step(self) -> Plan:
        """One poll, and what follows from it."""
        plan = plan_worker_pool(self.pool, self.observe(), self.now)
        self.last, self.memory = plan, plan.memory
        self.events += plan.notes
        if plan.status is not None:
            self.pool = with_status(self.pool, plan.status)
            self.status_writes += 1
        for action in plan.actions:
            if isinstance(action, SetDeletionCost):
                self.pods = [replace(p, deletion_cost=action.cost) if p.name == action.pod else p for p in self.pods]
            elif isinstance(action, ScaleDeployment):
                assert self.child is not None
                manifest = dict(self.child.manifest)
                self._become({**manifest, "spec": {**manifest["spec"], "replicas": action.replicas}})
            elif isinstance(action, ApplyDeployment) and self.apply_error is None:
                self.applied.append(action)
                self._become(action.manifest)
        return plan

    def run(self, seconds: float, *, poll: float = 1.0) -> Plan:
        """Polls for so many seconds; time stands at their end."""
        end = self.time + seconds
        while self.time < end:
            self.step()
            self.time += poll
        assert self.last is not None
        return self.last

    def restart(self) -> None:
        """Another operator process takes over."""
        self.memory = None

    def _become(self, manifest: Mapping[str, Any]) -> None:
        """The controllers' part: pods appear, and go by deletion cost."""
        count = manifest["spec"]["replicas"]
        while len(self.pods) < count:
            self._serial += 1
            self.pods.append(running(f"{self.pool.name}-worker-{self._serial}"))
        while len(self.pods) > count:
            victim = min(self.pods, key=lambda pod: pod.deletion_cost or 0)
            self.pods.remove(victim)
            self.removed.append(victim.name)
        self.child = live(manifest)
