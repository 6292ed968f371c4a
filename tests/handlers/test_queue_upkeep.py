"""What a Queue does beyond watching, on a real API server and a real Redis: its archive, and its end.

Proved: the archive's limits are set, enforced and undone; a Queue that is deleted takes its queue along as its
deletionPolicy says, with a task in flight kept, and its Broker after it; what is in the way is said, and there is a way
out.
Left out: what the plan decides in detail (tests/plan/test_archive.py, test_queue_deletion.py).
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from handlers.harness import Namespace, OperatorProcess, broker, queue
from handlers.waiting import eventually, stays
from longshore import App, Client, Task
from longshore.protocol import codec, keys
from longshore.testing import RedisServer, new_message
from runtime.harness import serving

pytestmark = pytest.mark.cluster

FINALIZER = "longshore.dev/remove-queue"


def held(namespace: Namespace, name: str) -> bool:
    found = namespace.get("Queue", name)
    return found is not None and FINALIZER in found["metadata"].get("finalizers", ())


def deleting(namespace: Namespace, name: str) -> str | None:
    """The reason of the condition Deleting."""
    found = namespace.condition("Queue", name, "Deleting")
    return found[1] if found is not None else None


def archive(client: redis.Redis, count: int, name: str = "mail") -> None:
    """Tasks as a Go worker archives them."""
    now_s = int(client.time()[0])
    with client.pipeline(transaction=False) as pipeline:
        for number in range(count):
            message = new_message(queue=name)
            pipeline.hset(keys.task(name, message.id), mapping={"msg": codec.encode_task(message), "state": "archived"})
            pipeline.zadd(keys.archived(name), {message.id: now_s - count + number})
        pipeline.execute()


def test_an_archive_is_kept_within_its_limits_until_they_are_removed(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    limits = keys.archive_limits("mail")
    with redis.Redis.from_url(redis_url) as client:
        archive(client, 3000)
        namespace.apply(broker(redis_url))
        namespace.apply(queue("mail", archive={"maxTasks": 100}))
        eventually(lambda: client.zcard(keys.archived("mail")), 100)
        assert len(client.keys("asynq:{mail}:t:*")) == 100
        assert client.hmget(limits, "max_tasks", "max_age_s") == [b"100", b"7776000"]
        eventually(lambda: (namespace.get("Queue", "mail") or {})["status"].get("trimmedTasks"), 2900)
        eventually(lambda: len(namespace.events("mail", "ArchiveTrimmed")), 1)

        archive(client, 50)  # a Go worker goes on
        eventually(lambda: client.zcard(keys.archived("mail")), 100)

        namespace.apply(queue("mail"))
        eventually(lambda: client.exists(limits), 0)
        eventually(lambda: "trimmedTasks" in (namespace.get("Queue", "mail") or {})["status"], False)

        namespace.apply(queue("mail", archive={"maxAge": "1h"}))
        eventually(lambda: client.hmget(limits, "max_tasks", "max_age_s"), [b"10000", b"3600"])
        namespace.delete("Queue", "mail")
        eventually(lambda: client.exists(limits), 0)
        assert client.zcard(keys.archived("mail")) == 100


def test_a_deleted_queue_takes_its_tasks_along_but_for_the_one_in_flight_and_its_broker_follows(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    app, release, ended = App(), asyncio.Event(), list[str]()

    @app.task("hold")
    async def hold() -> None:
        await release.wait()
        ended.append("hold")

    async def journey() -> None:
        async def soon(look: Any, wanted: Any) -> None:
            await asyncio.to_thread(eventually, look, wanted)

        async with Client(redis_url) as producer, serving(app, redis_url, queues={"mail": 1}, concurrency=1):
            await producer.enqueue("hold", queue="mail")
            await soon(lambda: client.llen(keys.active("mail")), 1)
            await producer.enqueue_many([Task("t", {"n": n}, queue="mail", unique_for=600) for n in range(500)])
            await producer.enqueue_many([Task("t", {}, queue="mail", process_in=600) for _ in range(500)])
            await asyncio.to_thread(namespace.delete, "Queue", "mail")
            await asyncio.to_thread(namespace.delete, "Broker", "default")
            await soon(lambda: deleting(namespace, "mail"), "TasksInFlight")
            await soon(lambda: namespace.condition("Broker", "default", "InUse"), ("True", "StillUsed"))
            assert client.llen(keys.active("mail")) == 1
            assert len(client.keys("asynq:{mail}:t:*")) == 1
            assert client.keys("asynq:{mail}:unique:*") == []
            release.set()
            await soon(lambda: namespace.get("Queue", "mail"), None)
            await soon(lambda: namespace.get("Broker", "default"), None)
        assert ended == ["hold"]

    with redis.Redis.from_url(redis_url) as client:
        namespace.apply(broker(redis_url))
        namespace.apply(queue("mail", deletionPolicy="Delete", archive={}))
        eventually(lambda: namespace.condition("Queue", "mail"), ("True", "OK"))
        eventually(lambda: held(namespace, "mail"), True)
        asyncio.run(journey())
        assert [key for key in client.keys("*mail*") if b"sent" not in key and b"waiting" not in key] == []
        assert client.sismember(keys.QUEUES, "mail") == 0
    assert [event["type"] for event in namespace.events("mail", "QueueRemoved")] == ["Normal"]


def test_a_queue_with_tasks_waits_until_it_is_empty_or_may_stay(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        namespace.apply(broker(redis_url))
        for name in ("mail", "post"):
            archive(client, 2, name)
            client.sadd(keys.QUEUES, name)
            namespace.apply(queue(name, deletionPolicy="DeleteIfEmpty"))
        for name in ("mail", "post"):
            eventually(lambda name=name: held(namespace, name), True)
            eventually(lambda name=name: namespace.condition("Queue", name), ("True", "OK"))
            namespace.delete("Queue", name)
            eventually(lambda name=name: deleting(namespace, name), "NotEmpty")
            assert "2 archived" in namespace.message("Queue", name, "Deleting")
        client.delete(keys.archived("mail"), *client.keys("asynq:{mail}:t:*"))
        eventually(lambda: namespace.get("Queue", "mail"), None)
        assert client.smembers(keys.QUEUES) == {b"post"}

        namespace.apply(queue("post", deletionPolicy="Retain"))
        eventually(lambda: namespace.get("Queue", "post"), None)
        assert client.zcard(keys.archived("post")) == 2


def test_a_queue_that_cannot_be_removed_says_so_and_goes_once_its_redis_is_back(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    with RedisServer() as server:
        namespace.apply(broker(server.url))
        namespace.apply(queue("mail", deletionPolicy="Delete"))
        eventually(lambda: held(namespace, "mail"), True)
        eventually(lambda: namespace.condition("Queue", "mail"), ("True", "OK"))
        server.stop()
        namespace.delete("Queue", "mail")
        eventually(lambda: deleting(namespace, "mail"), "BrokerUnreachable")
        assert "set spec.deletionPolicy to Retain" in namespace.message("Queue", "mail", "Deleting")
        stays(lambda: held(namespace, "mail"), True, for_s=2)
        server.start()
        eventually(lambda: namespace.get("Queue", "mail"), None)


def test_a_queue_whose_broker_never_came_is_let_go(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(queue("mail", deletionPolicy="Delete"))
    eventually(lambda: held(namespace, "mail"), True)
    namespace.delete("Queue", "mail")
    eventually(lambda: namespace.get("Queue", "mail"), None)
    eventually(lambda: len(namespace.events("mail", "QueueKept")), 1)
