"""A queue's content as the key space it is in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.testing.keyspace import KeySpace

Timed = Iterable[tuple[TaskMessage, int]]
"""Messages with a time in Unix seconds: the end of the lease, when due, when archived, when retention ends."""


def queue_content(
    queue: str = "default",
    *,
    pending: Iterable[TaskMessage] = (),
    pending_since_ns: int | None = None,
    active: Timed = (),
    scheduled: Timed = (),
    retry: Timed = (),
    archived: Timed = (),
    completed: Timed = (),
    groups: Mapping[str, Timed] | None = None,
    locks: bool = False,
) -> KeySpace:
    """The keys of a queue that holds these tasks, in the shape of read_keyspace; nothing for what is empty.

    ``pending`` and ``active``: the oldest first. ``pending_since_ns`` is recorded for every pending task.
    ``locks``: tasks with a unique key hold their lock.
    """
    content: KeySpace = {}

    def add(message: TaskMessage, state: str, **fields: bytes) -> bytes:
        task: dict[bytes, bytes] = {b"msg": codec.encode_task(message), b"state": state.encode()}
        if message.unique_key:
            task[b"unique_key"] = message.unique_key.encode()
            if locks:
                content[message.unique_key] = message.id.encode()
        task.update({name.encode(): value for name, value in fields.items()})
        content[keys.task(queue, message.id)] = task
        return message.id.encode()

    since: dict[str, bytes] = {} if pending_since_ns is None else {"pending_since": str(pending_since_ns).encode()}
    containers: dict[str, Any] = {keys.pending(queue): [add(message, "pending", **since) for message in pending][::-1]}
    leases = {add(message, "active"): float(time) for message, time in active}
    containers[keys.active(queue)] = list(leases)[::-1]
    containers[keys.lease(queue)] = leases
    for state, name, tasks in (
        ("scheduled", keys.scheduled, scheduled),
        ("retry", keys.retry, retry),
        ("archived", keys.archived, archived),
        ("completed", keys.completed, completed),
    ):
        containers[name(queue)] = {add(message, state): float(time) for message, time in tasks}
    for group, tasks in (groups or {}).items():
        containers[keys.group(queue, group)] = {
            add(message, "aggregating", group=group.encode()): float(time) for message, time in tasks
        }
    containers[keys.groups(queue)] = {group.encode() for group in groups or {}}
    return content | {key: value for key, value in containers.items() if value}
