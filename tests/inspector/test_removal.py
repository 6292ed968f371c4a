"""Removing a queue: what goes with it, what is refused, and that nothing of it is left to a later queue of the name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis

from longshore import Inspector, QueueNotEmpty
from longshore.protocol import codec, keys
from longshore.testing import new_message, queue_content, read_keyspace, seed_keyspace

_NOW_S = codec.unix_seconds(datetime(2024, 3, 1, 12, tzinfo=UTC))
_SET = keys.group("default", "g") + ":uuid"
_OTHERS = {keys.QUEUES: {b"other"}, "longshore:{default}:periodic:e": {b"last_tick": b"1"}} | queue_content(
    "other", pending=[new_message(queue="other")]
)


def _tasks(**options: Any) -> dict[str, Any]:
    """Tasks in every state but active, and two being aggregated once, long ago."""
    unique = new_message(id="u", unique_key=keys.unique("default", "test:task", b"{}"))
    content = queue_content(
        pending=[new_message(id="p")],
        scheduled=[(new_message(id="s"), 1)],
        retry=[(new_message(id="r"), 1)],
        archived=[(new_message(id="a"), 1)],
        completed=[(unique, 1)],
        groups={"g": [(new_message(id="g"), 1)]},
        locks=True,
    )
    content |= {_SET: {b"m": 1.0, b"n": 2.0}, keys.aggregation_sets("default"): {_SET.encode(): float(_NOW_S)}}
    for task_id in ("m", "n"):
        content[keys.task("default", task_id)] = {b"msg": b"x", b"state": b"aggregating", b"group": b"g"}
    return content


def _leftovers() -> dict[str, Any]:
    days = [date(2024, 3, 2), date(2024, 3, 1), date(2024, 2, 1), date(2023, 12, 2)]
    counters = {name("default", day): b"1" for day in days for name in (keys.processed, keys.failed)}
    totals = {keys.processed_total("default"): b"9", keys.failed_total("default"): b"8"}
    line = {
        keys.lines("default"): {b"t"},
        keys.limit_line("default", "t"): {b"s": 1.0},
        keys.limit_due("default", "t"): {b"s": b"1"},
        keys.limit_running("default", "t"): {b"x"},
    }
    return counters | totals | line | {keys.paused("default"): b"1", keys.lease("default"): {b"stray": 1.0}}


def _seed(client: redis.Redis, *contents: dict[str, Any]) -> dict[str, Any]:
    for content in (_OTHERS, *contents):
        seed_keyspace(client, content)
    client.sadd(keys.QUEUES, "default")
    return read_keyspace(client)


async def test_a_queue_without_tasks_goes_with_its_counters_its_pause_and_its_name(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    _seed(redis_client, _leftovers(), {keys.groups("default"): {"a name without tasks"}})
    assert await inspector.remove_queue("default") == 0
    assert read_keyspace(redis_client) == _OTHERS


@pytest.mark.parametrize(
    "tasks",
    [
        queue_content(completed=[(new_message(id="a"), _NOW_S + 9)]),
        queue_content(groups={"g": [(new_message(id="a"), 1)]}),
        queue_content(pending=[new_message(id="a")]),
        queue_content(active=[(new_message(id="a"), 1)]),
        {keys.aggregation_sets("default"): {_SET: 1}, _SET: {"a": 1}},
    ],
    ids=["completed", "aggregating", "pending", "active", "being aggregated"],
)
async def test_a_queue_with_tasks_stays_unless_forced(
    inspector: Inspector, redis_client: redis.Redis, tasks: dict[str, Any]
) -> None:
    """Asynq's removal looks at neither completed nor aggregating tasks, and leaves them for ever."""
    before = _seed(redis_client, _leftovers(), tasks)
    with pytest.raises(QueueNotEmpty, match="queue 'default' has tasks"):
        await inspector.remove_queue("default")
    assert read_keyspace(redis_client) == before


