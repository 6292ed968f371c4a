"""A new payload for a waiting task: in which states, what happens to its lock, and that nobody's change is undone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import redis

from longshore import DuplicateTask, Inspector, InvalidData, TaskNotFound, WrongState
from longshore.protocol import codec, keys
from longshore.testing import new_message, queue_content, read_keyspace, read_lifetimes, seed_keyspace

_OLD, _NEW = b'{"to":1}', b'{"to":2}'
_OLD_LOCK, _NEW_LOCK = (keys.unique("default", "email:send", payload) for payload in (_OLD, _NEW))
_A = new_message("email:send", id="a", payload=_OLD, retried=2, error="earlier", headers={"h": "1"})
_UNIQUE = replace(_A, unique_key=_OLD_LOCK)


def _in(state: str, message: Any = _A, **options: Any) -> dict[str, Any]:
    if state == "aggregating":
        return queue_content(groups={"g": [(message, 1)]}, **options)
    timed: Any = [message] if state == "pending" else [(message, 1)]
    return queue_content(**{state: timed}, **options)


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry", "archived", "aggregating"])
async def test_a_waiting_task_gets_a_new_payload_and_keeps_all_else(
    inspector: Inspector, redis_client: redis.Redis, state: str
) -> None:
    seed_keyspace(redis_client, _in(state))
    await inspector.update_payload("default", "a", {"to": 2})
    assert read_keyspace(redis_client) == _in(state, replace(_A, payload=_NEW))


@pytest.mark.parametrize("state", ["active", "completed"])
async def test_a_task_that_runs_or_has_run_keeps_its_payload(
    inspector: Inspector, redis_client: redis.Redis, state: str
) -> None:
    before = _in(state)
    seed_keyspace(redis_client, before)
    with pytest.raises(WrongState, match=f"is {state}: cannot change it"):
        await inspector.update_payload("default", "a", _NEW)
    assert read_keyspace(redis_client) == before


async def test_a_task_that_is_being_aggregated_keeps_its_payload(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, _in("aggregating"))
    redis_client.rename(keys.group("default", "g"), keys.group("default", "g") + ":set")
    with pytest.raises(WrongState, match="is aggregating"):
        await inspector.update_payload("default", "a", _NEW)


async def test_the_lock_moves_to_the_new_payload_with_its_lifetime(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    """Asynq's stays with the old one: a duplicate of the new payload is let in, one of the old is not."""
    seed_keyspace(redis_client, _in("scheduled", _UNIQUE, locks=True))
    redis_client.expire(_OLD_LOCK, 1000)
    ends = read_lifetimes(redis_client)[_OLD_LOCK]
    await inspector.update_payload("default", "a", _NEW)
    moved = replace(_UNIQUE, payload=_NEW, unique_key=_NEW_LOCK)
    assert read_keyspace(redis_client) == _in("scheduled", moved, locks=True)
    assert read_lifetimes(redis_client) == {_NEW_LOCK: ends}


async def test_a_payload_of_which_another_task_holds_the_lock_is_refused(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    before = _in("scheduled", _UNIQUE, locks=True) | {_NEW_LOCK: b"another"}
    seed_keyspace(redis_client, before)
    with pytest.raises(DuplicateTask):
        await inspector.update_payload("default", "a", _NEW)
    assert read_keyspace(redis_client) == before


@pytest.mark.parametrize("holder", [None, b"another"])
async def test_a_lock_the_task_no_longer_holds_is_not_taken_again(
    inspector: Inspector, redis_client: redis.Redis, holder: bytes | None
) -> None:
    held = {} if holder is None else {_OLD_LOCK: holder}
    seed_keyspace(redis_client, _in("retry", _UNIQUE) | held)
    await inspector.update_payload("default", "a", _NEW)
    moved = replace(_UNIQUE, payload=_NEW, unique_key=_NEW_LOCK)
    assert read_keyspace(redis_client) == _in("retry", moved) | held


async def test_a_lock_that_does_not_depend_on_the_payload_stays(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    named = replace(_A, unique_key=keys.unique("default", "email:send", b"chosen otherwise"))
    seed_keyspace(redis_client, _in("retry", named, locks=True))
    await inspector.update_payload("default", "a", _NEW)
    assert read_keyspace(redis_client) == _in("retry", replace(named, payload=_NEW), locks=True)


async def test_the_same_payload_again_changes_nothing(inspector: Inspector, redis_client: redis.Redis) -> None:
    before = _in("scheduled", _UNIQUE, locks=True)
    seed_keyspace(redis_client, before)
    await inspector.update_payload("default", "a", _OLD)
    assert read_keyspace(redis_client) == before


async def test_changes_at_the_same_time_each_happen_whole(inspector: Inspector, redis_client: redis.Redis) -> None:
    """Asynq reads in one step and writes in another, so that the last one undoes what came between."""
    seed_keyspace(redis_client, _in("scheduled", _UNIQUE, locks=True))
    payloads = [f"p{n}".encode() for n in range(8)]
    await asyncio.gather(*(inspector.update_payload("default", "a", payload) for payload in payloads))
    after = read_keyspace(redis_client)
    message = codec.decode_task(after[keys.task("default", "a")][b"msg"])
    assert message.payload in payloads
    assert message.unique_key == keys.unique("default", "email:send", message.payload)
    assert after == _in("scheduled", message, locks=True)


async def test_a_task_that_is_not_there_or_cannot_be_read_is_not_changed(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    with pytest.raises(TaskNotFound):
        await inspector.update_payload("default", "a", _NEW)
    seed_keyspace(redis_client, {keys.task("default", "a"): {b"msg": b"\xff", b"state": b"retry"}})
    with pytest.raises(InvalidData):
        await inspector.update_payload("default", "a", _NEW)
