"""Groups and aggregation sets: taken by one, finished once, given back whole and visible; no member stops the others.

The whole key space is compared, so what must not change is checked too. What a Go peer makes of it: tests/interop.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from longshore.broker.base import NewTask
from longshore.broker.groups_base import FinishResult, GroupState, SetName
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import WrongType
from longshore.inspector import Inspector
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.testing import KeySpace, new_message, queue_content, read_keyspace, seed_keyspace

_NOW = datetime.now(UTC).replace(microsecond=0)
_NOW_S = codec.unix_seconds(_NOW)
_LATER = _NOW + timedelta(seconds=120)
_SET = SetName(queue="default", group="g:1", set_id="s1")
_SET_KEY = keys.aggregation_set("default", "g:1", "s1")
_SETS = keys.aggregation_sets("default")
_GROUP = keys.group("default", "g:1")
_UNIQUE = keys.unique("default", "test:task", b"{}")


def grouped(task_id: str, **fields: Any) -> TaskMessage:
    return new_message(id=task_id, group="g:1", **fields)


def waiting(*task_ids: str) -> KeySpace:
    """A group whose members joined one second after another."""
    return queue_content(groups={"g:1": [(grouped(task_id), 100 + n) for n, task_id in enumerate(task_ids)]})


def taken(*members: TaskMessage, until_s: int = _NOW_S + 120, locks: bool = False) -> KeySpace:
    """The aggregation set of these tasks."""
    content = queue_content(groups={"g:1": [(member, 100 + n) for n, member in enumerate(members)]}, locks=locks)
    content[_SET_KEY] = content.pop(_GROUP)
    del content[keys.groups("default")]
    return content | {_SETS: {_SET_KEY.encode(): float(until_s)}}


def merged(**fields: Any) -> NewTask:
    return NewTask(message=new_message("merged", id="m", **fields))


async def test_groups_are_listed_with_their_size_and_times(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, waiting("a", "b"))
    page = await broker.groups.list_groups("default", cursor=None, now=_NOW)
    assert page.groups == (
        GroupState(
            name="g:1",
            size=2,
            first_id=b"a",
            first_joined_at=codec.from_unix_seconds(100),
            last_joined_at=codec.from_unix_seconds(101),
        ),
    )
    assert (page.strangers, page.expired, page.cursor) == ((), (), None)


async def test_whether_there_is_anything_to_look_at_costs_one_read_a_queue(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, waiting("a"))
    redis_client.zadd(keys.aggregation_sets("left"), {"s": 1})
    assert await broker.groups.look_for_groups(["default", "left", "none"]) == {
        "default": True,
        "left": True,
        "none": False,
    }


async def test_thousands_of_groups_are_listed_in_pages(broker: RedisBroker, redis_client: redis.Redis) -> None:
    names = {f"user {n}" for n in range(2000)}
    with redis_client.pipeline() as pipe:
        for name in names:
            pipe.zadd(keys.group("default", name), {"a": 1})
        pipe.sadd(keys.groups("default"), *names)
        pipe.execute()
    seen, cursor, pages = set(), None, 0
    while True:
        page = await broker.groups.list_groups("default", cursor=cursor, now=_NOW)
        seen |= {group.name for group in page.groups}
        pages += 1
        if page.cursor is None:
            break
        cursor = page.cursor
    assert seen == names
    assert pages >= 3


async def test_names_of_empty_groups_are_taken_off_the_list(broker: RedisBroker, redis_client: redis.Redis) -> None:
    """Asynq leaves them, and computes memory figures that are not numbers."""
    before = waiting("a")
    seed_keyspace(redis_client, before)
    redis_client.sadd(keys.groups("default"), "empty", "gone")
    await broker.groups.list_groups("default", cursor=None, now=_NOW)
    assert read_keyspace(redis_client) == before


async def test_a_stranger_in_a_groups_place_is_told_and_left_alone(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, waiting("a") | {keys.group("default", "odd"): b"text"})
    redis_client.sadd(keys.groups("default"), "odd", b"\xff")
    redis_client.zadd(b"asynq:{default}:g:\xff", {"a": 1})
    before = read_keyspace_bytes(redis_client)
    page = await broker.groups.list_groups("default", cursor=None, now=_NOW)
    assert [group.name for group in page.groups] == ["g:1"]
    assert set(page.strangers) == {"odd", "�"}
    assert read_keyspace_bytes(redis_client) == before


def read_keyspace_bytes(client: redis.Redis) -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.scan_iter()}


async def test_the_members_that_joined_first_are_taken(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, waiting("a", "b", "c"))
    result = await broker.groups.take(_SET, first_id=b"a", limit=2, until=_LATER)
    assert result.size == 2
    assert result.left is not None
    assert (result.left.size, result.left.first_id) == (1, b"c")
    content = read_keyspace(redis_client)
    assert content[_SET_KEY] == {b"a": 100.0, b"b": 101.0}
    assert content[_GROUP] == {b"c": 102.0}
    assert content[_SETS] == {_SET_KEY.encode(): float(_NOW_S + 120)}
    assert content[keys.groups("default")] == {b"g:1"}


async def test_a_group_that_was_taken_whole_is_no_longer_listed(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, waiting("a", "b"))
    result = await broker.groups.take(_SET, first_id=b"a", limit=2, until=_LATER)
    assert (result.size, result.left) == (2, None)
    assert read_keyspace(redis_client) == taken(grouped("a"), grouped("b")) | {
        key: value for key, value in waiting("a", "b").items() if ":t:" in key
    } | {keys.task("default", name): read_keyspace(redis_client)[keys.task("default", name)] for name in "ab"}


async def test_of_two_servers_that_found_a_group_ready_only_one_takes_it(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, waiting("a", "b"))
    await broker.groups.take(_SET, first_id=b"a", limit=10, until=_LATER)
    redis_client.zadd(_GROUP, {"new": _NOW_S})
    second = await broker.groups.take(replace(_SET, set_id="s2"), first_id=b"a", limit=10, until=_LATER)
    assert second.size == 0
    assert second.left is not None
    assert second.left.first_id == b"new"
    assert not redis_client.exists(keys.aggregation_set("default", "g:1", "s2"))


async def test_ten_thousand_members_are_taken_read_and_finished(broker: RedisBroker, redis_client: redis.Redis) -> None:
    now = _NOW
    tasks = [NewTask(message=grouped(f"t{n:05}", payload=b"x" * 1000)) for n in range(10_001)]
    await broker.enqueue(tasks, now=now)
    result = await broker.groups.take(_SET, first_id=b"t00000", limit=50_000, until=_LATER)
    assert result.size == 10_000
    content = await broker.groups.read(_SET, now=now)
    messages = [member.message for member in content.members]
    assert messages == [task.message for task in tasks[:10_000]]
    assert await broker.groups.finish(_SET, messages, merged(), now=now) is FinishResult.FINISHED
    assert {key for key in read_keyspace(redis_client) if ":t:" in key} == {
        keys.task("default", "t10000"),
        keys.task("default", "m"),
    }


async def test_members_that_cannot_be_read_are_set_aside_and_the_others_read(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    good = grouped("good")
    seed_keyspace(redis_client, taken(good, *(grouped(name) for name in ("bytes", "stub", "gone", "odd", "elsewhere"))))
    redis_client.hset(keys.task("default", "bytes"), "msg", b"\xff\xff")
    redis_client.hdel(keys.task("default", "stub"), "msg")
    redis_client.delete(keys.task("default", "gone"), keys.task("default", "odd"))
    redis_client.set(keys.task("default", "odd"), "text")
    redis_client.hset(keys.task("default", "elsewhere"), "state", "pending")
    content = await broker.groups.read(_SET, now=_NOW)
    assert [(member.message, member.joined_at) for member in content.members] == [(good, codec.from_unix_seconds(100))]
    assert {one.task_id: one.problem for one in content.unreadable}.keys() == {
        "bytes",
        "stub",
        "gone",
        "odd",
        "elsewhere",
    }
    after = read_keyspace(redis_client)
    assert after[_SET_KEY] == {b"good": 100.0}
    assert after[keys.archived("default")] == {b"bytes": float(_NOW_S)}
    assert after[keys.task("default", "bytes")] == {b"msg": b"\xff\xff", b"state": b"archived"}
    assert after[keys.task("default", "odd")] == b"text"
    assert after[keys.task("default", "elsewhere")][b"state"] == b"pending"
    assert keys.task("default", "stub") not in after


async def test_finishing_replaces_the_members_and_their_locks_by_the_task(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    """D4: Asynq keeps the locks of aggregated tasks until they expire."""
    members = [grouped("a", unique_key=_UNIQUE), grouped("b")]
    seed_keyspace(redis_client, taken(*members, locks=True))
    assert redis_client.exists(_UNIQUE)
    new = merged()
    assert await broker.groups.finish(_SET, members, new, now=_NOW) is FinishResult.FINISHED
    expected = queue_content(pending=[new.message], pending_since_ns=codec.unix_nanoseconds(_NOW))
    assert read_keyspace(redis_client) == expected | {keys.QUEUES: {b"default"}}


async def test_finishing_with_nothing_only_deletes(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, taken(grouped("a")))
    assert await broker.groups.finish(_SET, [grouped("a")], None, now=_NOW) is FinishResult.FINISHED
    assert read_keyspace(redis_client) == {}


async def test_the_lock_of_a_member_that_another_task_took_over_stays(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    member = grouped("a", unique_key=_UNIQUE)
    seed_keyspace(redis_client, taken(member) | {_UNIQUE: b"another"})
    await broker.groups.finish(_SET, [member], None, now=_NOW)
    assert read_keyspace(redis_client) == {_UNIQUE: b"another"}


async def test_a_repeated_finish_creates_no_second_task(broker: RedisBroker, redis_client: redis.Redis) -> None:
    """As when the reply to the first was lost, and a worker has run the task meanwhile."""
    seed_keyspace(redis_client, taken(grouped("a")))
    assert await broker.groups.finish(_SET, [grouped("a")], merged(), now=_NOW) is FinishResult.FINISHED
    await broker.dequeue("default", limit=1, now=_NOW, lease=timedelta(seconds=30))
    before = read_keyspace(redis_client)
    assert await broker.groups.finish(_SET, [grouped("a")], merged(), now=_NOW) is FinishResult.NOT_OURS
    assert read_keyspace(redis_client) == before


async def test_a_set_that_was_given_back_cannot_be_finished(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, taken(grouped("a"), grouped("b")))
    await broker.groups.give_back(_SET)
    before = read_keyspace(redis_client) | {keys.QUEUES: {b"default"}}
    messages = [grouped("a"), grouped("b")]
    assert await broker.groups.finish(_SET, messages, merged(), now=_NOW) is FinishResult.NOT_OURS
    assert read_keyspace(redis_client) == before


async def test_a_set_that_is_half_given_back_cannot_be_finished(broker: RedisBroker, redis_client: redis.Redis) -> None:
    messages = [grouped("a"), grouped("b")]
    seed_keyspace(redis_client, taken(*messages))
    redis_client.zrem(_SET_KEY, "a")
    assert await broker.groups.finish(_SET, messages, merged(), now=_NOW) is FinishResult.NOT_OURS
    assert redis_client.zscore(_SET_KEY, "b") is not None


@pytest.mark.parametrize(
    ("new", "existing", "result"),
    [
        (merged(), queue_content(archived=[(new_message(id="m"), _NOW_S)]), FinishResult.ID_CONFLICT),
        (
            merged(unique_key=_UNIQUE)._replace(unique_for=timedelta(seconds=60)),
            {_UNIQUE: b"another"},
            FinishResult.DUPLICATE,
        ),
    ],
    ids=["the id is taken", "the lock is held"],
)
async def test_a_refused_task_leaves_the_set_as_it_was(
    new: NewTask, existing: KeySpace, result: FinishResult, broker: RedisBroker, redis_client: redis.Redis
) -> None:
    before = taken(grouped("a")) | existing | {keys.QUEUES: {b"default"}}
    seed_keyspace(redis_client, before)
    before = read_keyspace(redis_client)
    assert await broker.groups.finish(_SET, [grouped("a")], new, now=_NOW) is result
    assert read_keyspace(redis_client) == before


async def test_the_task_may_take_over_the_id_and_the_lock_of_a_member(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    member = grouped("m", unique_key=_UNIQUE)
    seed_keyspace(redis_client, taken(member, locks=True))
    new = merged(unique_key=_UNIQUE)._replace(unique_for=timedelta(seconds=60))
    assert await broker.groups.finish(_SET, [member], new, now=_NOW) is FinishResult.FINISHED
    assert redis_client.get(_UNIQUE) == b"m"
    assert 0 < redis_client.ttl(_UNIQUE) <= 60
    assert codec.decode_task(redis_client.hget(keys.task("default", "m"), "msg")) == new.message


async def test_the_task_may_be_delayed_or_join_another_group(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, taken(grouped("a")))
    later = merged(group="daily")._replace(process_at=_NOW + timedelta(hours=1))
    await broker.groups.finish(_SET, [grouped("a")], later, now=_NOW)
    assert read_keyspace(redis_client)[keys.scheduled("default")] == {b"m": float(_NOW_S + 3600)}
    assert await broker.forward("default", now=_NOW + timedelta(hours=2)) == 1
    assert read_keyspace(redis_client)[keys.group("default", "daily")] == {b"m": float(_NOW_S + 7200)}

    redis_client.flushdb()
    seed_keyspace(redis_client, taken(grouped("a")))
    await broker.groups.finish(_SET, [grouped("a")], merged(group="daily"), now=_NOW)
    expected = queue_content(groups={"daily": [(merged(group="daily").message, _NOW_S)]})
    after = read_keyspace(redis_client)
    assert after[keys.group("default", "daily")] == expected[keys.group("default", "daily")]
    assert after[keys.groups("default")] == {b"daily"}
    assert after[keys.task("default", "m")][b"state"] == b"aggregating"


async def test_a_destination_of_another_type_fails_before_anything_is_written(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    seed_keyspace(redis_client, taken(grouped("a")) | {keys.pending("default"): b"text", keys.QUEUES: {b"default"}})
    before = read_keyspace(redis_client)
    with pytest.raises(WrongType, match="is not what Asynq keeps there"):
        await broker.groups.finish(_SET, [grouped("a")], merged(), now=_NOW)
    assert read_keyspace(redis_client) == before


async def test_a_dead_servers_set_goes_back_to_a_group_that_is_listed_again(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    """D1: after Asynq's reclaim the group may be missing from the list, and nobody aggregates it any more."""
    seed_keyspace(redis_client, taken(grouped("a"), grouped("b"), until_s=_NOW_S))
    page = await broker.groups.list_groups("default", cursor=None, now=_NOW)
    assert page.expired == await broker.groups.expired_sets("default", now=_NOW) == (_SET,)
    assert await broker.groups.reclaim(_SET, now=_NOW)
    after = read_keyspace(redis_client)
    assert after[_GROUP] == {b"a": 100.0, b"b": 101.0}
    assert after[keys.groups("default")] == {b"g:1"}
    assert _SET_KEY not in after
    assert _SETS not in after