async def test_force_deletes_the_tasks_of_every_state_and_their_locks(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    _seed(redis_client, _leftovers(), _tasks())
    assert await inspector.remove_queue("default", force=True) == 8
    assert read_keyspace(redis_client) == _OTHERS


@pytest.mark.parametrize(
    "busy",
    [
        queue_content(active=[(new_message(id="busy"), 1)]),
        {keys.aggregation_sets("default"): {_SET: _NOW_S + 1}},
    ],
    ids=["a task is active", "a group is being aggregated"],
)
async def test_force_does_not_take_work_from_under_a_server(
    inspector: Inspector, redis_client: redis.Redis, busy: dict[str, Any]
) -> None:
    before = _seed(redis_client, _tasks(), busy)
    with pytest.raises(QueueNotEmpty, match="active tasks, or is being aggregated"):
        await inspector.remove_queue("default", force=True)
    assert read_keyspace(redis_client) == before


async def test_force_leaves_what_a_set_of_another_queue_holds(inspector: Inspector, redis_client: redis.Redis) -> None:
    foreign = keys.group("other", "g") + ":uuid"
    before = _seed(redis_client, {foreign: {"x": 1}})
    redis_client.zadd(keys.aggregation_sets("default"), {foreign: 1, b"\xff": 1})
    assert await inspector.remove_queue("default", force=True) == 0
    assert read_keyspace(redis_client) == before | {keys.QUEUES: {b"other"}}


async def test_names_of_groups_under_which_there_is_no_group_keep_no_queue(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    stranger = {keys.group("default", "s"): b"text"}
    _seed(redis_client, stranger, queue_content(groups={"g": [(new_message(id="a"), 1)]}))
    redis_client.sadd(keys.groups("default"), "s", "empty")
    assert (await inspector.queue("default")).aggregating == 1
    assert await inspector.memory_usage("default") > 0
    assert await inspector.remove_queue("default", force=True) == 1
    assert read_keyspace(redis_client) == _OTHERS | stranger


async def test_a_queue_is_retired_with_its_tasks_while_its_workers_go_on(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    _seed(redis_client, _leftovers(), {keys.archive_limits("default"): {b"max_tasks": b"5"}}, _tasks())
    redis_client.delete(keys.paused("default"), keys.lease("default"))
    seed_keyspace(redis_client, queue_content(active=[(new_message(id="x"), _NOW_S + 5)]))
    for _ in range(2):
        assert not await inspector.retire_queue("default", delete_tasks=True)
        # nothing is paused, and of all tasks the one in flight is left
        assert redis_client.exists(keys.paused("default")) == 0
        assert redis_client.lrange(keys.active("default"), 0, -1) == [b"x"]
        assert redis_client.keys("asynq:{default}:t:*") == [keys.task("default", "x").encode()]
    assert redis_client.exists(keys.unique("default", "test:task", b"{}")) == 0

    # its attempt fails meanwhile
    redis_client.delete(keys.active("default"), keys.lease("default"))
    seed_keyspace(redis_client, queue_content(retry=[(new_message(id="x"), _NOW_S)]))
    assert await inspector.retire_queue("default", delete_tasks=True)
    assert read_keyspace(redis_client) == _OTHERS


async def test_a_queue_with_tasks_is_not_retired_unless_they_may_be_deleted(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    before = _seed(redis_client, queue_content(archived=[(new_message(id="a"), 1)]))
    assert not await inspector.retire_queue("default", delete_tasks=False)
    assert read_keyspace(redis_client) == before
    redis_client.delete(keys.archived("default"), keys.task("default", "a"))
    assert await inspector.retire_queue("default", delete_tasks=False)
    assert read_keyspace(redis_client) == _OTHERS


async def test_a_group_that_is_being_aggregated_keeps_its_queue_until_its_time_is_over(
    redis_url: str, redis_client: redis.Redis
) -> None:
    now = datetime(2024, 3, 1, 11, tzinfo=UTC)
    _seed(redis_client, _tasks())
    async with Inspector(redis_url, clock=lambda: now) as inspector:
        assert not await inspector.retire_queue("default", delete_tasks=True)
        assert redis_client.zcard(_SET) == 2
    async with Inspector(redis_url) as inspector:
        assert await inspector.retire_queue("default", delete_tasks=True)
    assert read_keyspace(redis_client) == _OTHERS


async def test_a_large_queue_is_retired_in_calls_that_each_end_soon(
    inspector: Inspector, redis_client: redis.Redis
) -> None:
    ids = [f"t{number}" for number in range(3000)]
    redis_client.zadd(keys.scheduled("default"), dict.fromkeys(ids, 1.0))
    assert not await inspector.retire_queue("default", delete_tasks=True, within=timedelta(0))
    assert redis_client.zcard(keys.scheduled("default")) == 2750
    assert await inspector.retire_queue("default", delete_tasks=True)


@pytest.mark.parametrize("being_aggregated", [False, True])
async def test_many_small_groups_are_retired_in_calls_that_each_end_soon(
    inspector: Inspector, redis_client: redis.Redis, being_aggregated: bool
) -> None:
    groups = [keys.group("default", f"g{number}") for number in range(30)]
    for group in groups:
        redis_client.zadd(group, {"t": 1.0})
    if being_aggregated:
        redis_client.zadd(keys.aggregation_sets("default"), dict.fromkeys(groups, 1.0))
    else:
        redis_client.sadd(keys.groups("default"), *(f"g{number}" for number in range(30)))
    for left in (29, 28):
        assert not await inspector.retire_queue("default", delete_tasks=True, within=timedelta(0))
        assert redis_client.exists(*groups) == left
    assert await inspector.retire_queue("default", delete_tasks=True)
    assert redis_client.keys() == []


async def test_a_queue_that_was_only_paused_is_retired(inspector: Inspector, redis_client: redis.Redis) -> None:
    redis_client.set(keys.paused("default"), 1)
    assert await inspector.retire_queue("default", delete_tasks=False)
    assert redis_client.keys() == []
