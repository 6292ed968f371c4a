"""Anything may lie in Redis: servers, schedulers and inspectors go on, and every good task is done.

Bad items of every kind are strewn among good tasks: messages that cannot be read, ids without a task, keys of other
types, scores and names that mean nothing. What is bad is set aside: nothing of it is left where tasks are taken.

    LONGSHORE_FUZZ_SEEDS=100 pytest tests/fuzz

tries more seeds; a failure names its own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import redis

from longshore import App, GroupedTask, Inspector, Task, TaskState
from longshore.protocol import codec, keys
from longshore.protocol.periodic import encode_entry
from longshore.scheduler import Scheduler
from longshore.testing import new_message
from periodic.harness import new_entry
from runtime.harness import quick, serving, until

_SEEDS = int(os.environ.get("LONGSHORE_FUZZ_SEEDS", "12"))
_QUEUE = "fuzzed"
_STATES = ("pending", "active", "scheduled", "retry", "archived", "completed")
_TIMED = ("scheduled", "retry", "archived", "completed", "lease")
_SCOPE = "fuzz/scope"


class Strewer:
    """Puts things into a Redis, good and bad, as a seed says."""

    def __init__(self, client: redis.Redis, seed: int) -> None:
        self.client = client
        self.random = Random(seed)
        self.now_s = codec.unix_seconds(datetime.now(UTC))
        self.number = 0

    def good(self, container: str) -> str:
        """A task that must be done; its id."""
        task_id = f"good{(number := self._next())}"
        message = new_message("good", id=task_id, queue=_QUEUE, payload=str(number).encode())
        fields: dict[str, Any] = {"msg": codec.encode_task(message), "state": container}
        if container == "aggregating":
            self.client.hset(keys.task(_QUEUE, task_id), mapping=fields | {"group": "g"})
            self.client.zadd(keys.group(_QUEUE, "g"), {task_id: self.now_s - 3600})
            self.client.sadd(keys.groups(_QUEUE), "g")
            return task_id
        self.client.hset(keys.task(_QUEUE, task_id), mapping=fields)
        self._put(container, task_id.encode(), self.now_s - 3600)
        return task_id

    def bad(self) -> None:
        """One bad item, somewhere."""
        kind = self.random.choice((self._bad_task, self._bad_task, self._bad_task, self._bad_group, self._bad_record))
        kind()

    def _bad_task(self) -> None:
        container = self.random.choice((*_STATES, "aggregating", "lease"))
        task_id = self.random.choice((self._bytes(6), f"bad{self._next()}".encode(), b"a:b{c}", b""))
        key = keys.task_prefix(_QUEUE).encode() + task_id
        what = self.random.randrange(9)
        self.client.delete(key)
        if what == 0:
            pass  # no hash at all
        elif what == 1:
            self.random.choice(
                (
                    lambda: self.client.set(key, "text"),
                    lambda: self.client.rpush(key, "x"),
                    lambda: self.client.sadd(key, "x"),
                    lambda: self.client.zadd(key, {"x": 1}),
                )
            )()
        else:
            fields: dict[str, Any] = {"msg": self._msg(task_id), "state": container}
            if what == 2:
                del fields["msg"]
            elif what == 3:
                fields["state"] = self.random.choice((b"", b"\xff", b"asleep", *(state.encode() for state in _STATES)))
            elif what == 4:
                fields |= {"pending_since": self._bytes(8), "unique_key": self._bytes(8), "result": self._bytes(9)}
            elif what == 5:
                fields |= {"unique_key": keys.unique("another queue", "t", b""), "group": self._bytes(3)}
            elif what == 6:
                del fields["state"]
            self.client.hset(key, mapping=fields)
        if container == "aggregating":
            group = self.random.choice((b"g", self._bytes(2), b"x:y"))
            self._ignoring(
                lambda: self.client.zadd(keys.group_prefix(_QUEUE).encode() + group, {task_id: self._score()})
            )
            if self.random.random() < 0.8:
                self.client.sadd(keys.groups(_QUEUE), group)
        else:
            self._put(container, task_id, self._score())

    def _bad_group(self) -> None:
        sets = keys.aggregation_sets(_QUEUE)
        name = self._bytes(3)
        key = keys.group_prefix(_QUEUE).encode() + name
        what = self.random.randrange(5)
        if what == 0:
            self.client.sadd(keys.groups(_QUEUE), name)  # a name without a group
        elif what == 1:
            self.client.sadd(keys.groups(_QUEUE), name)
            self.client.set(key, "no group")
        elif what == 2:
            self.client.zadd(sets, {self._bytes(9): self._score()})
        elif what == 3:
            self.client.zadd(sets, {keys.aggregation_set("another queue", "g", "x"): self._score()})
        else:
            self.client.zadd(sets, {key + b":set": self._score()})
            self.client.zadd(key + b":set", {self._bytes(4): self._score()})

    def _bad_record(self) -> None:
        """What servers and schedulers tell of themselves, and what people declare."""
        what = self.random.randrange(8)
        name = self._bytes(5)
        if what == 0:
            self.client.zadd(keys.SERVERS, {name: self.now_s + 60})
        elif what == 1:
            key = b"asynq:servers:{" + name + b"}"
            self.client.zadd(keys.SERVERS, {key: self.now_s + 60})
            self.client.set(key, self._bytes(30))
        elif what == 2:
            key = b"asynq:servers:{" + name + b"}"
            self.client.zadd(keys.SERVERS, {key: self.now_s + 60})
            self.client.delete(key)
            self.client.rpush(key, "x")
        elif what == 3:
            self.client.zadd(keys.SCHEDULERS, {b"asynq:schedulers:{" + name + b"}": self.now_s + 60})
            self._ignoring(lambda: self.client.rpush(b"asynq:schedulers:{" + name + b"}", self._bytes(30)))
        elif what == 4:
            self.client.sadd(keys.QUEUES, self.random.choice((name, b"", b"}x", b"a}b")))
        elif what == 5:
            value = self.random.choice((self._bytes(20), b"{}", b"[]", b"null", b'{"schedule":7}', self._entry()))
            self.client.hset(keys.periodic_entries(_SCOPE), name, value)
        elif what == 6:
            self.client.publish(keys.notices(0), self._bytes(20))
            self.client.publish(keys.CANCEL_CHANNEL, self._bytes(20))
        else:
            self.client.set(keys.processed(_QUEUE, datetime.now(UTC).date()), "many")

    def _entry(self) -> bytes:
        document = json.loads(encode_entry(new_entry(type="good", queue=_QUEUE)))
        field = self.random.choice(list(document))
        document[field] = self.random.choice((None, 7, -1, "", [], {}, 1e300, "\x00", True))
        return json.dumps(document).encode()

    def _msg(self, task_id: bytes) -> bytes:
        good = bytearray(codec.encode_task(new_message("good", id="other", queue=_QUEUE)))
        what = self.random.randrange(5)
        if what == 0:
            return self._bytes(40)
        if what == 1:
            return bytes(good)  # of another id
        if what == 2:
            return codec.encode_task(new_message("good", id=task_id.decode("utf-8", "replace"), queue="another queue"))
        if what == 3:
            return bytes(good[: self.random.randrange(len(good))])
        for _ in range(3):
            good[self.random.randrange(len(good))] = self.random.randrange(256)
        return bytes(good)

    def _put(self, container: str, task_id: bytes, score: float) -> None:
        key = f"asynq:{{{_QUEUE}}}:{container}"
        if container in _TIMED:
            self.client.zadd(key, {task_id: score})
        else:
            self.client.lpush(key, task_id)
        if container == "active" and self.random.random() < 0.7:
            self.client.zadd(keys.lease(_QUEUE), {task_id: score})

    def _score(self) -> float:
        return self.random.choice((0, 1, self.now_s - 5000, self.now_s - 0.5, float("-inf"), -1e300, -7))

    def _bytes(self, length: int) -> bytes:
        return self.random.randbytes(self.random.randrange(1, length + 1))

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _ignoring(self, write: Any) -> None:
        """A key may be of another type already."""
        with contextlib.suppress(redis.ResponseError):
            write()


def _application(done: set[str]) -> App:
    app = App()

    @app.task("good")
    async def handle(payload: bytes) -> None:
        done.add(payload.decode("utf-8", "replace"))

    @app.aggregator("g")
    async def merge(group: str, tasks: list[GroupedTask]) -> Task:
        for task in tasks:
            done.add((task.payload or b"").decode("utf-8", "replace"))
        return Task("good", b"merged")

    return app


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", range(_SEEDS))
async def test_every_good_task_is_done_whatever_lies_around_it(
    redis_url: str, redis_client: redis.Redis, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="longshore")
    strewer = Strewer(redis_client, seed)
    good = []
    for _ in range(12):
        for container in ("pending", "active", "scheduled", "retry", "aggregating"):
            for _ in range(strewer.random.randrange(5)):
                strewer.bad()
            good.append(strewer.good(container))
    redis_client.sadd(keys.QUEUES, _QUEUE)
    wanted = {task_id.removeprefix("good") for task_id in good}
    done: set[str] = set()
    timing = quick(skew=timedelta(0), heartbeat=timedelta(seconds=1))
    options: dict[str, Any] = {
        "queues": {_QUEUE: 1},
        "timing": timing,
        "group_grace_period": timedelta(seconds=1),
    }
    async with (
        Inspector(redis_url) as inspector,
        Scheduler(_SCOPE, redis=redis_url),
        serving(_application(done), redis_url, **options),
    ):
        await _look_at_everything(inspector)
        await until(lambda: wanted <= done, f"tasks left: {sorted(wanted - done)}")
        for _ in range(40):
            strewer.bad()
        later = {strewer.good("pending").removeprefix("good") for _ in range(10)}
        await until(lambda: later <= done, f"tasks left: {sorted(later - done)}")
        # What is bad is where no server takes it from: the archive, or nowhere.
        await until(lambda: redis_client.llen(keys.pending(_QUEUE)) == 0, "an empty list of pending tasks")
        await until(lambda: redis_client.llen(keys.active(_QUEUE)) == 0, "an empty list of active tasks")
        await until(lambda: redis_client.zcount(keys.scheduled(_QUEUE), "-inf", strewer.now_s) == 0, "nothing due")
        await _look_at_everything(inspector)
        for state in TaskState:
            if state is not TaskState.ACTIVE:
                await inspector.delete_all(_QUEUE, state)
    # each finding is told; how, is tested elsewhere
    assert "task_unreadable" in {getattr(record, "action", "") for record in caplog.records}
    for task_id in good:
        assert not redis_client.exists(keys.task(_QUEUE, task_id))


async def _look_at_everything(inspector: Inspector) -> None:
    """Each read either answers or says what is wrong; one bad item hides no others."""
    assert _QUEUE in {queue.name for queue in await inspector.queues()}
    assert (await inspector.queue(_QUEUE)).problem is None
    for state in TaskState:
        if state is not TaskState.AGGREGATING:
            await inspector.list_tasks(_QUEUE, state, size=1000)
    for group in await inspector.groups(_QUEUE):
        await inspector.list_tasks(_QUEUE, "aggregating", group=group.name)
    await inspector.find_task("good1")
    await inspector.memory_usage(_QUEUE)
    await inspector.history(_QUEUE)
    await inspector.servers()
    await inspector.scheduler_entries()
    await inspector.snapshot([_QUEUE], scope=_SCOPE)