async def test_a_set_that_has_time_left_is_not_reclaimed(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, taken(grouped("a"), until_s=_NOW_S + 1))
    before = read_keyspace(redis_client)
    assert await broker.groups.expired_sets("default", now=_NOW) == ()
    assert not await broker.groups.reclaim(_SET, now=_NOW)
    assert read_keyspace(redis_client) == before


async def test_a_set_is_given_back_a_thousand_members_a_step(broker: RedisBroker, redis_client: redis.Redis) -> None:
    """D17: Asynq moves all sets of a queue in one script, however large they are."""
    redis_client.zadd(_SET_KEY, {f"t{n}": n for n in range(2500)})
    redis_client.zadd(_SETS, {_SET_KEY: _NOW_S})
    redis_client.config_resetstat()
    assert await broker.groups.reclaim(_SET, now=_NOW)
    assert redis_client.zcard(_GROUP) == 2500
    assert not redis_client.exists(_SET_KEY, _SETS)
    stats = redis_client.info("commandstats")
    assert stats["cmdstat_zadd"]["calls"] == 3


async def test_entries_that_name_no_set_are_removed(broker: RedisBroker, redis_client: redis.Redis) -> None:
    odd = SetName(queue="default", group="odd", set_id="s")
    odd_key = keys.aggregation_set("default", "odd", "s")
    redis_client.zadd(_SETS, {"nonsense": 1, odd_key: 1, "asynq:{other}:g:a:b": 1, _SET_KEY: 1})
    redis_client.set(odd_key, "text")
    expired = await broker.groups.expired_sets("default", now=_NOW)
    assert set(expired) == {odd, _SET}
    for name in expired:
        assert not await broker.groups.reclaim(name, now=_NOW)
    assert read_keyspace(redis_client) == {odd_key: b"text"}


