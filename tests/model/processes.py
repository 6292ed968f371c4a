"""What processes tell of themselves: servers with what they run, schedulers with their entries and past ticks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import redis
from hypothesis import strategies as st

from longshore import Inspector
from longshore.broker.redis_broker import RedisBroker
from longshore.protocol import codec, keys
from longshore.protocol.messages import SchedulerEnqueueEvent, SchedulerEntry, ServerInfo, WorkerInfo

T = TypeVar("T")

Draw = Callable[..., Any]
"""Draws from a strategy."""

_LEASE = timedelta(seconds=30)
_SHOWN = timedelta(seconds=15)  # how long a scheduler's entries are
_NEVER = datetime.max.replace(tzinfo=UTC)

_server_ids = st.sampled_from(("s1", "s2"))
_running = st.lists(st.sampled_from(("x", "y", "z")), unique=True)
_entries = st.lists(st.sampled_from(("e1", "e2", "e3")), unique=True)


class Processes:
    """The machine's part for them. Nothing of it touches a queue."""

    client: redis.Redis
    broker: RedisBroker
    inspector: Inspector
    now: datetime
    processes: dict[str, Any]  # the keys and what they must hold
    run: Callable[[Awaitable[Any]], Any]
    same: Callable[[Any, Any], None]

    def publish_scheduler(self, draw: Draw) -> None:
        scheduler_id, entries = draw(_server_ids), [self.entry(name) for name in draw(_entries)]
        self.run(self.broker.publish_scheduler(scheduler_id, entries, now=self.now, lifetime=_SHOWN))
        key = keys.scheduler(scheduler_id)
        shown_until = float(codec.unix_seconds(self.now + _SHOWN))
        self.processes[keys.SCHEDULERS] = self.processes.get(keys.SCHEDULERS, {}) | {key.encode(): shown_until}
        self.processes[key] = [codec.encode_scheduler_entry(entry) for entry in entries]
        self.processes = {key: value for key, value in self.processes.items() if value}
        self.client.persist(key)  # Redis' own clock, as with servers
        self.same(None, None)

    def clear_scheduler(self, draw: Draw) -> None:
        scheduler_id = draw(_server_ids)
        self.run(self.broker.clear_scheduler(scheduler_id))
        key = keys.scheduler(scheduler_id)
        self.processes.get(keys.SCHEDULERS, {}).pop(key.encode(), None)
        self.processes.pop(key, None)
        self.processes = {key: value for key, value in self.processes.items() if value}
        self.same(None, None)

    def record_enqueue_events(self, draw: Draw) -> None:
        names = draw(_entries)
        event = SchedulerEnqueueEvent(task_id=draw(st.sampled_from(("x", "y"))), enqueued_at=self.now)
        self.run(self.broker.record_enqueue_events([(name, event) for name in names]))
        for name in names:
            key = keys.scheduler_history(name)
            score = float(codec.unix_seconds(self.now))
            self.processes[key] = self.processes.get(key, {}) | {codec.encode_enqueue_event(event): score}
        self.same(None, None)

    def look_at_processes(self, draw: Draw) -> None:
        """Who has not been heard of for too long is not shown any more; no reader deletes anything."""
        servers = {server.info.server_id for server in self.run(self.inspector.servers())}
        assert servers == {key.split(":")[-1].rstrip("}") for key in self.live(keys.SERVERS)}
        entries = [
            codec.decode_scheduler_entry(data)
            for key in self.live(keys.SCHEDULERS)
            for data in self.processes.get(key, [])
        ]
        entries.sort(key=lambda entry: (entry.next_at or _NEVER, entry.id))
        assert list(self.run(self.inspector.scheduler_entries())) == entries
        for name in ("e1", "e2", "e3"):
            history = self.processes.get(keys.scheduler_history(name), {})
            newest = sorted(history.items(), key=lambda item: (item[1], item[0]), reverse=True)
            expected = [codec.decode_enqueue_event(data) for data, _ in newest]
            assert list(self.run(self.inspector.enqueue_events(name, size=1000))) == expected
        self.same(None, None)

    def live(self, zset: str) -> list[str]:
        now_s = codec.unix_seconds(self.now)
        return [key.decode() for key, until_s in self.processes.get(zset, {}).items() if until_s >= now_s]

    def entry(self, name: str) -> SchedulerEntry:
        return SchedulerEntry(
            id=name,
            spec="@every 1m",
            task_type="t",
            payload=b"",
            next_at=None if name == "e3" else self.now + timedelta(minutes=1),
            previous_at=self.now,
        )

    def publish_server(self, draw: Draw) -> None:
        server_id, running = draw(_server_ids), draw(_running)
        info = self.server(server_id, len(running))
        workers = [self.worker(server_id, task_id) for task_id in running]
        self.run(self.broker.publish_server(info, workers, now=self.now))
        server, of_workers = keys.server("host", 1, server_id), keys.workers("host", 1, server_id)
        expires_at = float(codec.unix_seconds(self.now) + 10)
        for zset, key in ((keys.SERVERS, server), (keys.WORKERS, of_workers)):
            self.processes[zset] = self.processes.get(zset, {}) | {key.encode(): expires_at}
        self.processes[server] = codec.encode_server(info)
        self.processes[of_workers] = {worker.task_id.encode(): codec.encode_worker(worker) for worker in workers}
        self.processes = {key: value for key, value in self.processes.items() if value}
        # Redis would delete them by its own clock, which may be far ahead of the machine's on a slow day
        for key in (server, of_workers):
            self.client.persist(key)
        self.same(None, None)

    def clear_server(self, draw: Draw) -> None:
        server_id = draw(_server_ids)
        self.run(self.broker.clear_server(self.server(server_id, 0)))
        server, of_workers = keys.server("host", 1, server_id), keys.workers("host", 1, server_id)
        for zset, key in ((keys.SERVERS, server), (keys.WORKERS, of_workers)):
            self.processes.get(zset, {}).pop(key.encode(), None)
            self.processes.pop(key, None)
        self.processes = {key: value for key, value in self.processes.items() if value}
        self.same(None, None)

    def server(self, server_id: str, active: int) -> ServerInfo:
        return ServerInfo(
            host="host",
            pid=1,
            server_id=server_id,
            concurrency=10,
            queues={"a": 1},
            strict_priority=False,
            status="active",
            started_at=self.now,
            active_workers=active,
        )

    def worker(self, server_id: str, task_id: str) -> WorkerInfo:
        return WorkerInfo(
            host="host",
            pid=1,
            server_id=server_id,
            task_id=task_id,
            task_type="t",
            payload=b"",
            queue="a",
            started_at=self.now,
            deadline=self.now + _LEASE,
        )
