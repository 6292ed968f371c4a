"""Every operation beside Asynq's own: the same key space before, one act by each, the same key space after.

Asynq's side is its released library (tests/interop/peer), run on the same Redis with the same clock. Where ours differs
on purpose, the row says what it has more; test_settle.py and its neighbours say why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from go_peer import GoPeer
from longshore.broker.base import Archive, Complete, Done, NewTask, Requeue, Retry
from longshore.broker.redis_broker import RedisBroker
from longshore.inspector import Inspector
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.testing import KeySpace, new_message, queue_content, read_keyspace, read_lifetimes, seed_keyspace
from redis_kinds import AnyRedis, go_address

pytestmark = pytest.mark.go

_NOW = datetime.now(UTC).replace(microsecond=123456)
_NOW_S = codec.unix_seconds(_NOW)
_NOW_NS = codec.unix_nanoseconds(_NOW)
_DAY = timedelta(days=1)
_LEASE = timedelta(seconds=30)

_A = new_message("email:send", id="a", payload=b'{"to":1}')
_B = new_message("email:send", id="b", payload=b'{"to":2}', retried=3, error="earlier")
_C = new_message("other", id="c", payload=None, queue="default")
_UNIQUE = replace(_A, unique_key=keys.unique("default", _A.type, _A.payload))
_KEPT = replace(_A, retention=_DAY)
_KEPT_UNIQUE = replace(_UNIQUE, retention=_DAY)
_GROUPED = replace(_A, group="g")
_FAILED = {"error": "boom", "last_failed_at": _NOW.replace(microsecond=0)}

Act = Callable[[RedisBroker, Inspector], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row."""

    name: str
    before: KeySpace = field(default_factory=dict)
    ours: Act
    go: dict[str, Any]
    refused: str = ""  # part of Asynq's error, when it refuses; ours then changes nothing either
    more: KeySpace = field(default_factory=dict)  # key → fields of its hash, or members, that only ours writes
    less: tuple[str, ...] = ()  # keys that only Asynq leaves behind
    fewer: dict[str, tuple[bytes, ...]] = field(default_factory=dict)  # key → fields of its hash that only Asynq leaves


def _enqueue(message: TaskMessage, **options: Any) -> Act:
    return lambda broker, _: broker.enqueue([NewTask(message=message, **options)], now=_NOW)


def _settle(outcome: Any) -> Act:
    return lambda broker, _: broker.settle("default", [outcome], now=_NOW)


def _all(act: Any, state: str, **options: Any) -> Act:
    return lambda _, inspector: act(inspector, "default", state, **options)


_BUSY = queue_content(active=[(_A, _NOW_S + 5), (_B, _NOW_S + 6), (_C, _NOW_S + 7)])
_BUSY_UNIQUE = queue_content(active=[(_UNIQUE, _NOW_S + 5), (_B, _NOW_S + 6)], locks=True)
_SINCE = {keys.task("default", "a"): {b"pending_since": str(_NOW_NS).encode()}}