async def test_a_set_is_held_for_longer_only_while_it_is_there(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, taken(grouped("a")))
    await broker.groups.hold(_SET, until=_NOW + timedelta(seconds=5))
    assert redis_client.zscore(_SETS, _SET_KEY) == _NOW_S + 5
    await broker.groups.finish(_SET, [grouped("a")], None, now=_NOW)
    await broker.groups.hold(_SET, until=_LATER)
    assert read_keyspace(redis_client) == {}


async def test_members_are_archived_with_the_reason(broker: RedisBroker, redis_client: redis.Redis) -> None:
    seed_keyspace(redis_client, taken(grouped("a")))
    failed = replace(grouped("a"), error="no use")
    await broker.groups.archive(_SET, [failed], now=_NOW)
    await broker.groups.finish(_SET, [], None, now=_NOW)
    after = read_keyspace(redis_client)
    assert after == queue_content(archived=[(failed, _NOW_S)])


async def test_a_task_that_was_run_out_of_its_group_is_retried_by_itself(
    broker: RedisBroker, redis_client: redis.Redis
) -> None:
    """D3: Asynq lets it join the group again when its retry is due."""
    seed_keyspace(redis_client, waiting("a"))
    inspector = Inspector(broker=broker, clock=lambda: _NOW)
    await inspector.run_task("default", "a")
    assert redis_client.hget(keys.task("default", "a"), "group") is None
    assert read_keyspace(redis_client)[keys.pending("default")] == [b"a"]


