"""What every operation makes of the key space, said in plain Python: the specification that the scripts are held to.

No Redis and no clock in here. An operation changes the model and says what the real one must answer: a value, or the
type of the error it raises. Unlike Redis, the model knows no batches and no limits of a call: the machine that drives
it keeps far below them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from longshore import DuplicateTask, QueueNotEmpty, QueueNotFound, TaskNotFound, WrongState
from longshore.broker.base import Archive, Complete, Done, EnqueueResult, NewTask, Outcome, Requeue, Retry
from longshore.broker.groups_base import FinishResult, SetName
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.protocol.states import TaskState
from longshore.testing import KeySpace

_SECOND = timedelta(seconds=1)
_DAY = re.compile(r"\d{4}-\d\d-\d\d$")
ARCHIVE_AGE_S = 90 * 86400


@dataclass
class Stored:
    """A task's hash."""

    message: TaskMessage
    state: str
    since_ns: int | None = None  # pending_since
    lock: str | None = None  # unique_key
    group: str | None = None
    result: bytes | None = None
    progress: bytes | None = None

    def fields(self) -> dict[bytes, bytes]:
        """As it lies in Redis."""
        values = {
            "msg": codec.encode_task(self.message),
            "state": self.state.encode(),
            "pending_since": None if self.since_ns is None else str(self.since_ns).encode(),
            "unique_key": None if self.lock is None else self.lock.encode(),
            "group": None if self.group is None else self.group.encode(),
            "result": self.result,
            "progress": self.progress,
        }
        return {name.encode(): value for name, value in values.items() if value is not None}


@dataclass
class Queue:
    """One queue. Lists have first what was first there; sets with times are ids to Unix seconds."""

    name: str
    tasks: dict[str, Stored] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    active: list[str] = field(default_factory=list)
    lease: dict[str, int] = field(default_factory=dict)
    timed: dict[str, dict[str, int]] = field(
        default_factory=lambda: {state: {} for state in ("scheduled", "retry", "archived", "completed")}
    )
    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    sets: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)  # (group, set id) to its members
    set_ends: dict[tuple[str, str], int] = field(default_factory=dict)
    paused_s: int | None = None
    counters: dict[str, int] = field(default_factory=dict)  # key to count

    def count(self, now: datetime, *, processed: int, failed: int) -> None:
        """Count attempts."""
        day = now.astimezone(UTC).date()
        for number, total, daily in (
            (processed, keys.processed_total(self.name), keys.processed(self.name, day)),
            (failed, keys.failed_total(self.name), keys.failed(self.name, day)),
        ):
            if number:
                for key in (total, daily):
                    self.counters[key] = self.counters.get(key, 0) + number

    def days_are_over(self, now: datetime) -> list[str]:
        """Forget the counters of days long gone; their keys."""
        today = now.astimezone(UTC).date()
        over = [key for key in self.counters if _DAY.search(key) and _day(key) < today - timedelta(days=90)]
        for key in over:
            del self.counters[key]
        return over

    def join(self, group: str, task_id: str, at_s: int) -> None:
        """Let a task wait in a group."""
        self.groups.setdefault(group, {})[task_id] = at_s

    def leave(self, group: str, task_id: str) -> None:
        """Take a task out of a group. An empty one is not listed."""
        del self.groups[group][task_id]
        if not self.groups[group]:
            del self.groups[group]

    def waits_in(self, task_id: str) -> dict[str, int] | list[str] | None:
        """The container that the task's state says; None when the task is not there."""
        task = self.tasks[task_id]
        if task.state == "aggregating":
            members = self.groups.get(task.group or "", {})
            return members if task_id in members else None
        if task.state in ("pending", "active"):
            return self.pending if task.state == "pending" else self.active
        return self.timed[task.state]


def _day(key: str) -> date:
    found = _DAY.search(key)
    assert found is not None
    return date.fromisoformat(found[0])


def in_order(times: dict[str, int]) -> list[str]:
    """Ids as a sorted set has them."""
    return sorted(times, key=lambda task_id: (times[task_id], task_id))


