"""The names that every dequeue and settlement of a queue needs, encoded once."""

from __future__ import annotations

from functools import lru_cache

from longshore.protocol import keys


class QueueNames:
    """Keys of one queue: each operation's, in its script's order, and what its tasks' and their waiters' begin with."""

    __slots__ = (
        "archive",
        "archive_limits",
        "complete",
        "dequeue",
        "done",
        "requeue",
        "retry",
        "task_prefix",
        "waiting_prefix",
    )

    def __init__(self, queue: str) -> None:
        pending, active, lease = (name(queue).encode() for name in (keys.pending, keys.active, keys.lease))
        self.task_prefix = keys.task_prefix(queue).encode()
        self.waiting_prefix = keys.waiting_prefix(queue).encode()
        self.dequeue = (pending, keys.paused(queue).encode(), active, lease)
        self.done = (active, lease)
        self.complete = (active, lease, keys.completed(queue).encode())
        self.retry = (active, lease, keys.retry(queue).encode())
        self.archive = (active, lease, keys.archived(queue).encode())
        self.archive_limits = keys.archive_limits(queue).encode()
        self.requeue = (active, lease, pending)


@lru_cache(maxsize=1024)
def queue_names(queue: str) -> QueueNames:
    """The names of a queue."""
    return QueueNames(queue)
