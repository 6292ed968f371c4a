"""What holds after every fault: of the whole key space, of what handlers did, and of every count."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import redis

from faults.journal import Story
from faults.load import Promise
from faults.work import QUEUES
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.testing import KeySpace, read_keyspace, read_lifetimes

_LISTS_AND_ZSETS = ("pending", "active", "scheduled", "retry", "archived", "completed")
_DAY = re.compile(r"(processed|failed):\d{4}-\d\d-\d\d")


@dataclass
class Queue:
    """A queue's keys, told apart."""

    hashes: dict[str, Mapping[bytes, bytes]] = field(default_factory=dict)
    containers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # id → names, one a membership
    leased: set[str] = field(default_factory=set)
    locks: dict[str, str] = field(default_factory=dict)  # key → the holder's id
    counts: dict[str, int] = field(default_factory=dict)
    days: Counter[str] = field(default_factory=Counter)
    strangers: list[str] = field(default_factory=list)


def violations(
    client: redis.Redis,
    *,
    promises: Mapping[str, Promise],
    acknowledged: Iterable[str],
    story: Story,
    killed: Collection[int] = (),
) -> list[str]:
    """What is wrong with the content of a Redis in which nothing is left to be run; empty when all is well.

    ``killed``: process ids of workers that were killed.
    """
    space = read_keyspace(client)
    lifetimes = read_lifetimes(client)
    queues = {name: _queue(space, name) for name in QUEUES}
    problems = [f"a key nobody owns: {key}" for key in _strangers(space, lifetimes)]
    for name, queue in queues.items():
        problems += [f"a key nobody owns: {key}" for key in queue.strangers]
        problems += _misplaced(name, queue)
    problems += _broken_promises(queues, promises, set(acknowledged), story)
    problems += _unfounded_repetitions(story, killed)
    return problems


def memberships(client: redis.Redis) -> list[str]:
    """What is wrong at any moment, under load too: tasks in two containers, or active and without a lease."""
    problems: list[str] = []
    for name in QUEUES:
        with client.pipeline(transaction=True) as pipe:
            pipe.lrange(keys.pending(name), 0, -1).lrange(keys.active(name), 0, -1)
            for zset in (keys.scheduled(name), keys.retry(name), keys.archived(name), keys.completed(name)):
                pipe.zrange(zset, 0, -1)
            pipe.zrange(keys.lease(name), 0, -1)
            *found, leased = pipe.execute()
        places: dict[bytes, list[str]] = defaultdict(list)
        for place, members in zip(_LISTS_AND_ZSETS, found, strict=True):
            for member in members:
                places[member].append(place)
        problems += [f"{name}:{member!r} is in {where}" for member, where in places.items() if len(where) > 1]
        if set(leased) != set(found[1]):
            problems.append(f"{name}: leases and active tasks differ: {set(leased) ^ set(found[1])}")
    return problems


def _queue(space: KeySpace, name: str) -> Queue:
    queue = Queue()
    prefix = keys.queue_prefix(name)
    for key, value in space.items():
        if not key.startswith(prefix):
            continue
        rest = key.removeprefix(prefix)
        if rest.startswith("t:"):
            queue.hashes[rest[2:]] = value
        elif rest in _LISTS_AND_ZSETS or rest.startswith("g:"):
            for member in value:
                queue.containers[member.decode()].append(rest)
        elif rest == "lease":
            queue.leased = {member.decode() for member in value}
        elif rest.startswith("unique:"):
            queue.locks[key] = value.decode()
        elif rest in ("processed", "failed"):
            queue.counts[rest] = int(value)
        elif match := _DAY.fullmatch(rest):
            queue.days[match[1]] += int(value)
        else:
            queue.strangers.append(key)
    return queue


def _strangers(space: KeySpace, lifetimes: Mapping[str, int]) -> list[str]:
    """Keys outside the queues that would stay for ever, or that nobody knows."""
    strangers = []
    for key in space:
        if key.startswith(tuple(keys.queue_prefix(name) for name in QUEUES)) or key == keys.QUEUES:
            continue
        if key in (keys.SERVERS, keys.WORKERS):  # readers remove what has expired
            continue
        if key not in lifetimes:
            strangers.append(key)
    return strangers


