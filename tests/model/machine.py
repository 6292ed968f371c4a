"""Drives a real Redis and the model with the same operations, in any order, and compares the whole key space each time.

Few queues, ids, payloads and groups, so that they meet all the time: an id in two queues, a lock two tasks want, a set
two aggregators finish, a task that is run while it is archived. The clock is the machine's own. What Redis itself does
by its own clock (a lock's end) is a rule of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from longshore import Inspector, LongshoreError, RedisSettings
from longshore.broker.base import Archive, Complete, Done, NewTask, Outcome, Requeue, Retry
from longshore.broker.groups_base import SetName
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import InvalidData
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.protocol.states import TaskState
from longshore.testing import new_message, read_keyspace
from model.model import Model
from model.processes import Processes

T = TypeVar("T")

Draw = Callable[..., Any]
"""Draws from a strategy."""

_SECOND = timedelta(seconds=1)
_LEASE = timedelta(seconds=30)
_QUEUES = ("a", "b")
_IDS = ("x", "y", "z")
_GROUPS = ("g", "h:i")
_PAYLOADS = (b"1", b"2")

queues = st.sampled_from(_QUEUES)
ids = st.sampled_from(_IDS)
several_ids = st.lists(ids, min_size=1, max_size=3, unique=True)
groups = st.sampled_from(_GROUPS)
payloads = st.sampled_from(_PAYLOADS)
spans = st.sampled_from((1, 30, 120, 3600)).map(lambda seconds: seconds * _SECOND)
kinds = st.sampled_from((Done, Complete, Retry, Archive, Requeue))
outcomes = st.lists(st.tuples(ids, kinds), min_size=1, max_size=3, unique_by=lambda pair: pair[0])
states = st.sampled_from([state for state in TaskState if state is not TaskState.ACTIVE])

# How often each happens. What empties a queue is rare, or nothing would ever meet.
_SHARES = {
    "time_passes": 6,
    "a_lock_runs_out": 1,
    "a_lease_is_lost": 1,
    "enqueue_some": 14,
    "dequeue": 8,
    "settle": 6,
    "settle_what_is_active_and_take_more": 6,
    "extend_leases": 2,
    "write_result": 2,
    "write_progress": 1,
    "forward": 5,
    "recover": 3,
    "delete_expired_completed": 2,
    "publish_server": 1,
    "clear_server": 1,
    "publish_scheduler": 1,
    "clear_scheduler": 1,
    "record_enqueue_events": 1,
    "look_at_processes": 1,
    "list_groups": 2,
    "take": 8,
    "read_again": 1,
    "finish": 5,
    "give_a_set_back": 1,
    "reclaim": 3,
    "hold": 1,
    "archive_members": 1,
    "pause": 1,
    "unpause": 3,
    "run_task": 3,
    "archive_task": 3,
    "delete_task": 3,
    "update_payload": 5,
    "act_on_all": 4,
    "purge": 1,
    "remove_queue": 2,
    "look": 2,
}
_OPERATIONS = st.sampled_from([operation for operation, share in _SHARES.items() for _ in range(share)])


@st.composite
def new_tasks(draw: st.DrawFn) -> tuple[TaskMessage, timedelta | None]:
    """A message, and in how long it is due."""
    queue, payload = draw(queues), draw(payloads)
    message = new_message(
        "t",
        id=draw(ids),
        queue=queue,
        payload=payload,
        unique_key=keys.unique(queue, "t", payload) if draw(st.booleans()) else None,
        group=draw(st.none() | groups),
        retention=draw(st.sampled_from((None, 60 * _SECOND))),
        max_retry=draw(st.sampled_from((0, 25))),
    )
    return message, draw(st.none() | spans)


class Machine(Processes, RuleBasedStateMachine):
    """One run of it is one example of hypothesis'. Operations draw their arguments knowing how things stand."""

    url: str  # of the Redis that is its alone; set by the test

    def __init__(self) -> None:
        super().__init__()
        self.client = redis.Redis.from_url(self.url)
        self.client.flushdb()
        self.loop = asyncio.Runner()
        # ahead of Redis' own clock, which ends keys, and at the same time of any day, so that a run can be repeated
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        self.now = tomorrow.replace(hour=12, minute=0, second=0, microsecond=123456)
        self.broker = self.run(_connected(self.url))
        self.inspector = Inspector(broker=self.broker, clock=lambda: self.now)
        self.model = Model(_QUEUES)
        self.sets: list[SetName] = []  # that were ever made
        self.read: dict[SetName, tuple[TaskMessage, ...]] = {}  # what an aggregator saw in them, maybe long ago
        self.processes: dict[str, Any] = {}

    def teardown(self) -> None:
        self.run(self.broker.aclose())
        self.loop.close()
        self.client.close()

    def run(self, operation: Awaitable[T]) -> T:
        async def carried_out() -> T:
            return await operation

        return self.loop.run(carried_out())

    def answer(self, operation: Awaitable[Any]) -> Any:
        """What the operation gives, or the type of the error it raises."""
        try:
            return self.run(operation)
        except LongshoreError as error:
            return type(error)

    def same(self, real: Any, expected: Any) -> None:
        """Compare an answer, and everything that lies in Redis."""
        assert real == expected
        self.model.check()
        assert read_keyspace(self.client) == self.model.keyspace() | self.processes

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        getattr(self, data.draw(_OPERATIONS, label="operation"))(data.draw)

    def some_task(self, draw: Draw, *states: str) -> tuple[str, str]:
        """Queue and id: mostly of a task that is there, in one of the states if any are given."""
        there = [
            (queue.name, task_id)
            for queue in self.model.queues.values()
            for task_id, task in queue.tasks.items()
            if not states or task.state in states
        ]
        somewhere = [(queue, task_id) for queue in _QUEUES for task_id in _IDS]
        return draw(st.sampled_from(there if there and draw(st.integers(0, 5)) else somewhere))

    def some_set(self, draw: Draw) -> SetName:
        """Mostly one that is there."""
        there = [name for name in self.sets if (name.group, name.set_id) in self.model.queues[name.queue].set_ends]
        return draw(st.sampled_from(there if there and draw(st.integers(0, 5)) else self.sets))

    # -- time and trouble --------------------------------------------------------------------------------------------

    def time_passes(self, draw: Draw) -> None:
        span = draw(st.sampled_from((1, 30, 120, 3600, 86400))) * _SECOND
        if draw(st.integers(0, 9)) == 0:
            span = timedelta(days=91)
        self.now += span
        # Redis would by its own clock, which stands still beside the machine's.
        for key in self.model.days_are_over(self.now):
            self.client.delete(key)

    def a_lock_runs_out(self, draw: Draw) -> None:
        if not self.model.locks:
            return
        lock = draw(st.sampled_from(sorted(self.model.locks)))
        self.client.delete(lock)
        self.model.run_out(lock)

    def a_lease_is_lost(self, draw: Draw) -> None:
        queue, task_id = self.some_task(draw, "active")
        self.client.zrem(keys.lease(queue), task_id)
        self.model.lose_lease(queue, task_id)

    # -- producers ---------------------------------------------------------------------------------------------------

    @initialize(tasks=st.lists(new_tasks(), min_size=3, max_size=8))
    def some_tasks(self, tasks: list[tuple[TaskMessage, timedelta | None]]) -> None:
        self.enqueue(tasks)

    def enqueue_some(self, draw: Draw) -> None:
        tasks = draw(st.lists(new_tasks(), min_size=1, max_size=4))
        self.enqueue(tasks)

    def enqueue(self, tasks: list[tuple[TaskMessage, timedelta | None]]) -> None:
        new = [self.new_task(message, delay) for message, delay in tasks]
        self.same(self.run(self.broker.enqueue(new, now=self.now)), self.model.enqueue(new, self.now))

    def new_task(self, message: TaskMessage, delay: timedelta | None) -> NewTask:
        unique_for = timedelta(hours=1) if message.unique_key else None
        return NewTask(message=message, process_at=delay and self.now + delay, unique_for=unique_for)

    # -- servers -----------------------------------------------------------------------------------------------------

    def dequeue(self, draw: Draw) -> None:
        queue = draw(queues)
        limit = draw(st.integers(1, 3))
        taken = self.run(self.broker.dequeue(queue, limit=limit, now=self.now, lease=_LEASE))
        assert taken.unreadable == ()
        ids = [leased.message.id for leased in taken.leased]
        self.same("paused" if taken.paused else ids, self.model.dequeue(queue, limit, self.now, _LEASE))
        for leased in taken.leased:
            assert leased.message == self.model.queues[queue].tasks[leased.message.id].message

    def settle(self, draw: Draw) -> None:
        queue, task_id = self.some_task(draw, "active")
        outcomes = [(task_id, draw(kinds))]
        outcomes += [(other, draw(kinds)) for other in draw(several_ids) if other != task_id]
        wanted = [self.outcome(queue, task_id, kind) for task_id, kind in outcomes]
        self.same(self.run(self.broker.settle(queue, wanted, now=self.now)), self.model.settle(queue, wanted, self.now))

    def settle_what_is_active_and_take_more(self, draw: Draw) -> None:
        """As a server does it: in one round trip."""
        busy = [queue.name for queue in self.model.queues.values() if queue.active]
        queue, kind, limit = draw(st.sampled_from(busy or _QUEUES)), draw(kinds), draw(st.integers(1, 3))
        wanted = [self.outcome(queue, task_id, kind) for task_id in self.model.queues[queue].active]
        exchange = self.run(self.broker.settle_and_dequeue(queue, wanted, limit=limit, now=self.now, lease=_LEASE))
        assert exchange.settled == self.model.settle(queue, wanted, self.now)
        assert not isinstance(exchange.taken, InvalidData)
        ids = [leased.message.id for leased in exchange.taken.leased]
        self.same("paused" if exchange.taken.paused else ids, self.model.dequeue(queue, limit, self.now, _LEASE))

    def outcome(self, queue: str, task_id: str, kind: type[Outcome]) -> Outcome:
        """An end of an attempt, by a server that may have lost the task long ago."""
        task = self.model.queues[queue].tasks.get(task_id)
        message = new_message("t", id=task_id, queue=queue) if task is None else task.message
        failed = replace(message, error="boom", last_failed_at=self.now.replace(microsecond=0))
        if kind is Complete:
            retention = message.retention or _SECOND
            completed = replace(message, completed_at=self.now.replace(microsecond=0), retention=retention)
            return Complete(message=completed, result=b"r" if message.payload == b"1" else None)
        if kind is Retry:
            counts = message.payload == b"1"
            failed = replace(failed, retried=message.retried + counts)
            return Retry(message=failed, retry_at=self.now + 15 * _SECOND, is_failure=counts)
        if kind is Archive:
            return Archive(message=failed)
        return Done(message=message) if kind is Done else Requeue(message=message)

    def extend_leases(self, draw: Draw) -> None:
        queue, task_id = self.some_task(draw, "active")
        task_ids = [task_id, draw(ids)]
        self.run(self.broker.extend_leases(queue, task_ids, now=self.now, lease=_LEASE))
        self.same(None, self.model.extend_leases(queue, task_ids, codec.unix_seconds(self.now + _LEASE)))

    def write_result(self, draw: Draw) -> None:
        queue, task_id = self.some_task(draw, "active")
        result = draw(st.sampled_from((b"", b"\x00result")))
        self.same(
            self.run(self.broker.write_result(queue, task_id, result)), self.model.write_result(queue, task_id, result)
        )

    def write_progress(self, draw: Draw) -> None:
        queue, task_id = self.some_task(draw, "active")
        progress = draw(st.sampled_from((b"1", b'{"of":7}')))
        self.same(
            self.run(self.broker.write_progress(queue, task_id, progress)),
            self.model.write_progress(queue, task_id, progress),
        )

    def forward(self, draw: Draw) -> None:
        queue = draw(queues)
        self.same(self.run(self.broker.forward(queue, now=self.now)), self.model.forward(queue, self.now))

    def recover(self, draw: Draw) -> None:
        queue = draw(queues)
        found = self.run(self.broker.lease_expired(queue, cutoff=self.now - _LEASE))
        self.same([message.id for message in found], self.model.lease_expired(queue, self.now - _LEASE))
        kind = [Retry if message.retried < message.max_retry else Archive for message in found]
        wanted = [self.outcome(queue, message.id, end) for message, end in zip(found, kind, strict=True)]
        self.same(self.run(self.broker.settle(queue, wanted, now=self.now)), self.model.settle(queue, wanted, self.now))

    def delete_expired_completed(self, draw: Draw) -> None:
        queue = draw(queues)
        self.same(
            self.run(self.broker.delete_expired_completed(queue, now=self.now, limit=100)),
            self.model.delete_expired_completed(queue, self.now),
        )

    # -- aggregators -------------------------------------------------------------------------------------------------

    def list_groups(self, draw: Draw) -> None:
        queue = draw(queues)
        page = self.run(self.broker.groups.list_groups(queue, cursor=None, now=self.now))
        expected = [self.model.group_state(queue, group) for group in _GROUPS]
        found = [
            (
                state.name,
                state.size,
                state.first_id.decode(),
                codec.unix_seconds(state.first_joined_at),
                codec.unix_seconds(state.last_joined_at),
            )
            for state in page.groups
        ]
        assert {(name.group, name.set_id) for name in page.expired} == set(self.model.expired_sets(queue, self.now))
        assert page.strangers == ()
        self.same(sorted(found), sorted(state for state in expected if state is not None))

    def take(self, draw: Draw) -> None:
        queue, group, limit = draw(queues), draw(groups), draw(st.integers(1, 3))
        waiting = [(queue.name, group) for queue in self.model.queues.values() for group in queue.groups]
        if waiting and draw(st.integers(0, 4)):
            queue, group = draw(st.sampled_from(waiting))
        stale = draw(st.integers(0, 4)) == 0
        state = self.model.group_state(queue, group)
        first_id = "z" if state is None or stale else state[2]
        name = SetName(queue=queue, group=group, set_id=f"set{len(self.sets)}")
        until = self.now + 120 * _SECOND
        taken = self.run(self.broker.groups.take(name, first_id=first_id.encode(), limit=limit, until=until))
        self.same(taken.size, self.model.take(name, first_id, limit, until))
        if taken.size:
            self.sets.append(name)
            self.read_set(name)

    def read_again(self, draw: Draw) -> None:
        if not self.sets:
            return
        self.read_set(self.some_set(draw))

    def read_set(self, name: SetName) -> None:
        content = self.run(self.broker.groups.read(name, now=self.now))
        assert content.unreadable == ()
        members = self.model.queues[name.queue].sets.get((name.group, name.set_id), {})
        found = [(member.message.id, codec.unix_seconds(member.joined_at)) for member in content.members]
        self.same(found, sorted(members.items(), key=lambda member: (member[1], member[0])))
        self.read[name] = tuple(member.message for member in content.members)

    def finish(self, draw: Draw) -> None:
        if not self.sets:
            return
        name, merged = self.some_set(draw), draw(st.none() | new_tasks())
        members = self.read[name]
        task = None
        if merged is not None:
            message, delay = merged
            unique_key = message.unique_key and keys.unique(name.queue, "t", message.payload)
            task = self.new_task(replace(message, queue=name.queue, unique_key=unique_key), delay)
        # it may be another set of the same size by now, never one of the same name
        self.same(
            self.run(self.broker.groups.finish(name, members, task, now=self.now)),
            self.model.finish(name, members, task, self.now),
        )

    def give_a_set_back(self, draw: Draw) -> None:
        if not self.sets:
            return
        name = self.some_set(draw)
        self.run(self.broker.groups.give_back(name))
        self.model.give_back(name)
        self.same(None, None)

    def reclaim(self, draw: Draw) -> None:
        if not self.sets:
            return
        name = self.some_set(draw)
        self.same(self.run(self.broker.groups.reclaim(name, now=self.now)), self.model.give_back(name, self.now))

    def hold(self, draw: Draw) -> None:
        if not self.sets:
            return
        name, span = self.some_set(draw), draw(spans)
        self.run(self.broker.groups.hold(name, until=self.now + span))
        self.same(None, self.model.hold(name, self.now + span))

    def archive_members(self, draw: Draw) -> None:
        if not self.sets:
            return
        name = self.some_set(draw)
        some = [replace(message, error="boom") for message in self.read[name][:2]]
        self.run(self.broker.groups.archive(name, some, now=self.now))
        self.same(None, self.model.archive_grouped(name, some, self.now))

    # -- the inspector -----------------------------------------------------------------------------------------------

    def pause(self, draw: Draw) -> None:
        queue = draw(queues)
        self.same(self.run(self.inspector.pause(queue)), self.model.pause(queue, self.now))

    def unpause(self, draw: Draw) -> None:
        queue = draw(queues)
        self.same(self.run(self.inspector.unpause(queue)), self.model.unpause(queue))

    def run_task(self, draw: Draw) -> None:
        queue, task_id = self.some_task(draw)
        self.same(self.answer(self.inspector.run_task(queue, task_id)), self.model.run_task(queue, task_id, self.now))

    def archive_task(self, draw: Draw) -> None:
        queue, task_id = self.some_task(draw)
        self.same(
            self.answer(self.inspector.archive_task(queue, task_id)), self.model.archive_task(queue, task_id, self.now)
        )

    def delete_task(self, draw: Draw) -> None:
        queue, task_id = self.some_task(draw)
        self.same(self.answer(self.inspector.delete_task(queue, task_id)), self.model.delete_task(queue, task_id))

    def update_payload(self, draw: Draw) -> None:
        queue, task_id = self.some_task(draw, "pending", "scheduled", "retry", "archived", "aggregating")
        payload = draw(payloads)
        self.same(
            self.answer(self.inspector.update_payload(queue, task_id, payload)),
            self.model.update_payload(queue, task_id, payload),
        )

    def act_on_all(self, draw: Draw) -> None:
        queue, state, group = draw(queues), draw(states), draw(st.none() | groups)
        act = draw(st.sampled_from(("run", "archive", "delete")))
        if (act, state) in (("run", TaskState.PENDING), ("archive", TaskState.ARCHIVED)):
            return  # refused; told in tests/inspector
        group = group if state is TaskState.AGGREGATING else None
        method = getattr(self.inspector, f"{act}_all")
        self.same(
            self.answer(method(queue, state, group=group)), self.model.act_on_all(act, queue, state, group, self.now)
        )

    def purge(self, draw: Draw) -> None:
        queue = draw(queues)
        self.same(self.answer(self.inspector.purge(queue)), self.model.purge(queue, self.now))

    def remove_queue(self, draw: Draw) -> None:
        queue, force = draw(queues), draw(st.booleans())
        self.same(
            self.answer(self.inspector.remove_queue(queue, force=force)),
            self.model.remove_queue(queue, force, self.now),
        )

    def look(self, draw: Draw) -> None:
        """Every read of the inspector's; none changes anything."""
        queue = draw(queues)
        model = self.model.queues[queue]
        if queue in self.model.registered:
            self.look_at_all(queue)
        found = {task.queue: task.state.value for task in self.run(self.inspector.find_task("x"))}
        assert found == {
            name: self.model.queues[name].tasks["x"].state
            for name in self.model.registered
            if "x" in self.model.queues[name].tasks
        }
        for task_id, task in model.tasks.items():
            info = self.run(self.inspector.task(queue, task_id))
            assert (info.message, info.state.value, info.result) == (task.message, task.state, task.result)
        self.same(None, None)

    def look_at_all(self, queue: str) -> None:
        model = self.model.queues[queue]
        depth = self.run(self.inspector.queue(queue))
        states: Sequence[str] = [task.state for task in model.tasks.values()]
        for state in ("pending", "active", "scheduled", "retry", "archived", "completed"):
            assert getattr(depth, state) == states.count(state)
            listed = self.run(self.inspector.list_tasks(queue, state))
            expected = model.pending if state == "pending" else model.active if state == "active" else None
            if expected is None:
                expected = sorted(model.timed[state], key=lambda task_id: (model.timed[state][task_id], task_id))
            assert [task.id for task in listed] == expected
        sizes = {name: len(members) for name, members in model.groups.items()}
        assert depth.aggregating == sum(sizes.values())
        assert {group.name: group.size for group in self.run(self.inspector.groups(queue))} == sizes
        assert depth.paused == (model.paused_s is not None)
        day = self.now.date()
        assert depth.processed_today == model.counters.get(keys.processed(queue, day), 0)
        assert depth.failed_today == model.counters.get(keys.failed(queue, day), 0)
        assert depth.processed_total == model.counters.get(keys.processed_total(queue), 0)
        assert depth.failed_total == model.counters.get(keys.failed_total(queue), 0)
        assert (self.run(self.inspector.memory_usage(queue)) > 0) >= bool(model.tasks.keys() - _in_sets(model.sets))


def _in_sets(sets: dict[tuple[str, str], dict[str, int]]) -> set[str]:
    return {task_id for members in sets.values() for task_id in members}


async def _connected(url: str) -> RedisBroker:
    return RedisBroker.connect(RedisSettings(url=url))