CASES = [
    Case(name="enqueue", ours=_enqueue(_A), go={"op": "enqueue", "msg": _A}),
    Case(
        name="enqueue behind others",
        before=queue_content(pending=[_B, _C], pending_since_ns=1),
        ours=_enqueue(_A),
        go={"op": "enqueue", "msg": _A},
    ),
    Case(
        name="enqueue an id that exists",
        before=queue_content(retry=[(_A, _NOW_S)]),
        ours=_enqueue(replace(_A, payload=b"new")),
        go={"op": "enqueue", "msg": replace(_A, payload=b"new")},
        refused="conflict",
    ),
    Case(
        name="enqueue unique",
        ours=_enqueue(_UNIQUE, unique_for=timedelta(seconds=90)),
        go={"op": "enqueue unique", "msg": _UNIQUE, "ttl_s": 90},
    ),
    Case(
        name="enqueue unique when the lock is held",
        before={_UNIQUE.unique_key or "": b"other"},
        ours=_enqueue(_UNIQUE, unique_for=timedelta(seconds=90)),
        go={"op": "enqueue unique", "msg": _UNIQUE, "ttl_s": 90},
        refused="exists",
    ),
    Case(
        name="enqueue unique with an id that exists: no lock is left behind",
        before=queue_content(archived=[(_A, _NOW_S)]),
        ours=_enqueue(_UNIQUE, unique_for=timedelta(seconds=90)),
        go={"op": "enqueue unique", "msg": _UNIQUE, "ttl_s": 90},
        refused="conflict",
        less=(_UNIQUE.unique_key or "",),
    ),
    Case(
        name="schedule",
        ours=_enqueue(_A, process_at=_NOW + _DAY),
        go={"op": "schedule", "msg": _A, "at_s": _NOW_S + 86400},
    ),
    Case(
        name="schedule unique",
        ours=_enqueue(_UNIQUE, process_at=_NOW + _DAY, unique_for=timedelta(seconds=90)),
        go={"op": "schedule unique", "msg": _UNIQUE, "at_s": _NOW_S + 86400, "ttl_s": 86490},
    ),
    Case(
        name="schedule with a group: the hash names it, so that the task joins the group when it is due",
        ours=_enqueue(_GROUPED, process_at=_NOW + _DAY),
        go={"op": "schedule", "msg": _GROUPED, "at_s": _NOW_S + 86400},
        more={keys.task("default", "a"): {b"group": b"g"}},
    ),
    Case(name="add to a group", ours=_enqueue(_GROUPED), go={"op": "add to group", "msg": _GROUPED, "group": "g"}),
    Case(
        name="add to a group, unique: the hash names the lock",
        ours=_enqueue(replace(_UNIQUE, group="g"), unique_for=timedelta(seconds=90)),
        go={"op": "add to group unique", "msg": replace(_UNIQUE, group="g"), "group": "g", "ttl_s": 90},
        more={keys.task("default", "a"): {b"unique_key": (_UNIQUE.unique_key or "").encode()}},
    ),
    Case(
        name="dequeue",
        before=queue_content(pending=[_A, _B, _C], pending_since_ns=1),
        ours=lambda broker, _: broker.dequeue("default", limit=1, now=_NOW, lease=_LEASE),
        go={"op": "dequeue"},
    ),
    Case(
        name="dequeue from a paused queue",
        before=queue_content(pending=[_A]) | {keys.paused("default"): b"1"},
        ours=lambda broker, _: broker.dequeue("default", limit=1, now=_NOW, lease=_LEASE),
        go={"op": "dequeue"},
        refused="no tasks are ready",
    ),
    Case(
        name="dequeue from an empty queue",
        before=queue_content(scheduled=[(_A, 1)]),
        ours=lambda broker, _: broker.dequeue("default", limit=1, now=_NOW, lease=_LEASE),
        go={"op": "dequeue"},
        refused="no tasks are ready",
    ),
    Case(name="done", before=_BUSY, ours=_settle(Done(message=_B)), go={"op": "done", "msg": _B}),
    Case(
        name="done frees the lock",
        before=_BUSY_UNIQUE,
        ours=_settle(Done(message=_UNIQUE)),
        go={"op": "done", "msg": _UNIQUE},
    ),
    Case(
        name="done leaves a lock that another task holds",
        before=_BUSY_UNIQUE | {_UNIQUE.unique_key or "": b"another"},
        ours=_settle(Done(message=_UNIQUE)),
        go={"op": "done", "msg": _UNIQUE},
    ),
    Case(
        name="done counts on",
        before=_BUSY | {keys.processed_total("default"): b"41", keys.processed("default", _NOW.date()): b"7"},
        ours=_settle(Done(message=_B)),
        go={"op": "done", "msg": _B},
    ),
    Case(
        name="the total starts again after the largest number",
        before=_BUSY | {keys.processed_total("default"): b"9223372036854775807"},
        ours=_settle(Done(message=_B)),
        go={"op": "done", "msg": _B},
    ),
    Case(
        name="done of a task that is no longer active",
        before=queue_content(retry=[(_A, _NOW_S)]),
        ours=_settle(Done(message=_A)),
        go={"op": "done", "msg": _A},
        refused="NOT FOUND",
    ),
    Case(
        name="complete",
        before=queue_content(active=[(_KEPT, _NOW_S + 5), (_B, _NOW_S + 6)]),
        ours=_settle(Complete(message=replace(_KEPT, completed_at=_NOW))),
        go={"op": "complete", "msg": _KEPT},
    ),
    Case(
        name="complete frees the lock",
        before=queue_content(active=[(_KEPT_UNIQUE, _NOW_S + 5)], locks=True),
        ours=_settle(Complete(message=replace(_KEPT_UNIQUE, completed_at=_NOW))),
        go={"op": "complete", "msg": _KEPT_UNIQUE},
    ),
    Case(
        name="retry after a failure",
        before=_BUSY,
        ours=_settle(Retry(message=replace(_B, retried=4, **_FAILED), retry_at=_NOW + _DAY)),
        go={"op": "retry", "msg": _B, "at_s": _NOW_S + 86400, "error": "boom", "is_failure": True},
    ),
    Case(
        name="retry without a failure",
        before=_BUSY,
        ours=_settle(Retry(message=replace(_B, **_FAILED), retry_at=_NOW + _DAY, is_failure=False)),
        go={"op": "retry", "msg": _B, "at_s": _NOW_S + 86400, "error": "boom", "is_failure": False},
    ),
    Case(
        name="retry keeps the lock",
        before=_BUSY_UNIQUE,
        ours=_settle(Retry(message=replace(_UNIQUE, retried=1, **_FAILED), retry_at=_NOW + _DAY)),
        go={"op": "retry", "msg": _UNIQUE, "at_s": _NOW_S + 86400, "error": "boom", "is_failure": True},
    ),
    Case(
        name="archive",
        before=_BUSY,
        ours=_settle(Archive(message=replace(_B, **_FAILED))),
        go={"op": "archive", "msg": _B, "error": "boom"},
    ),
    Case(
        name="archive deletes what is older than 90 days",
        before=queue_content(
            active=[(_A, _NOW_S + 5)], archived=[(_B, _NOW_S - 91 * 86400), (_C, _NOW_S - 89 * 86400)]
        ),
        ours=_settle(Archive(message=replace(_A, **_FAILED))),
        go={"op": "archive", "msg": _A, "error": "boom"},
    ),
    Case(
        name="requeue: it is also recorded since when the task waits",
        before=queue_content(active=[(_A, _NOW_S + 5)], pending=[_B, _C]),
        ours=_settle(Requeue(message=_A)),
        go={"op": "requeue", "msg": _A},
        more=_SINCE,
    ),
    Case(
        name="forward",
        before=queue_content(
            pending=[_C], scheduled=[(_A, _NOW_S - 1), (replace(_A, id="later"), _NOW_S + 1)], retry=[(_B, _NOW_S)]
        ),
        ours=lambda broker, _: broker.forward("default", now=_NOW),
        go={"op": "forward"},
    ),
    Case(
        name="forward into a group: the group is listed",
        before={
            keys.task("default", "a"): {b"msg": codec.encode_task(_GROUPED), b"state": b"scheduled", b"group": b"g"},
            keys.scheduled("default"): {b"a": float(_NOW_S)},
        },
        ours=lambda broker, _: broker.forward("default", now=_NOW),
        go={"op": "forward"},
        more={keys.groups("default"): {b"g"}},
    ),
    Case(
        name="delete expired completed",
        before=queue_content(completed=[(_A, _NOW_S - 1), (_B, _NOW_S), (_C, _NOW_S + 1)]),
        ours=lambda broker, _: broker.delete_expired_completed("default", now=_NOW, limit=100),
        go={"op": "delete expired completed"},
    ),
    Case(
        name="extend leases, of tasks that have one",
        before=_BUSY,
        ours=lambda broker, _: broker.extend_leases("default", ["a", "c", "gone"], now=_NOW, lease=_LEASE),
        go={"op": "extend lease", "ids": ["a", "c", "gone"]},
    ),
    Case(
        name="write a result",
        before=_BUSY,
        ours=lambda broker, _: broker.write_result("default", "a", b"\x00out"),
        go={"op": "write result", "id": "a", "result": b"\x00out"},
    ),
    *(
        Case(
            name=f"run a task that is {state}: it is also recorded since when it waits",
            before=queue_content(pending=[_B], **{state: [(_A, _NOW_S + 99)]}),  # type: ignore[arg-type]
            ours=lambda _, inspector: inspector.run_task("default", "a"),
            go={"op": "run task", "id": "a"},
            more=_SINCE,
        )
        for state in ("scheduled", "retry", "archived", "completed")
    ),
    Case(
        name="run the last task of a group: it forgets the group",
        before=queue_content(groups={"g": [(_GROUPED, 1)]}),
        ours=lambda _, inspector: inspector.run_task("default", "a"),
        go={"op": "run task", "id": "a"},
        more=_SINCE,
        fewer={keys.task("default", "a"): (b"group",)},
    ),
    *(
        Case(
            name=f"archive a task that is {state} by hand",
            before=queue_content(archived=[(_B, 1 + _NOW_S - 90 * 86400)], **{state: [(_A, _NOW_S + 99)]}),  # type: ignore[arg-type]
            ours=lambda _, inspector: inspector.archive_task("default", "a"),
            go={"op": "archive task", "id": "a"},
        )
        for state in ("scheduled", "retry", "completed")
    ),
    Case(
        name="archive a pending task by hand",
        before=queue_content(pending=[_B, _A, _C]),
        ours=lambda _, inspector: inspector.archive_task("default", "a"),
        go={"op": "archive task", "id": "a"},
    ),
    Case(
        name="archive one of a group by hand",
        before=queue_content(groups={"g": [(_GROUPED, 1), (replace(_B, group="g"), 2)]}),
        ours=lambda _, inspector: inspector.archive_task("default", "a"),
        go={"op": "archive task", "id": "a"},
    ),
    *(
        Case(
            name=f"delete a task that is {state}",
            before=queue_content(locks=True, **{state: [(_UNIQUE, _NOW_S + 99), (_B, _NOW_S)]}),  # type: ignore[arg-type]
            ours=lambda _, inspector: inspector.delete_task("default", "a"),
            go={"op": "delete task", "id": "a"},
        )
        for state in ("scheduled", "retry", "archived", "completed")
    ),
    Case(
        name="delete a pending task",
        before=queue_content(pending=[_B, _A, _C]),
        ours=lambda _, inspector: inspector.delete_task("default", "a"),
        go={"op": "delete task", "id": "a"},
    ),
    Case(
        name="delete the last task of a group",
        before=queue_content(groups={"g": [(_GROUPED, 1)]}),
        ours=lambda _, inspector: inspector.delete_task("default", "a"),
        go={"op": "delete task", "id": "a"},
    ),
    *(
        Case(
            name=f"run all that are {state}: it is also recorded since when they wait",
            before=queue_content(pending=[_B], **{state: [(_A, _NOW_S + 99), (_C, _NOW_S + 1)]}),  # type: ignore[arg-type]
            ours=_all(Inspector.run_all, state),
            go={"op": "run all", "state": state},
            more=_SINCE | {keys.task("default", "c"): {b"pending_since": str(_NOW_NS).encode()}},
        )
        for state in ("scheduled", "retry", "archived")
    ),
    *(
        Case(
            name=f"archive all that are {state}",
            before=queue_content(archived=[(_B, 1 + _NOW_S - 90 * 86400)], **{state: [(_A, 5), (_C, 6)]}),  # type: ignore[arg-type]
            ours=_all(Inspector.archive_all, state),
            go={"op": "archive all", "state": state},
        )
        for state in ("scheduled", "retry")
    ),
    Case(
        name="archive all that are pending",
        before=queue_content(pending=[_B, _A, _C]),
        ours=_all(Inspector.archive_all, "pending"),
        go={"op": "archive all", "state": "pending"},
    ),
    *(
        Case(
            name=f"delete all that are {state}",
            before=queue_content(locks=True, pending=[_C], **{state: [(_UNIQUE, 5), (_B, 6)]}),  # type: ignore[arg-type]
            ours=_all(Inspector.delete_all, state),
            go={"op": "delete all", "state": state},
        )
        for state in ("scheduled", "retry", "archived", "completed")
    ),
    Case(
        name="delete all that are pending: their locks are freed",
        before=queue_content(locks=True, pending=[_B, _UNIQUE]),
        ours=_all(Inspector.delete_all, "pending"),
        go={"op": "delete all", "state": "pending"},
        less=(_UNIQUE.unique_key or "",),
    ),
    Case(
        name="run all of a group: they forget the group as well",
        before=queue_content(groups={"g": [(_GROUPED, 2)], "h": [(_B, 1)]}),
        ours=_all(Inspector.run_all, "aggregating", group="g"),
        go={"op": "run all", "state": "aggregating", "group": "g"},
        more=_SINCE,
        fewer={keys.task("default", "a"): (b"group",)},
    ),
    Case(
        name="archive all of a group",
        before=queue_content(groups={"g": [(_GROUPED, 2), (_C, 3)], "h": [(_B, 1)]}),
        ours=_all(Inspector.archive_all, "aggregating", group="g"),
        go={"op": "archive all", "state": "aggregating", "group": "g"},
    ),
    Case(
        name="delete all of a group: their locks are freed",
        before=queue_content(groups={"g": [(_UNIQUE, 2), (_C, 3)], "h": [(_B, 1)]}, locks=True),
        ours=_all(Inspector.delete_all, "aggregating", group="g"),
        go={"op": "delete all", "state": "aggregating", "group": "g"},
        less=(_UNIQUE.unique_key or "",),
    ),
    Case(name="pause", ours=lambda _, inspector: inspector.pause("default"), go={"op": "pause"}),
    Case(
        name="unpause",
        before={keys.paused("default"): b"1"},
        ours=lambda _, inspector: inspector.unpause("default"),
        go={"op": "unpause"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_key_space_is_what_asynq_makes_it(
    case: Case, broker: RedisBroker, redis_client: redis.Redis, any_redis: AnyRedis, go_peer: GoPeer
) -> None:
    before = {keys.QUEUES: {b"default"}} | case.before

    seed_keyspace(redis_client, before)
    go = dict(case.go) | {"now_ns": _NOW_NS, "queue": "default"}
    if "msg" in go:
        go["msg"] = codec.encode_task(go["msg"])
    [answer] = go_peer.operate(go_address(any_redis), go)
    if case.refused:
        assert case.refused in answer.get("error", "")
    else:
        assert "error" not in answer
    theirs, their_lifetimes = _read(redis_client)

    redis_client.flushall()
    seed_keyspace(redis_client, before)
    await case.ours(broker, Inspector(broker=broker, clock=lambda: _NOW))
    ours, our_lifetimes = _read(redis_client)

    for key in case.less:
        assert theirs.pop(key)
        their_lifetimes.pop(key, None)
    for key, names in case.fewer.items():
        for name in names:
            assert theirs[key].pop(name)
    for key, extra in case.more.items():
        if isinstance(extra, set):
            assert extra <= ours[key]
            ours[key] -= extra
            if not ours[key]:
                del ours[key]
        else:
            for name, value in extra.items():
                assert ours[key].pop(name) == value
    assert ours == theirs
    # relative lifetimes start when the command runs, which is not at one moment for both
    assert our_lifetimes.keys() == their_lifetimes.keys()
    assert all(abs(our_lifetimes[key] - their_lifetimes[key]) <= 2 for key in our_lifetimes)


def _read(client: redis.Redis) -> tuple[KeySpace, dict[str, int]]:
    content = read_keyspace(client)
    for value in content.values():
        if isinstance(value, dict) and b"msg" in value:
            value[b"msg"] = codec.decode_task(value[b"msg"])
    return content, read_lifetimes(client)