def _misplaced(name: str, queue: Queue) -> list[str]:
    problems = []
    for task_id in queue.hashes.keys() | queue.containers.keys():
        places = queue.containers.get(task_id, [])
        stored = queue.hashes.get(task_id)
        if stored is None:
            problems.append(f"{name}: {task_id} is in {places} without a hash")
            continue
        if len(places) != 1:
            problems.append(
                f"{name}: {task_id} is in {len(places)} containers: {places}; state {stored.get(b'state')!r}"
            )
        if b"msg" not in stored:
            problems.append(f"{name}: the hash of {task_id} is a stub: {dict(stored)}")
            continue
        state = stored[b"state"].decode()
        if places and state != ("aggregating" if places[0].startswith("g:") else places[0]):
            problems.append(f"{name}: {task_id} says {state} and is in {places}")
        message = codec.decode_task(stored[b"msg"])
        if (message.id, message.queue) != (task_id, name):
            problems.append(f"{name}: {task_id} has the message of {message.id} in {message.queue}")
    active = {task_id for task_id, places in queue.containers.items() if "active" in places}
    if active != queue.leased:
        problems.append(f"{name}: leases and active tasks differ: {active ^ queue.leased}")
    for lock, holder in queue.locks.items():
        if holder not in queue.hashes or queue.hashes[holder][b"state"] == b"completed":
            problems.append(f"{lock} is held by {holder}, which is over")
    days = {count: queue.days[count] for count in queue.counts.keys() | queue.days.keys()}
    return problems if queue.counts == days else [*problems, f"{name}: counts are {queue.counts}, of days {days}"]


def _broken_promises(
    queues: Mapping[str, Queue], promises: Mapping[str, Promise], acknowledged: set[str], story: Story
) -> list[str]:
    problems: list[str] = []
    processed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    of_part: dict[str, list[str]] = defaultdict(list)
    for merged_id, parts in story.merged.items():
        for part in parts:
            of_part[part].append(merged_id)
        name = next((name for name, queue in queues.items() if merged_id in queue.hashes), None)
        if name is None:
            problems.append(f"the merged task {merged_id} ran and was not kept")
        else:
            processed[name] += 1
    for promise in promises.values():
        task_id = promise.id
        stored = queues[promise.queue].hashes.get(task_id)
        message = None if stored is None else codec.decode_task(stored[b"msg"])
        begun = {retried for ran_id, retried in story.runs if ran_id == task_id} if task_id in story.ids else set()
        exists = bool(begun) or stored is not None or task_id in of_part
        if not exists:
            if task_id in acknowledged:
                problems.append(f"{task_id} was acknowledged and is lost")
            continue
        if promise.group is not None:
            if len(of_part[task_id]) != 1 or stored is not None:
                problems.append(f"{task_id} of a group was merged into {of_part[task_id]}; its hash: {stored}")
            continue
        processed[promise.queue] += promise.attempts
        failed[promise.queue] += promise.failed
        if begun != set(range(promise.attempts)):
            problems.append(f"{task_id} ran after {sorted(begun)} retries; expected 0 to {promise.attempts - 1}")
        problems += _wrong_end(promise, message, stored)
    for name, queue in queues.items():
        found = queue.counts.get("processed", 0), queue.counts.get("failed", 0)
        if found != (processed[name], failed[name]):
            problems.append(f"{name}: processed and failed are {found}; expected {processed[name], failed[name]}")
        strangers = queue.hashes.keys() - promises.keys() - story.merged.keys()
        if strangers:
            problems.append(f"{name}: tasks that nobody enqueued: {sorted(strangers)}")
    return problems


def _wrong_end(promise: Promise, message: TaskMessage | None, stored: Mapping[bytes, bytes] | None) -> list[str]:
    if message is None or stored is None:
        return [f"{promise.id} is gone"] if promise.kept or promise.archived else []
    wanted = "archived" if promise.archived else "completed"
    state = stored[b"state"].decode()
    if not promise.kept or state != wanted:
        return [f"{promise.id} is {state}; expected {wanted if promise.kept else 'nothing of it'}"]
    if message.retried != promise.retried:
        return [f"{promise.id} was retried {message.retried} times; expected {promise.retried}"]
    return []


def _unfounded_repetitions(story: Story, killed: Collection[int]) -> list[str]:
    """Attempts that were begun again though their server lived, and did not say that their end could not be written."""
    return [
        f"{task_id} was begun {count + 1} times after {retried} retries, and no acknowledgement was lost"
        for (task_id, retried), count in story.repeated.items()
        if task_id not in story.not_counted and story.pids[task_id, retried][0] not in killed
    ]
