"""Every Redis key and channel, each built by one named function and nowhere else.

Keys of one queue share the hash tag ``{<queue>}``, so that one script may touch them together in a Redis Cluster.
Those under ``asynq:`` are Asynq's; those under ``longshore:`` are ours, and Go peers ignore them.
"""

from __future__ import annotations

import hashlib
from datetime import date

# -- Asynq's, of the whole Redis ---------------------------------------------------------------------------------------

QUEUES = "asynq:queues"  # set of queue names
SERVERS = "asynq:servers"  # zset: server key → when it expires, s
WORKERS = "asynq:workers"  # zset: workers key → when it expires, s
SCHEDULERS = "asynq:schedulers"  # zset: scheduler key → when it expires, s
CANCEL_CHANNEL = "asynq:cancel"  # pub/sub; a message is a bare task id

SERVER_PREFIX = "asynq:servers:"
WORKERS_PREFIX = "asynq:workers:"


def server(host: str, pid: int, server_id: str) -> str:
    """String: a server's ServerInfo."""
    return f"asynq:servers:{{{host}:{pid}:{server_id}}}"


def workers(host: str, pid: int, server_id: str) -> str:
    """Hash: task id → WorkerInfo, one field a running task."""
    return f"asynq:workers:{{{host}:{pid}:{server_id}}}"


def workers_of(server_key: str) -> str:
    """The workers key of the server whose key is ``server_key``."""
    return WORKERS_PREFIX + server_key.removeprefix(SERVER_PREFIX)


def scheduler(scheduler_id: str) -> str:
    """List of SchedulerEntry."""
    return f"asynq:schedulers:{{{scheduler_id}}}"


def scheduler_history(entry_id: str) -> str:
    """Zset: SchedulerEnqueueEvent → when, s."""
    return f"asynq:scheduler_history:{entry_id}"


# -- Asynq's, of one queue ---------------------------------------------------------------------------------------------


def queue_prefix(queue: str) -> str:
    """What all of a queue's keys begin with."""
    return f"asynq:{{{queue}}}:"


def task_prefix(queue: str) -> str:
    """A task's key without its id."""
    return f"asynq:{{{queue}}}:t:"


def task(queue: str, task_id: str) -> str:
    """Hash: the task."""
    return f"asynq:{{{queue}}}:t:{task_id}"


def pending(queue: str) -> str:
    """List of ids; taken from the tail."""
    return f"asynq:{{{queue}}}:pending"


def active(queue: str) -> str:
    """List of ids."""
    return f"asynq:{{{queue}}}:active"


def lease(queue: str) -> str:
    """Zset: id → when its lease ends, s."""
    return f"asynq:{{{queue}}}:lease"


def scheduled(queue: str) -> str:
    """Zset: id → when it is due, s."""
    return f"asynq:{{{queue}}}:scheduled"


def retry(queue: str) -> str:
    """Zset: id → its next attempt, s."""
    return f"asynq:{{{queue}}}:retry"


def archived(queue: str) -> str:
    """Zset: id → when it was archived, s."""
    return f"asynq:{{{queue}}}:archived"


def completed(queue: str) -> str:
    """Zset: id → when its retention ends, s."""
    return f"asynq:{{{queue}}}:completed"


def paused(queue: str) -> str:
    """String: when the queue was paused, s. Only its existence counts."""
    return f"asynq:{{{queue}}}:paused"


def processed_total(queue: str) -> str:
    """Integer: attempts ever, failed ones included."""
    return f"asynq:{{{queue}}}:processed"


def failed_total(queue: str) -> str:
    """Integer: failed attempts ever."""
    return f"asynq:{{{queue}}}:failed"


def processed(queue: str, day: date) -> str:
    """Integer: attempts of a UTC day, failed ones included."""
    return f"asynq:{{{queue}}}:processed:{day:%Y-%m-%d}"


def failed(queue: str, day: date) -> str:
    """Integer: failed attempts of a UTC day."""
    return f"asynq:{{{queue}}}:failed:{day:%Y-%m-%d}"


def groups(queue: str) -> str:
    """Set of group names."""
    return f"asynq:{{{queue}}}:groups"


def group_prefix(queue: str) -> str:
    """A group's key without its name."""
    return f"asynq:{{{queue}}}:g:"