class Model:
    """Every queue, and who holds which lock."""

    def __init__(self, queues: Iterable[str]) -> None:
        self.queues = {name: Queue(name) for name in queues}
        self.locks: dict[str, str] = {}
        self.registered: set[str] = set()

    # -- producers ---------------------------------------------------------------------------------------------------

    def enqueue(self, tasks: Sequence[NewTask], now: datetime) -> list[EnqueueResult]:
        results = []
        for task in tasks:
            self.registered.add(task.message.queue)
            results.append(self._create(task, now))
        return results

    def _create(self, task: NewTask, now: datetime) -> EnqueueResult:
        message = task.message
        queue = self.queues[message.queue]
        if message.unique_key in self.locks:
            return EnqueueResult.DUPLICATE
        if message.id in queue.tasks:
            return EnqueueResult.ID_CONFLICT
        self._store(task, now)
        return EnqueueResult.CREATED

    def _store(self, task: NewTask, now: datetime) -> None:
        message = task.message
        queue = self.queues[message.queue]
        if message.unique_key:
            self.locks[message.unique_key] = message.id
        stored = Stored(message, "pending", lock=message.unique_key, group=message.group)
        queue.tasks[message.id] = stored
        if task.process_at is not None and task.process_at > now:
            stored.state = "scheduled"
            queue.timed["scheduled"][message.id] = codec.unix_seconds(task.process_at)
        elif message.group:
            stored.state = "aggregating"
            queue.join(message.group, message.id, codec.unix_seconds(now))
        else:
            stored.since_ns = codec.unix_nanoseconds(now)
            queue.pending.append(message.id)

    def days_are_over(self, now: datetime) -> list[str]:
        """Daily counters have a lifetime of 90 days; the keys of those that are over."""
        return [key for queue in self.queues.values() for key in queue.days_are_over(now)]

    def run_out(self, lock: str) -> None:
        """A lock's lifetime is over."""
        del self.locks[lock]

    # -- servers -----------------------------------------------------------------------------------------------------

    def dequeue(self, name: str, limit: int, now: datetime, lease: timedelta) -> list[str] | str:
        queue = self.queues[name]
        if queue.paused_s is not None:
            return "paused"
        taken, queue.pending = queue.pending[:limit], queue.pending[limit:]
        for task_id in taken:
            task = queue.tasks[task_id]
            task.state, task.since_ns, task.group = "active", None, None
            queue.active.append(task_id)
            queue.lease[task_id] = codec.unix_seconds(now + lease)
        return taken

    def lose_lease(self, name: str, task_id: str) -> None:
        """What trouble with a Redis may leave: an active task without a lease."""
        self.queues[name].lease.pop(task_id, None)

    def settle(self, name: str, outcomes: Sequence[Outcome], now: datetime) -> list[bool]:
        queue = self.queues[name]
        requeued = []
        results = []
        failed = processed = 0
        archived = False
        for outcome in outcomes:
            task_id = outcome.message.id
            results.append(task_id in queue.active)
            if task_id not in queue.active:
                continue
            queue.active.remove(task_id)
            queue.lease.pop(task_id, None)
            task = queue.tasks[task_id]
            if not isinstance(outcome, Complete):
                task.result = task.progress = None  # they were this attempt's
            match outcome:
                case Done(message=message):
                    del queue.tasks[task_id]
                    self._unlock(message.unique_key, task_id)
                    processed += 1
                case Complete(message=message, result=result):
                    assert message.completed_at is not None
                    assert message.retention is not None
                    task.message, task.state = message, "completed"
                    task.result = task.result if result is None else result
                    ends_s = codec.unix_seconds(message.completed_at) + message.retention // _SECOND
                    queue.timed["completed"][task_id] = ends_s
                    self._unlock(message.unique_key, task_id)
                    processed += 1
                case Retry(message=message, retry_at=retry_at, is_failure=is_failure):
                    task.message, task.state = message, "retry"
                    queue.timed["retry"][task_id] = codec.unix_seconds(retry_at)
                    processed, failed = processed + is_failure, failed + is_failure
                case Archive(message=message):
                    task.message, task.state = message, "archived"
                    queue.timed["archived"][task_id] = codec.unix_seconds(now)
                    processed, failed, archived = processed + 1, failed + 1, True
                case Requeue():
                    task.state, task.since_ns = "pending", codec.unix_nanoseconds(now)
                    requeued.append(task_id)
        queue.pending = requeued + queue.pending
        queue.count(now, processed=processed, failed=failed)
        if archived:
            self._trim(queue, now)
        return results

    def extend_leases(self, name: str, task_ids: Sequence[str], until_s: int) -> None:
        queue = self.queues[name]
        queue.lease.update({task_id: until_s for task_id in task_ids if task_id in queue.lease})

    def write_result(self, name: str, task_id: str, result: bytes) -> bool:
        task = self.queues[name].tasks.get(task_id)
        if task is None or task.state != "active":
            return False
        task.result = result
        return True

    def write_progress(self, name: str, task_id: str, progress: bytes) -> bool:
        task = self.queues[name].tasks.get(task_id)
        if task is None or task.state != "active":
            return False
        task.progress = progress
        return True

    def forward(self, name: str, now: datetime) -> int:
        queue = self.queues[name]
        now_s = codec.unix_seconds(now)
        moved = 0
        for state in ("scheduled", "retry"):
            for task_id in in_order(queue.timed[state]):
                if queue.timed[state][task_id] > now_s:
                    continue
                del queue.timed[state][task_id]
                moved += 1
                task = queue.tasks[task_id]
                if state == "scheduled" and task.group:
                    task.state = "aggregating"
                    queue.join(task.group, task_id, now_s)
                else:
                    task.state, task.since_ns, task.group = "pending", codec.unix_nanoseconds(now), None
                    queue.pending.append(task_id)
        return moved

    def lease_expired(self, name: str, cutoff: datetime) -> list[str]:
        queue = self.queues[name]
        expired = [i for i in in_order(queue.lease) if queue.lease[i] <= codec.unix_seconds(cutoff)]
        return expired + [i for i in reversed(queue.active) if i not in queue.lease]

    def delete_expired_completed(self, name: str, now: datetime) -> int:
        queue = self.queues[name]
        completed = queue.timed["completed"]
        over = [task_id for task_id, ends_s in completed.items() if ends_s <= codec.unix_seconds(now)]
        for task_id in over:
            del completed[task_id]
            del queue.tasks[task_id]
        return len(over)

    # -- groups ------------------------------------------------------------------------------------------------------

    def group_state(self, name: str, group: str) -> tuple[str, int, str, int, int] | None:
        """Name, size, who joined first, when, and when the last one did."""
        members = self.queues[name].groups.get(group)
        if not members:
            return None
        order = in_order(members)
        return group, len(order), order[0], members[order[0]], members[order[-1]]

    def expired_sets(self, name: str, now: datetime) -> list[tuple[str, str]]:
        ends = self.queues[name].set_ends
        return [key for key, ends_s in ends.items() if ends_s <= codec.unix_seconds(now)]

    def take(self, name: SetName, first_id: str, limit: int, until: datetime) -> int:
        queue = self.queues[name.queue]
        order = in_order(queue.groups.get(name.group, {}))
        if not order or order[0] != first_id:
            return 0
        members = {}
        for task_id in order[:limit]:
            members[task_id] = queue.groups[name.group][task_id]
            queue.leave(name.group, task_id)
        queue.sets[name.group, name.set_id] = members
        queue.set_ends[name.group, name.set_id] = codec.unix_seconds(until)
        return len(members)

    def finish(
        self, name: SetName, members: Sequence[TaskMessage], merged: NewTask | None, now: datetime
    ) -> FinishResult:
        queue = self.queues[name.queue]
        key = name.group, name.set_id
        content = queue.sets.get(key, {})
        if merged is not None:
            self.registered.add(name.queue)
        if key not in queue.set_ends or len(content) != len(members):
            return FinishResult.NOT_OURS
        if merged is not None:
            holder = self.locks.get(merged.message.unique_key or "")
            if holder is not None and holder not in content:
                return FinishResult.DUPLICATE
            if merged.message.id in queue.tasks and merged.message.id not in content:
                return FinishResult.ID_CONFLICT
        for member in members:
            self._unlock(member.unique_key, member.id)
            del queue.tasks[member.id]
        queue.sets.pop(key, None)
        del queue.set_ends[key]
        if merged is not None:
            self._store(merged, now)
        return FinishResult.FINISHED

    def archive_grouped(self, name: SetName, messages: Sequence[TaskMessage], now: datetime) -> None:
        queue = self.queues[name.queue]
        content = queue.sets.get((name.group, name.set_id), {})
        for message in messages:
            if message.id in content:
                del content[message.id]
                task = queue.tasks[message.id]
                task.message, task.state, task.group = message, "archived", None
                queue.timed["archived"][message.id] = codec.unix_seconds(now)

    def hold(self, name: SetName, until: datetime) -> None:
        ends = self.queues[name.queue].set_ends
        if (name.group, name.set_id) in ends:
            ends[name.group, name.set_id] = codec.unix_seconds(until)

    def give_back(self, name: SetName, now: datetime | None = None) -> bool:
        """``now``: only if the set's time is over then."""
        queue = self.queues[name.queue]
        key = name.group, name.set_id
        if key not in queue.set_ends or (now is not None and queue.set_ends[key] > codec.unix_seconds(now)):
            return False
        del queue.set_ends[key]
        members = queue.sets.pop(key, {})
        for task_id, joined_s in members.items():
            queue.join(name.group, task_id, joined_s)
        return bool(members)

    # -- the inspector -----------------------------------------------------------------------------------------------

    def pause(self, name: str, now: datetime) -> bool:
        queue = self.queues[name]
        changed = queue.paused_s is None
        queue.paused_s = codec.unix_seconds(now) if changed else queue.paused_s
        return changed

    def unpause(self, name: str) -> bool:
        changed = self.queues[name].paused_s is not None
        self.queues[name].paused_s = None
        return changed

    def run_task(self, name: str, task_id: str, now: datetime) -> bool | type[Exception]:
        queue = self.queues[name]
        if task_id not in queue.tasks:
            return TaskNotFound
        state = queue.tasks[task_id].state
        if state == "active":
            return WrongState
        if state == "pending":
            return False
        if queue.waits_in(task_id) is None:
            return WrongState  # it is being aggregated
        self._withdraw(queue, task_id)
        self._make_pending(queue, task_id, now)
        return True

    def archive_task(self, name: str, task_id: str, now: datetime) -> bool | type[Exception]:
        queue = self.queues[name]
        if task_id not in queue.tasks:
            return TaskNotFound
        state = queue.tasks[task_id].state
        if state == "active":
            return WrongState
        if state == "archived":
            return False
        if queue.waits_in(task_id) is None:
            return WrongState
        self._withdraw(queue, task_id)
        self._make_archived(queue, task_id, now)
        self._trim(queue, now)
        return True

    def delete_task(self, name: str, task_id: str) -> type[Exception] | None:
        queue = self.queues[name]
        if task_id not in queue.tasks:
            return TaskNotFound
        if queue.tasks[task_id].state == "active":
            return WrongState
        if queue.waits_in(task_id) is None:
            return WrongState
        self._withdraw(queue, task_id)
        self._delete(queue, task_id)
        return None

    def act_on_all(
        self, act: str, name: str, state: TaskState, group: str | None, now: datetime
    ) -> int | type[Exception]:
        """``act``: run, archive or delete. ``group``: None for all."""
        if name not in self.registered:
            return QueueNotFound
        queue = self.queues[name]
        ids = self._ids(queue, state, group)
        for task_id in ids:
            self._withdraw(queue, task_id)
            if act == "run":
                self._make_pending(queue, task_id, now)
            elif act == "archive":
                self._make_archived(queue, task_id, now)
            else:
                self._delete(queue, task_id)
        # a batch that finds nothing is not sent, and one trims
        if ids and act == "archive":
            self._trim(queue, now)
        return len(ids)

    def purge(self, name: str, now: datetime) -> int | type[Exception]:
        if name not in self.registered:
            return QueueNotFound
        total = 0
        for state in TaskState:
            if state is not TaskState.ACTIVE:
                deleted = self.act_on_all("delete", name, state, None, now)
                assert isinstance(deleted, int)
                total += deleted
        return total

    def remove_queue(self, name: str, force: bool, now: datetime) -> int | type[Exception]:
        if name not in self.registered:
            return QueueNotFound
        queue = self.queues[name]
        deleted = 0
        if force:
            if queue.active or any(ends_s > codec.unix_seconds(now) for ends_s in queue.set_ends.values()):
                return QueueNotEmpty
            purged = self.purge(name, now)
            assert isinstance(purged, int)
            deleted = purged
            for members in queue.sets.values():
                for task_id in members:
                    self._delete(queue, task_id)
                    deleted += 1
        elif queue.tasks or queue.set_ends:
            return QueueNotEmpty
        self.queues[name] = Queue(name)
        self.registered.discard(name)
        return deleted

    def update_payload(self, name: str, task_id: str, payload: bytes) -> type[Exception] | None:
        queue = self.queues[name]
        task = queue.tasks.get(task_id)
        if task is None:
            return TaskNotFound
        if task.state in ("active", "completed") or queue.waits_in(task_id) is None:
            return WrongState
        message = replace(task.message, payload=payload)
        if message.unique_key:
            new = keys.unique(name, message.type, payload)
            if new != message.unique_key:
                if new in self.locks:
                    return DuplicateTask
                if self.locks.get(message.unique_key) == task_id:
                    self.locks[new] = self.locks.pop(message.unique_key)
                task.lock = new
                message = replace(message, unique_key=new)
        task.message = message
        return None

    # -- the parts of operations ---------------------------------------------------------------------------------------

    def _ids(self, queue: Queue, state: TaskState, group: str | None) -> list[str]:
        if state is TaskState.PENDING:
            return list(queue.pending)
        if state is TaskState.AGGREGATING:
            groups = sorted(queue.groups) if group is None else [group]
            return [task_id for name in groups for task_id in in_order(queue.groups.get(name, {}))]
        return in_order(queue.timed[state.value])

    def _withdraw(self, queue: Queue, task_id: str) -> None:
        task = queue.tasks[task_id]
        if task.state == "aggregating":
            queue.leave(task.group or "", task_id)
        elif task.state == "pending":
            queue.pending.remove(task_id)
        else:
            del queue.timed[task.state][task_id]

    def _make_pending(self, queue: Queue, task_id: str, now: datetime) -> None:
        task = queue.tasks[task_id]
        task.progress = None
        task.state, task.since_ns, task.group = "pending", codec.unix_nanoseconds(now), None
        queue.pending.append(task_id)

    def _make_archived(self, queue: Queue, task_id: str, now: datetime) -> None:
        task = queue.tasks[task_id]
        task.state, task.since_ns = "archived", None
        queue.timed["archived"][task_id] = codec.unix_seconds(now)

    def _delete(self, queue: Queue, task_id: str) -> None:
        self._unlock(queue.tasks[task_id].lock, task_id)
        del queue.tasks[task_id]

    def _unlock(self, lock: str | None, task_id: str) -> None:
        if lock is not None and self.locks.get(lock) == task_id:
            del self.locks[lock]

    def _trim(self, queue: Queue, now: datetime) -> None:
        archived = queue.timed["archived"]
        for task_id in [i for i, at_s in archived.items() if at_s <= codec.unix_seconds(now) - ARCHIVE_AGE_S]:
            del archived[task_id]
            self._delete(queue, task_id)

    # -- the key space -----------------------------------------------------------------------------------------------

    def keyspace(self) -> KeySpace:
        """Everything, as read_keyspace gives it."""
        content: dict[str, Any] = {lock: task_id.encode() for lock, task_id in self.locks.items()}
        content[keys.QUEUES] = {name.encode() for name in self.registered}
        for queue in self.queues.values():
            name = queue.name
            content |= {keys.task(name, task_id): task.fields() for task_id, task in queue.tasks.items()}
            content[keys.pending(name)] = [task_id.encode() for task_id in reversed(queue.pending)]
            content[keys.active(name)] = [task_id.encode() for task_id in reversed(queue.active)]
            content[keys.lease(name)] = _zset(queue.lease)
            for state, times in queue.timed.items():
                content[f"asynq:{{{name}}}:{state}"] = _zset(times)
            content[keys.groups(name)] = {group.encode() for group in queue.groups}
            for group, times in queue.groups.items():
                content[keys.group(name, group)] = _zset(times)
            for (group, set_id), times in queue.sets.items():
                content[keys.aggregation_set(name, group, set_id)] = _zset(times)
            content[keys.aggregation_sets(name)] = {
                keys.aggregation_set(name, *key).encode(): float(ends_s) for key, ends_s in queue.set_ends.items()
            }
            content[keys.paused(name)] = None if queue.paused_s is None else str(queue.paused_s).encode()
            content |= {key: str(count).encode() for key, count in queue.counters.items()}
        return {key: value for key, value in content.items() if value}

    def check(self) -> None:
        """What must hold at any time, whatever happened: each task in one container, the one its state says."""
        for queue in self.queues.values():
            places: dict[str, list[str]] = {task_id: [] for task_id in queue.tasks}
            containers: list[tuple[str, Iterable[str]]] = [("pending", queue.pending), ("active", queue.active)]
            containers += queue.timed.items()
            containers += [("aggregating", members) for members in queue.groups.values()]
            containers += [("aggregating", members) for members in queue.sets.values()]
            for state, ids in containers:
                for task_id in ids:
                    places[task_id].append(state)
            assert places == {task_id: [task.state] for task_id, task in queue.tasks.items()}
            assert queue.lease.keys() <= set(queue.active)
            assert queue.sets.keys() <= queue.set_ends.keys()
            assert queue.name in self.registered or not queue.tasks


def _zset(times: dict[str, int]) -> dict[bytes, float]:
    return {task_id.encode(): float(at_s) for task_id, at_s in times.items()}
