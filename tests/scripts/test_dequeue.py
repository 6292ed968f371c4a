"""Taking tasks: in batches, oldest first, and past whatever cannot be read.

That one dequeue leaves the key space as Asynq's does is shown in test_as_asynq_does.py.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import redis

from longshore.broker.base import Dequeued, NewTask
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import WrongType
from longshore.protocol import asynq_pb2, codec, keys
from longshore.testing import new_message, queue_content, read_keyspace, seed_keyspace

_NOW = datetime(2024, 3, 1, 12, 0, 0, 900_000, tzinfo=UTC)
_LEASE = timedelta(seconds=30)
_LEASE_END_S = codec.unix_seconds(_NOW) + 30
_ABC = [new_message(id=name) for name in "abc"]


async def _take(broker: RedisBroker, limit: int) -> Dequeued:
    return await broker.dequeue("default", limit=limit, now=_NOW, lease=_LEASE)


async def test_a_batch_is_taken_oldest_first_and_the_rest_waits(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, queue_content(pending=_ABC, pending_since_ns=5))
    taken = await _take(broker, 2)
    assert [leased.message for leased in taken.leased] == _ABC[:2]
    assert {leased.lease_expires_at for leased in taken.leased} == {datetime(2024, 3, 1, 12, 0, 30, tzinfo=UTC)}
    assert read_keyspace(redis_client) == queue_content(
        active=[(message, _LEASE_END_S) for message in _ABC[:2]]
    ) | queue_content(pending=_ABC[2:], pending_since_ns=5)


async def test_fewer_than_asked_for_are_taken_when_fewer_wait(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, queue_content(pending=_ABC))
    assert len((await _take(broker, 10)).leased) == 3
    assert read_keyspace(redis_client) == queue_content(active=[(message, _LEASE_END_S) for message in _ABC])


async def test_an_empty_queue_gives_nothing_and_a_paused_one_says_so(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    assert await _take(broker, 5) == Dequeued()
    before = queue_content(pending=_ABC) | {keys.paused("default"): b"1"}
    seed_keyspace(redis_client, before)
    assert await _take(broker, 5) == Dequeued(paused=True)
    assert read_keyspace(redis_client) == before


async def test_an_id_without_a_hash_is_dropped_and_reported_and_the_others_are_taken(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, queue_content(pending=_ABC))
    redis_client.delete(keys.task("default", "a"))
    redis_client.hdel(keys.task("default", "b"), "msg")  # the stub that Asynq's dequeue leaves of such a task
    taken = await _take(broker, 10)
    assert [leased.message.id for leased in taken.leased] == ["c"]
    assert [(u.queue, u.task_id) for u in taken.unreadable] == [("default", "a"), ("default", "b")]
    assert read_keyspace(redis_client) == queue_content(active=[(_ABC[2], _LEASE_END_S)])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xff", "task message"),
        (b"", "task ''"),
        (codec.encode_task(new_message(id="other")), "task 'other'"),
        (codec.encode_task(new_message(id="a", queue="low")), "queue 'low'"),
    ],
    ids=["is no message", "is empty", "is another task's", "is another queue's"],
)
async def test_a_task_whose_content_cannot_be_used_is_archived_as_it_is_and_reported(
    broker: RedisBroker, redis_client: redis.Redis, content: bytes, problem: str
) -> None:
    seed_keyspace(redis_client, queue_content(pending=_ABC[:2]))
    redis_client.hset(keys.task("default", "a"), "msg", content)
    taken = await _take(broker, 10)
    assert [leased.message.id for leased in taken.leased] == ["b"]
    [unreadable] = taken.unreadable
    assert unreadable.task_id == "a"
    assert problem in unreadable.problem
    assert read_keyspace(redis_client) == queue_content(active=[(_ABC[1], _LEASE_END_S)]) | {
        keys.task("default", "a"): {b"msg": content, b"state": b"archived"},
        keys.archived("default"): {b"a": float(codec.unix_seconds(_NOW))},
    }


async def test_a_very_large_limit_is_cut_to_what_one_script_can_hold(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    await broker.enqueue([NewTask(message=new_message()) for _ in range(1200)], now=_NOW)
    assert len((await _take(broker, 100_000)).leased) == 1000
    assert len((await _take(broker, 100_000)).leased) == 200
    assert redis_client.llen(keys.active("default")) == redis_client.zcard(keys.lease("default")) == 1200


async def test_a_field_of_a_newer_peer_does_not_stop_a_task(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, queue_content(pending=_ABC[:1]))
    unknown = codec.encode_task(_ABC[0]) + b"\xa2\x06\x03new"  # field 100
    assert asynq_pb2.TaskMessage.FromString(unknown).id == "a"
    redis_client.hset(keys.task("default", "a"), "msg", unknown)
    assert [leased.message for leased in (await _take(broker, 1)).leased] == _ABC[:1]


@pytest.mark.parametrize("key", [keys.active("default"), keys.lease("default")])
async def test_nothing_is_taken_while_there_is_nowhere_to_put_it(
    broker: RedisBroker, redis_client: redis.Redis, key: str
) -> None:
    before = queue_content(pending=_ABC) | {key: b"text"}
    seed_keyspace(redis_client, before)
    with pytest.raises(WrongType, match=re.escape(key)):
        await _take(broker, 10)
    assert read_keyspace(redis_client) == before


async def test_a_key_of_another_type_in_a_tasks_place_does_not_stop_the_others(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, queue_content(pending=_ABC))
    redis_client.delete(keys.task("default", "b"))
    redis_client.set(keys.task("default", "b"), "text")
    taken = await _take(broker, 10)
    assert [leased.message.id for leased in taken.leased] == ["a", "c"]
    assert [u.task_id for u in taken.unreadable] == ["b"]
    assert read_keyspace(redis_client) == queue_content(active=[(_ABC[0], _LEASE_END_S), (_ABC[2], _LEASE_END_S)]) | {
        keys.task("default", "b"): b"text"
    }


async def test_tasks_are_taken_also_when_an_unreadable_one_beside_them_cannot_be_put_away(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, queue_content(pending=_ABC[:2]) | {keys.archived("default"): b"text"})
    redis_client.hset(keys.task("default", "a"), "msg", b"\xff")
    taken = await _take(broker, 10)
    assert [leased.message.id for leased in taken.leased] == ["b"]
    assert [u.task_id for u in taken.unreadable] == ["a"]
    assert redis_client.lrange(keys.active("default"), 0, -1) == [b"b", b"a"]  # the recoverer will meet it again