def group(queue: str, name: str) -> str:
    """Zset: id → when it joined, s."""
    return f"asynq:{{{queue}}}:g:{name}"


def aggregation_sets(queue: str) -> str:
    """Zset: key of an aggregation set → when it is given back to its group, s."""
    return f"asynq:{{{queue}}}:aggregation_sets"


def aggregation_set(queue: str, group_name: str, set_id: str) -> str:
    """Zset: id → when it joined the group, s. Members of a group that are being aggregated."""
    return f"asynq:{{{queue}}}:g:{group_name}:{set_id}"


def group_and_set_id(queue: str, set_key: str) -> tuple[str, str] | None:
    """The group and the id in an aggregation set's key; None when it is no such key of the queue.

    A group's name may have colons, an id has none.
    """
    prefix = group_prefix(queue)
    name, colon, set_id = set_key.removeprefix(prefix).rpartition(":")
    return (name, set_id) if colon and set_key.startswith(prefix) else None


def unique(queue: str, task_type: str, payload: bytes | None) -> str:
    """String: id of the task that holds the lock. An absent payload and an empty one are two different keys."""
    # MD5 because the peers compute the same key; nothing secret rests on it
    digest = "" if payload is None else hashlib.md5(payload, usedforsecurity=False).hexdigest()
    return f"asynq:{{{queue}}}:unique:{task_type}:{digest}"


# -- ours --------------------------------------------------------------------------------------------------------------


def notices(database: int) -> str:
    """Channel: what our worker servers tell one another. Channels are of all databases, queues of one."""
    return f"longshore:notices:{database}"


def sent(queue: str, sender: str) -> str:
    """String with a lifetime: a sender's last creating call and its reply. Beside the queue, for the script's sake."""
    return f"longshore:{{{queue}}}:sent:{sender}"


def waiting_prefix(queue: str) -> str:
    """The key of a task's waiters without the task's id."""
    return f"longshore:{{{queue}}}:waiting:"


def waiting(queue: str, task_id: str) -> str:
    """Hash with a lifetime: channel → what is published there when the task ends or gets on."""
    return f"longshore:{{{queue}}}:waiting:{task_id}"


def hearer(name: str) -> str:
    """Channel of one client that waits for tasks."""
    return f"longshore:hearer:{name}"


def periodic_entries(scope: str) -> str:
    """Hash: name → PeriodicEntry as JSON. Written by whoever declares them, read by schedulers."""
    return f"longshore:periodic:{scope}"


def tick_record(queue: str, entry_id: str) -> str:
    """Hash: an entry's TickRecord. Beside the queue, because a tick creates the task and its record in one script."""
    return f"longshore:{{{queue}}}:periodic:{entry_id}"


def scheduler_lease(scope: str) -> str:
    """String with a lifetime: the active scheduler."""
    return f"longshore:scheduler:{scope}"


def periodic_errors(scope: str) -> str:
    """Hash: entry name → why it cannot run. Written by the active scheduler; absent when all can."""
    return f"longshore:periodic-errors:{scope}"


def archive_limits(queue: str) -> str:
    """Hash with a lifetime: how many tasks a queue's archive keeps and for how long. Absent: as Asynq does."""
    return f"longshore:{{{queue}}}:archive"


def queue_limit(queue: str) -> str:
    """Hash: the state of the limit of a whole queue. Beside the queue, as those below: tasks are taken by it."""
    return f"longshore:{{{queue}}}:limit"


def limit(queue: str, name: str) -> str:
    """Hash: the state of the limit of one task type (or prefix of types) in a queue."""
    return f"longshore:{{{queue}}}:limit:{name}"


def limit_running(queue: str, name: str) -> str:
    """Set: ids of the tasks that hold the limit's places."""
    return f"longshore:{{{queue}}}:limit-running:{name}"


def limit_line(queue: str, name: str) -> str:
    """Zset: ids of the tasks that wait for the limit → when they joined, Unix microseconds."""
    return f"longshore:{{{queue}}}:limit-line:{name}"


def limit_due(queue: str, name: str) -> str:
    """Hash: the same ids → their score in the scheduled set."""
    return f"longshore:{{{queue}}}:limit-due:{name}"


def lines(queue: str) -> str:
    """Set: names of the limits that tasks wait for."""
    return f"longshore:{{{queue}}}:lines"
