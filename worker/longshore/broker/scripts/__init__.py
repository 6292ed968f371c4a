"""The Lua scripts: one atomic operation a file, each with its keys, arguments and replies on top.

What several scripts do alike lies in fragments/, as functions that stand before the script's own text.

A script may build further keys of the same queue from a prefix it is given (tasks, locks, groups), as the peers' do:
they share the queue's hash tag, so they lie in one slot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from longshore.errors import WrongType


@dataclass(frozen=True, slots=True)
class Script:
    """One script, ready to be called by its digest."""

    name: str
    key_types: tuple[str, ...]  # Redis type of each key it declares, or "any"; to explain a WRONGTYPE
    body: bytes
    digest: bytes  # SHA-1 in hex, as EVALSHA wants it

    def wrong_type(self, keys: Sequence[str], types: Sequence[bytes], otherwise: str) -> WrongType:
        """Which of its keys is of another type than it should be; ``otherwise`` says what it means when none is."""
        for key, found, expected in zip(keys, types, self.key_types, strict=False):
            if expected != "any" and found not in (b"none", expected.encode()):
                return WrongType(key, f"is a {found.decode()}, but Asynq keeps a {expected} there")
        return WrongType(keys[0], otherwise)


def _load(name: str, key_types: str, *fragments: str, calls: str = "") -> Script:
    """``fragments``: what the script's text begins with. ``calls``: another script that it has as a function."""
    texts = resources.files(__name__)
    files = [texts.joinpath("fragments", f"{fragment}.lua") for fragment in fragments] + [texts.joinpath(f"{name}.lua")]
    body = b"\n".join(file.read_bytes() for file in files)
    if calls:
        called = texts.joinpath(f"{calls}.lua").read_bytes()
        body = b"local function %s()\n%s\nend\n" % (calls.encode(), called) + body
    return Script(name, tuple(key_types.split()), body, hashlib.sha1(body, usedforsecurity=False).hexdigest().encode())


# Producers
ENQUEUE = _load("enqueue", "list zset set string")

# A worker server's taking and giving back
DEQUEUE = _load("dequeue", "list string list zset")
SET_ASIDE = _load("set_aside", "list zset zset")
DONE = _load("done", "list zset string string", "leave_active", "count")
COMPLETE = _load("complete", "list zset zset string string", "leave_active", "count")
RETRY = _load("retry", "list zset zset string string string string", "leave_active", "count")
ARCHIVE = _load(
    "archive", "list zset zset string string string string hash", "leave_active", "count", "lock_of", "trim_archive"
)
REQUEUE = _load("requeue", "list zset list", "leave_active")
EXTEND_LEASES = _load("extend_leases", "zset")
WRITE_RESULT = _load("write_result", "hash")
WRITE_PROGRESS = _load("write_progress", "hash hash")

# The same within limits
ADMIT = _load("admit", "zset list zset hash set zset hash set", "permits")
TAKE_FROM_LINE = _load("take_from_line", "list string list zset zset hash set zset hash set hash", "permits")
DEQUEUE_WITHIN = _load("dequeue_within", "list string list zset hash", "permits", calls="dequeue")

# Background duties
FORWARD = _load("forward", "zset list set")
LEASE_EXPIRED = _load("lease_expired", "zset list")
DELETE_EXPIRED_COMPLETED = _load("delete_expired_completed", "zset")
PUBLISH_SERVER = _load("publish_server", "string hash")
PUBLISH_SCHEDULER = _load("publish_scheduler", "list")
RECORD_ENQUEUE_EVENT = _load("record_enqueue_event", "zset")

# Groups
LIST_GROUPS = _load("list_groups", "set zset")
TAKE_GROUP = _load("take_group", "zset zset zset set")
READ_AGGREGATION_SET = _load("read_aggregation_set", "zset")
FINISH_AGGREGATION = _load("finish_aggregation", "zset zset hash any set string")
SET_ASIDE_GROUPED = _load("set_aside_grouped", "zset zset")
RECLAIM_AGGREGATION_SET = _load("reclaim_aggregation_set", "zset zset zset set")

# Schedulers
READ_ENTRIES = _load("read_entries", "hash")
TICK = _load("tick", "hash hash list string")
HOLD_SCHEDULER_LEASE = _load("hold_scheduler_lease", "string")
RELEASE_SCHEDULER_LEASE = _load("release_scheduler_lease", "string")
WRITE_PERIODIC_ERRORS = _load("write_periodic_errors", "hash")

# Inspectors
QUEUE_SNAPSHOT = _load("queue_snapshot", "list list zset zset zset zset set string string string string string")
QUEUE_SNAPSHOTS = _load("queue_snapshots", "", calls="queue_snapshot")
TICK_RECORDS = _load("tick_records", "any")
LIST_TASKS = _load("list_tasks", "any zset")
READ_TASK = _load("read_task", "hash zset")
RUN_TASK = _load("run_task", "hash list set", "leave_waiting")
ARCHIVE_TASK = _load("archive_task", "hash zset set hash", "leave_waiting", "lock_of", "trim_archive")
DELETE_TASK = _load("delete_task", "hash set", "leave_waiting", "lock_of")
UPDATE_PAYLOAD = _load("update_payload", "hash string string")
RUN_ALL = _load("run_all", "zset list set", "take_members")
ARCHIVE_ALL = _load("archive_all", "any zset set hash", "take_members", "lock_of", "trim_archive")
DELETE_ALL = _load("delete_all", "any set", "take_members", "lock_of")
LIMIT_ARCHIVE = _load("limit_archive", "hash zset", "lock_of", "trim_archive")
HOLD_QUEUE = _load("hold_queue", "list zset string")
REMOVE_QUEUE = _load("remove_queue", "set")
MEMORY_USAGE = _load("memory_usage", "list list zset zset zset zset set")
