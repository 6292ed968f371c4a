"""The client: what options become, which route a task takes, and how a refusal reads."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pydantic
import pytest
import pytest_asyncio
import redis

from go_peer import GoPeer
from longshore import (
    NO_TIMEOUT,
    Client,
    DuplicateTask,
    Inspector,
    InvalidOption,
    RedisSettings,
    Task,
    TaskIDConflict,
    TaskInfo,
    TaskState,
)
from longshore.broker.redis_broker import RedisBroker
from longshore.errors import WrongType
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.task import OPTIONS
from longshore.testing import RedisServer, queue_content, read_keyspace

_NOW = datetime(2030, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
_NOW_S = codec.unix_seconds(_NOW)


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url, clock=lambda: _NOW, retry_for=0) as client:
        yield client


def _message(client: redis.Redis, info: TaskInfo) -> TaskMessage:
    """The message as stored."""
    data = client.hget(keys.task(info.queue, info.id), "msg")
    assert isinstance(data, bytes)
    return codec.decode_task(data)


async def test_a_task_without_options_gets_asynqs_defaults(client: Client, redis_client: redis.Redis) -> None:
    info = await client.enqueue("email:welcome", {"user": 7})
    expected = TaskMessage(
        type="email:welcome",
        payload=b'{"user":7}',
        id=str(UUID(info.id, version=4)),
        queue="default",
        max_retry=25,
        timeout=timedelta(minutes=30),
    )
    assert info == TaskInfo(message=expected, state=TaskState.PENDING, next_process_at=_NOW)
    assert read_keyspace(redis_client) == {keys.QUEUES: {b"default"}} | queue_content(
        pending=[expected], pending_since_ns=codec.unix_nanoseconds(_NOW)
    )


async def test_every_option_is_stored(client: Client, redis_client: redis.Redis) -> None:
    info = await client.enqueue(
        Task("image:resize", b"\x00\xff"),
        queue="critical",
        max_retry=0,
        timeout=90,
        deadline=_NOW + timedelta(days=1),
        process_in=timedelta(minutes=1),
        unique_for=timedelta(hours=1),
        task_id="mine",
        retention=timedelta(days=2),
        group="g",
        headers={"trace": "1"},
    )
    stored = _message(redis_client, info)
    assert stored == TaskMessage(
        type="image:resize",
        payload=b"\x00\xff",
        id="mine",
        queue="critical",
        max_retry=0,
        timeout=timedelta(seconds=90),
        deadline=datetime(2030, 1, 3, 3, 4, 5, tzinfo=UTC),
        unique_key=keys.unique("critical", "image:resize", b"\x00\xff"),
        retention=timedelta(days=2),
        group="g",
        headers={"trace": "1"},
    )
    assert info.state is TaskState.SCHEDULED
    assert info.next_process_at == datetime(2030, 1, 2, 3, 5, 5, tzinfo=UTC)
    assert redis_client.zscore(keys.scheduled("critical"), "mine") == _NOW_S + 60
    # the lock lives until the task is due, and then for its time
    assert 3650 < redis_client.ttl(stored.unique_key or "") <= 3660


@pytest.mark.parametrize(
    ("options", "timeout", "deadline"),
    [
        ({}, 1800, None),
        ({"timeout": 7.1}, 8, None),
        ({"deadline": _NOW}, None, _NOW),
        ({"timeout": 7, "deadline": _NOW}, 7, _NOW),
        ({"timeout": None}, 1800, None),
    ],
    ids=["neither", "a timeout, rounded up to seconds", "a deadline only", "both", "none given as None"],
)
async def test_the_default_timeout_holds_only_without_a_deadline(
    client: Client, redis_client: redis.Redis, options: Any, timeout: int | None, deadline: datetime | None
) -> None:
    stored = _message(redis_client, await client.enqueue("t", **options))
    assert stored.timeout == (None if timeout is None else timedelta(seconds=timeout))
    assert stored.deadline == (None if deadline is None else deadline.replace(microsecond=0))


@pytest.mark.parametrize(
    ("options", "deadline"),
    [
        ({"timeout": NO_TIMEOUT}, datetime(9999, 1, 1, tzinfo=UTC)),
        ({"timeout": NO_TIMEOUT, "deadline": _NOW}, _NOW.replace(microsecond=0)),
    ],
    ids=["alone", "with a deadline"],
)
async def test_no_timeout_is_stored_as_a_far_deadline_unless_there_is_another(
    client: Client, redis_client: redis.Redis, options: Any, deadline: datetime
) -> None:
    stored = _message(redis_client, await client.enqueue("t", **options))
    assert (stored.timeout, stored.deadline) == (None, deadline)


@pytest.mark.go
async def test_a_go_server_runs_a_task_without_timeout(
    redis_url: str, redis_server: RedisServer, go_peer: GoPeer
) -> None:
    async with Client(redis_url) as client, Inspector(redis_url) as inspector:
        info = await client.enqueue("t", b"sleep", timeout=NO_TIMEOUT)
        with go_peer.server(redis_server.port) as output:
            assert json.loads(await asyncio.to_thread(output.readline))["id"] == info.id
            async with asyncio.timeout(30):
                while not (running := [one for server in await inspector.servers() for one in server.workers]):  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.05)
        assert running[0].deadline == datetime(9999, 1, 1, tzinfo=UTC)


async def test_parts_of_a_second_are_rounded_up(client: Client, redis_client: redis.Redis) -> None:
    info = await client.enqueue("t", timeout=0.2, retention=0.001, unique_for=timedelta(milliseconds=1))
    stored = _message(redis_client, info)
    assert stored.timeout == stored.retention == timedelta(seconds=1)
    assert redis_client.ttl(stored.unique_key or "") == 1
    whole = _message(redis_client, await client.enqueue("t", 2, timeout=3, retention=0, unique_for=60))
    assert (whole.timeout, whole.retention) == (timedelta(seconds=3), None)
    assert 59 <= redis_client.ttl(whole.unique_key or "") <= 60


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"process_in": 60}, TaskState.SCHEDULED),
        ({"process_at": _NOW + timedelta(seconds=1)}, TaskState.SCHEDULED),
        ({"process_in": 60, "group": "g"}, TaskState.SCHEDULED),
        ({"process_in": 0}, TaskState.PENDING),
        ({"process_in": -5}, TaskState.PENDING),
        ({"process_at": _NOW}, TaskState.PENDING),
        ({"group": "g"}, TaskState.AGGREGATING),
        ({"group": "g", "unique_for": 5}, TaskState.AGGREGATING),
    ],
)
async def test_the_route_follows_from_time_and_group(
    client: Client, redis_client: redis.Redis, options: Any, state: TaskState
) -> None:
    info = await client.enqueue("t", **options)
    assert info.state is state
    assert redis_client.hget(keys.task("default", info.id), "state") == state.value.encode()


async def test_the_longest_times_are_stored(client: Client, redis_client: redis.Redis) -> None:
    last, longest = datetime.max.replace(tzinfo=UTC), timedelta(microseconds=(2**63 - 1) // 1000)
    info = await client.enqueue(
        "t", process_at=last, deadline=last, unique_for=longest, timeout=longest, retention=longest
    )
    stored = _message(redis_client, info)
    assert stored.timeout == stored.retention == timedelta(seconds=longest // timedelta(seconds=1))
    assert stored.deadline == last.replace(microsecond=0)
    assert redis_client.zscore(keys.scheduled("default"), info.id) == codec.unix_seconds(last)


async def test_options_of_the_call_win_over_the_tasks_and_headers_are_joined(
    client: Client, redis_client: redis.Redis
) -> None:
    task = Task("t", queue="low", max_retry=3, process_in=60, headers={"a": "1", "b": "1"})
    info = await client.enqueue(task, max_retry=5, process_at=_NOW - timedelta(1), headers={"b": "2"})
    stored = _message(redis_client, info)
    assert (stored.queue, stored.max_retry, stored.headers) == ("low", 5, {"a": "1", "b": "2"})
    assert info.state is TaskState.PENDING


async def test_one_task_object_makes_many_tasks(client: Client) -> None:
    task = Task("t")
    first, second = [await client.enqueue(task) for _ in range(2)]
    assert first.id != second.id


# -- refusals ----------------------------------------------------------------------------------------------------------


async def test_a_second_task_of_the_same_payload_is_refused_while_the_lock_is_held(
    client: Client, redis_client: redis.Redis
) -> None:
    await client.enqueue("t", {"a": 1}, unique_for=60)
    before = read_keyspace(redis_client)
    with pytest.raises(DuplicateTask, match="queue 'default' already has a task of type 't'") as error:
        await client.enqueue("t", {"a": 1}, unique_for=60, task_id="second")
    assert (error.value.queue, error.value.task_id) == ("default", "second")
    assert read_keyspace(redis_client) == before
    await client.enqueue("t", {"a": 2}, unique_for=60)
    await client.enqueue("t", {"a": 1}, unique_for=60, queue="low")


async def test_an_absent_payload_and_an_empty_one_are_two_locks(client: Client, redis_client: redis.Redis) -> None:
    await client.enqueue("t", unique_for=60)
    await client.enqueue("t", b"", unique_for=60)
    assert redis_client.exists("asynq:{default}:unique:t:")
    assert redis_client.exists("asynq:{default}:unique:t:d41d8cd98f00b204e9800998ecf8427e")


async def test_an_id_that_exists_in_any_state_is_refused_and_no_lock_stays(
    client: Client, redis_client: redis.Redis
) -> None:
    await client.enqueue("t", task_id="one", process_in=60)
    before = read_keyspace(redis_client)
    with pytest.raises(TaskIDConflict, match="queue 'default' already has a task with id 'one'"):
        await client.enqueue("t", {"x": 1}, task_id="one", unique_for=60)
    assert read_keyspace(redis_client) == before
    assert (await client.enqueue("t", task_id="one", queue="low")).id == "one"


async def test_many_tasks_are_created_or_refused_one_by_one(client: Client, redis_client: redis.Redis) -> None:
    tasks = [
        Task("a", {"n": 1}, unique_for=60),
        Task("a", {"n": 1}, unique_for=60),
        Task("b", task_id="x"),
        Task("c", task_id="x"),
        Task("d", process_in=60, queue="low"),
    ]
    results = await client.enqueue_many(tasks)
    assert [type(result) for result in results] == [TaskInfo, DuplicateTask, TaskInfo, TaskIDConflict, TaskInfo]
    assert redis_client.smembers(keys.QUEUES) == {b"default", b"low"}
    assert redis_client.llen(keys.pending("default")) == 2
    assert await client.enqueue_many([]) == []


@pytest.mark.parametrize(
    ("count", "size", "round_trips"),
    [(2500, 10, 3), (1000, 10, 1), (4, 3_000_000, 4), (3, 0, 1)],
    ids=["many", "a thousand", "large ones", "empty ones"],
)
async def test_no_round_trip_carries_more_than_fits_into_its_time_limit(
    client: Client, redis_client: redis.Redis, count: int, size: int, round_trips: int
) -> None:
    tasks = [Task("t", b"x" * size, task_id=f"{number}") for number in range(count)]
    await client.enqueue("t")  # the script is known from here on
    redis_client.config_resetstat()
    results = await client.enqueue_many(tasks)
    assert [result.id for result in results if isinstance(result, TaskInfo)] == [f"{n}" for n in range(count)]
    assert redis_client.info("commandstats")["cmdstat_sadd"]["calls"] == round_trips


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({}, keys.pending("default")),
        ({"process_in": 60}, keys.scheduled("default")),
        ({"group": "g"}, keys.group("default", "g")),
        ({"group": "g"}, keys.groups("default")),
    ],
)
async def test_a_task_that_has_nowhere_to_wait_leaves_neither_a_hash_nor_a_lock(
    client: Client, redis_client: redis.Redis, options: Any, target: str
) -> None:
    redis_client.set(target, "text")
    with pytest.raises(WrongType, match=re.escape(target)):
        await client.enqueue("t", unique_for=60, **options)
    assert read_keyspace(redis_client) == {keys.QUEUES: {b"default"}, target: b"text"}


# -- options that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"queue": " "}, "queue: must not be blank"),
        ({"queue": 5}, "queue: must be text, not int"),
        ({"queue": "}x"}, "queue: must not begin with '}'"),
        ({"queue": "\udcff"}, "queue: is not valid Unicode"),
        ({"max_retry": -1}, "max_retry: must not be negative"),
        ({"max_retry": 2**31}, "max_retry: must be at most 2147483647"),
        ({"max_retry": 1.5}, "max_retry: must be a whole number, not float"),
        ({"max_retry": True}, "max_retry: must be a whole number, not bool"),
        ({"timeout": 0}, "timeout: must be more than zero; for no time limit give NO_TIMEOUT"),
        ({"timeout": -0.5}, "timeout: must be more than zero"),
        ({"timeout": "30s"}, "timeout: must be a timedelta or a number of seconds, not str"),
        ({"timeout": float("nan")}, "timeout: is not a duration"),
        ({"timeout": float("inf")}, "timeout: is not a duration"),
        ({"deadline": _NOW.replace(tzinfo=None)}, "deadline: must have a time zone"),
        ({"deadline": 5}, "deadline: must be a datetime, not int"),
        ({"process_at": _NOW.replace(tzinfo=None)}, "process_at: must have a time zone"),
        ({"deadline": datetime(1970, 1, 1, tzinfo=UTC)}, "deadline: must be later than the beginning of 1970"),
        ({"process_in": 1e15}, "process_in: is not a duration"),
        ({"process_in": 1e10}, "process_in: must be at most 292 years"),
        ({"process_in": timedelta.min}, "process_in: must be at most 292 years"),
        ({"timeout": timedelta.max - timedelta(1)}, "timeout: must be at most 292 years"),
        ({"retention": timedelta.max}, "retention: must be at most 292 years"),
        ({"unique_for": timedelta.max}, "unique_for: must be at most 292 years"),
        ({"process_in": 1, "process_at": _NOW}, "process_in: give either process_at or process_in"),
        ({"unique_for": 0}, "unique_for: must be more than zero"),
        ({"retention": -1}, "retention: must not be negative"),
        ({"task_id": ""}, "task_id: must not be blank"),
        ({"group": ""}, "group: must not be blank"),
        ({"headers": {"a": 1}}, "headers: must be a mapping of text to text; 'a' is not"),
        ({"headers": ["a"]}, "headers: must be a mapping of text to text, not list"),
        ({"retries": 3}, "retries: is not a task option; there are queue, max_retry, "),
    ],
)
async def test_an_option_that_cannot_be_used_is_named_and_nothing_is_sent(
    client: Client, redis_client: redis.Redis, options: Any, text: str
) -> None:
    with pytest.raises(InvalidOption, match=text):
        await client.enqueue("t", **options)
    assert read_keyspace(redis_client) == {}


@pytest.mark.parametrize("task_type", ["", "  ", None, "\udcff"])
def test_a_task_needs_a_type(task_type: Any) -> None:
    with pytest.raises(InvalidOption, match="task type: "):
        Task(task_type)


async def test_a_payload_is_given_once(client: Client) -> None:
    with pytest.raises(InvalidOption, match="payload: the Task has one already"):
        await client.enqueue(Task("t", 1), 2)


async def test_a_client_takes_a_url_or_settings_or_a_broker(redis_url: str) -> None:
    broker = RedisBroker.connect(RedisSettings(url=redis_url))
    async with Client(broker=broker) as client:
        await client.enqueue("t")
    await broker.ping()  # it is still the caller's
    await broker.aclose()
    async with Client(RedisSettings(url=redis_url)) as client:
        await client.ping()
    for wrong in (-1, float("nan"), "5", None):
        with pytest.raises(InvalidOption, match="retry_for: "):
            Client(retry_for=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="redis: must be a URL or RedisSettings, not int"):
        Client(6379)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="either a Redis or a broker"):
        Client(redis_url, broker=broker)


def test_the_table_explains_each_option_and_its_defaults_pass_its_own_checks() -> None:
    for name, option in OPTIONS.items():
        assert option.meaning
        assert option.default is None or option.convert(name, option.default) == option.default


# -- payloads ----------------------------------------------------------------------------------------------------------


@dataclass
class Welcome:
    user: int
    at: datetime


class Model(pydantic.BaseModel):
    user: int
    on: date


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        (None, None),
        (b"\x00", b"\x00"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        ("text ü", '"text ü"'.encode()),
        ({"b": [1, 2.5, True, None]}, b'{"b":[1,2.5,true,null]}'),
        (Welcome(7, _NOW), b'{"user":7,"at":"2030-01-02T03:04:05.678900+00:00"}'),
        (Model(user=7, on=date(2030, 1, 2)), b'{"user":7,"on":"2030-01-02"}'),
        ({"nested": [Welcome(1, _NOW)]}, b'{"nested":[{"user":1,"at":"2030-01-02T03:04:05.678900+00:00"}]}'),
        (Colour.RED, b'"red"'),
        (Decimal("1.10"), b'"1.10"'),
        (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        ({"s": {3}}, b'{"s":[3]}'),
    ],
)
def test_a_payload_becomes_bytes(payload: Any, data: bytes | None) -> None:
    assert Task("t", payload).payload == data


@pytest.mark.parametrize("payload", [object(), float("nan"), {"a": {1: object()}}, "\udcff"])
def test_a_payload_that_json_cannot_say_is_refused(payload: Any) -> None:
    with pytest.raises(InvalidOption, match="payload: cannot be written as JSON"):
        Task("t", payload)


def test_a_payload_that_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(InvalidOption, match="payload: cannot be written as JSON"):
        Task("t", ring)


def test_a_tasks_repr_does_not_show_its_payload() -> None:
    assert repr(Task("t", {"password": "secret"}, queue="low")) == "Task('t', queue='low')"
