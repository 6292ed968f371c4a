"""What a pool is faced with: tasks that wait for it, tasks it runs, and which of its workers run them.

Knows no Kubernetes object: a worker is a host name, as its heartbeat gives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import lru_cache

from longshore.protocol.snapshots import BrokerSnapshot, ServerSnapshot
from longshore_operator.api.worker_pool import WorkerPool

_ACTIVE = "active"  # of a server's states the one in which it takes tasks


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a pool's workers get done, as far as one reading tells. Two of them make a measurement (plan.throughput)."""

    read_at: datetime
    finished: Mapping[str, int]  # attempts that ended today, by queue, whoever made them
    # How much of what ends in a queue is this pool's: its part of the slots that serve the queue. A server's slots are
    # split among its queues by their weights.
    shares: Mapping[str, float]
    servers: frozenset[str]  # ids of the live servers of its workers that are meant to stay
    replicas: int  # the hosts they run on
    slots: int  # tasks they can run at once
    waiting_since: datetime | None  # of all tasks that its workers could take, when the oldest became pending
    settled: bool  # no roll-out is under way, so that all of its workers are alike


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The load of one pool, all of one moment."""

    waiting: Fraction = Fraction()  # the pool's share of tasks that are pending or due in unpaused queues
    running: Fraction = Fraction()  # tasks its workers run, those about to stop included, plus its share of `unseen`
    # Active tasks of its queues that no heartbeat tells of: just taken (heartbeats lag by seconds), or left behind by a
    # worker that died, which only a running worker can recover. Whole tasks, not a share.
    unseen: int = 0
    grouped: int = 0  # tasks that wait in groups of its unpaused queues, which only a running worker aggregates
    busy: frozenset[str] = frozenset()  # hosts of workers that run at least one task and are meant to stay
    unreadable: tuple[str, ...] = ()  # its queues whose depth is unknown
    problem: str | None = None  # why, of the first of them
    cut_off: bool = False  # because the server that has it, one of a cluster, is away
    heartbeats_known: bool = True  # False: others may be busy, on servers of which nothing could be read
    work: Work | None = None  # what tells the speed of its workers; None: the time of the reading is not known

    @property
    def idle(self) -> bool:
        """Nothing waits, runs or is due, for certain."""
        return (
            not (self.waiting or self.running or self.unseen or self.grouped or self.unreadable)
            and self.heartbeats_known
        )


def pool_load(
    pool: WorkerPool,
    sharing: Iterable[WorkerPool],
    snapshot: BrokerSnapshot,
    *,
    staying: Collection[str],
    leaving: Collection[str],
    read_at: datetime | None = None,
    settled: bool = True,
) -> Load:
    """The load of ``pool`` beside the other pools of its queues. ``staying`` and ``leaving`` are hosts of its workers.

    A queue's waiting tasks are split among the pools that serve it by the weights they give it. A pool that cannot have
    a worker takes no share. ``read_at`` is the time of the snapshot; ``settled``: no roll-out is under way.
    """
    lookahead = timedelta() if pool.spec.autoscaling is None else pool.spec.autoscaling.lookahead
    rivals = [other for other in sharing if not other.deleting and _can_work(other)]
    hosts = {*staying, *leaving}
    everywhere = _survey(_Same(snapshot.servers))
    ours = [server for host in hosts for server in everywhere.by_host.get(host, ())]
    seen = everywhere.running
    seen_here = _running_by_queue(ours)
    waiting = running = Fraction()
    unseen = grouped = 0
    unreadable = []
    problem, cut_off = None, False
    for queue in pool.spec.queues:
        depth = snapshot.queues.get(queue.name)
        if depth is None or depth.problem is not None:
            unreadable.append(queue.name)
            if problem is None and depth is not None:
                problem, cut_off = depth.problem, depth.unreachable
            running += seen_here[queue.name]
            continue
        total = queue.weight + sum(
            each.weight for other in rivals for each in other.spec.queues if each.name == queue.name
        )
        share = Fraction(queue.weight, total)
        if not depth.paused:
            waiting += (depth.pending + (depth.due_by(lookahead) if lookahead else depth.due)) * share
            grouped += depth.aggregating
        hidden = max(0, depth.active - seen[queue.name])
        unseen += hidden
        # A heartbeat may still tell of tasks that have ended: no more can run than are active.
        running += min(seen_here[queue.name], depth.active) + hidden * share
    named = {queue.name for queue in pool.spec.queues}
    running += sum(count for name, count in seen_here.items() if name not in named)  # served until a roll-out is done
    return Load(
        waiting=waiting,
        running=running,
        unseen=unseen,
        grouped=grouped,
        busy=frozenset(server.info.host for server in ours if server.workers and server.info.host in staying),
        unreadable=tuple(unreadable),
        problem=problem,
        cut_off=cut_off,
        heartbeats_known=snapshot.servers_known,
        work=_work(pool, snapshot, ours, staying, everywhere, read_at, settled=settled)
        if read_at is not None and snapshot.problem is None
        else None,
    )


def _work(
    pool: WorkerPool,
    snapshot: BrokerSnapshot,
    ours: Sequence[ServerSnapshot],
    staying: Collection[str],
    everywhere: _Survey,
    read_at: datetime,
    *,
    settled: bool,
) -> Work:
    depths = [snapshot.queues.get(queue.name) for queue in pool.spec.queues]
    readable = [depth for depth in depths if depth is not None and depth.problem is None]
    own = _slots_by_queue(ours)
    waiting = [depth.oldest_pending_at for depth in readable if not depth.paused and depth.oldest_pending_at]
    live = [each.info for each in ours if each.info.status == _ACTIVE and each.info.host in staying]
    return Work(
        read_at=read_at,
        finished={depth.name: depth.processed_today for depth in readable},
        shares={each.name: own.get(each.name, 0.0) / everywhere.slots.get(each.name, 1.0) for each in readable},
        servers=frozenset(info.server_id for info in live),
        replicas=len({info.host for info in live}),
        slots=sum(info.concurrency for info in live),
        waiting_since=min(waiting, default=None),
        settled=settled,
    )


def oldest_task(snapshot: BrokerSnapshot) -> dict[str, datetime]:
    """Of each host that runs a task, when the oldest one began."""
    oldest: dict[str, datetime] = {}
    for server in snapshot.servers:
        for worker in server.workers:
            known = oldest.get(server.info.host)
            oldest[server.info.host] = worker.started_at if known is None else min(known, worker.started_at)
    return oldest


@dataclass(frozen=True, kw_only=True, slots=True)
class _Survey:
    """All servers of a Redis, looked through once a poll and not once for each of its pools."""

    by_host: Mapping[str, Sequence[ServerSnapshot]]
    running: Counter[str]  # tasks by queue
    slots: Mapping[str, float]  # by queue


class _Same:
    """Equal only to one of the very same value: comparing what it holds would take as long as looking through it."""

    __slots__ = ("servers",)

    def __init__(self, servers: Sequence[ServerSnapshot]) -> None:
        self.servers = servers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.servers is other.servers

    def __hash__(self) -> int:
        return id(self.servers)


@lru_cache(maxsize=8)  # a few Brokers' last polls
def _survey(all_of: _Same) -> _Survey:
    by_host: dict[str, list[ServerSnapshot]] = {}
    for server in all_of.servers:
        by_host.setdefault(server.info.host, []).append(server)
    return _Survey(by_host=by_host, running=_running_by_queue(all_of.servers), slots=_slots_by_queue(all_of.servers))


def _running_by_queue(servers: Iterable[ServerSnapshot]) -> Counter[str]:
    return Counter(worker.queue for server in servers for worker in server.workers)


def _slots_by_queue(servers: Iterable[ServerSnapshot]) -> Mapping[str, float]:
    """Slots of the servers that take tasks, each one's split among its queues by their weights."""
    slots: dict[str, float] = {}
    for server in servers:
        info = server.info
        total = sum(info.queues.values())
        if info.status == _ACTIVE and total > 0 and info.concurrency > 0:
            for name, weight in info.queues.items():
                slots[name] = slots.get(name, 0.0) + info.concurrency * weight / total
    return slots


def _can_work(pool: WorkerPool) -> bool:
    return pool.spec.autoscaling is not None or pool.spec.replicas > 0
