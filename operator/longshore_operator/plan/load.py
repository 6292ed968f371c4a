"""What a pool is faced with: tasks that wait for it, tasks it runs, and which of its workers run them.

Knows no Kubernetes object: a worker is a host name, as its heartbeat gives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import lru_cache

from longshore.protocol.snapshots import BrokerSnapshot, ServerSnapshot
from longshore_operator.api.worker_pool import WorkerPool


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The load of one pool, all of one moment."""

    waiting: Fraction  # the pool's share of tasks that are pending or due in unpaused queues
    running: Fraction  # tasks its workers run, those that are about to stop included, plus its share of `unseen`
    # Active tasks of its queues that no heartbeat tells of: just taken (heartbeats lag by seconds), or left behind by a
    # worker that died, which only a running worker can recover. Whole tasks, not a share.
    unseen: int
    grouped: int  # tasks that wait in groups of its unpaused queues, which only a running worker aggregates
    busy: frozenset[str]  # hosts of workers that run at least one task and are meant to stay
    unreadable: tuple[str, ...]  # its queues whose depth is unknown
    problem: str | None  # why, of the first of them

    @property
    def idle(self) -> bool:
        """Nothing waits, runs or is due, for certain."""
        return not (self.waiting or self.running or self.unseen or self.grouped or self.unreadable)


def pool_load(
    pool: WorkerPool,
    sharing: Iterable[WorkerPool],
    snapshot: BrokerSnapshot,
    *,
    staying: Collection[str],
    leaving: Collection[str],
) -> Load:
    """The load of ``pool`` beside the other pools of its queues. ``staying`` and ``leaving`` are hosts of its workers.

    A queue's waiting tasks are split among the pools that serve it by the weights they give it. A pool that cannot have
    a worker takes no share.
    """
    rivals = [other for other in sharing if not other.deleting and _can_work(other)]
    hosts = {*staying, *leaving}
    everywhere = _survey(_Same(snapshot.servers))
    ours = [server for host in hosts for server in everywhere.by_host.get(host, ())]
    seen = everywhere.running
    seen_here = _running_by_queue(ours)
    waiting = running = Fraction()
    unseen = grouped = 0
    unreadable = []
    problem = None
    for queue in pool.spec.queues:
        depth = snapshot.queues.get(queue.name)
        if depth is None or depth.problem is not None:
            unreadable.append(queue.name)
            problem = problem or (depth.problem if depth else None)
            running += seen_here[queue.name]
            continue
        total = queue.weight + sum(
            each.weight for other in rivals for each in other.spec.queues if each.name == queue.name
        )
        share = Fraction(queue.weight, total)
        if not depth.paused:
            waiting += (depth.pending + depth.due) * share
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
    return _Survey(by_host=by_host, running=_running_by_queue(all_of.servers))


def _running_by_queue(servers: Iterable[ServerSnapshot]) -> Counter[str]:
    return Counter(worker.queue for server in servers for worker in server.workers)


def _can_work(pool: WorkerPool) -> bool:
    return pool.spec.autoscaling is not None or pool.spec.replicas > 0