@pytest.mark.parametrize("state", ["pending", "retry"])
async def test_a_task_that_a_go_peer_ran_out_of_its_group_is_retried_by_itself(
    state: str, broker: RedisBroker, redis_client: redis.Redis
) -> None:
    """D3: a Go peer leaves the group's name in the task's hash."""
    containers: dict[str, Any] = {"pending": [grouped("a")]} if state == "pending" else {"retry": [(grouped("a"), 1)]}
    seed_keyspace(redis_client, queue_content(**containers))
    redis_client.hset(keys.task("default", "a"), "group", "g:1")
    if state == "retry":
        assert await broker.forward("default", now=_NOW) == 1
        assert redis_client.lrange(keys.pending("default"), 0, -1) == [b"a"]
    else:
        await broker.dequeue("default", limit=1, now=_NOW, lease=timedelta(seconds=30))
    assert redis_client.hget(keys.task("default", "a"), "group") is None
    assert not redis_client.exists(_GROUP, keys.groups("default"))


async def test_a_delayed_task_joins_its_group_when_it_is_due(broker: RedisBroker, redis_client: redis.Redis) -> None:
    """D2: Asynq's delayed task with a group runs by itself."""
    later = NewTask(message=grouped("a"), process_at=_NOW + timedelta(seconds=5))
    await broker.enqueue([later], now=_NOW)
    assert await broker.forward("default", now=_NOW + timedelta(seconds=6)) == 1
    page = await broker.groups.list_groups("default", cursor=None, now=_NOW)
    assert [(group.name, group.first_id) for group in page.groups] == [("g:1", b"a")]
    assert redis_client.hget(keys.task("default", "a"), "state") == b"aggregating"
