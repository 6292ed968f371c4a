"""The client for code without an event loop: threads, forks, interruption, closing."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis

from longshore import (
    App,
    BrokerUnavailable,
    Context,
    DuplicateTask,
    EnqueueNext,
    InvalidOption,
    SyncClient,
    Task,
    TaskFailed,
    TaskInfo,
    TaskNotFound,
    UsageError,
)
from longshore.protocol import keys
from longshore.testing import RedisServer
from runtime.harness import PATIENCE_S, serving


@pytest.fixture
def client(redis_url: str) -> Iterator[SyncClient]:
    with SyncClient(redis_url) as client:
        yield client


@contextmanager
def _served(app: App, url: str) -> Iterator[None]:
    """A server on a loop of another thread."""
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(app, url):
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(PATIENCE_S)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def test_it_enqueues_and_refuses_as_the_async_client_does(client: SyncClient, redis_client: redis.Redis) -> None:
    client.ping()
    info = client.enqueue("t", {"n": 1}, queue="low", unique_for=60)
    assert redis_client.lrange(keys.pending("low"), 0, -1) == [info.id.encode()]
    with pytest.raises(DuplicateTask):
        client.enqueue(Task("t", {"n": 1}), queue="low", unique_for=60)
    with pytest.raises(InvalidOption, match="max_retry"):
        client.enqueue("t", max_retry=-1)
    results = client.enqueue_many((("t", number) for number in range(3)), queue="low")
    assert [type(result) for result in results] == [TaskInfo] * 3


def test_defaults_and_middleware_hold(redis_url: str) -> None:
    async def stamp(task: Task, call_next: EnqueueNext) -> TaskInfo:
        return await call_next(task.with_options(headers={"a": "1"}))

    with SyncClient(redis_url, defaults=lambda task_type: {"queue": "mail"}, middleware=[stamp]) as client:
        info = client.enqueue("t")
    assert (info.queue, info.message.headers) == ("mail", {"a": "1"})


def test_its_own_middleware_cannot_use_it_rather_than_wait_for_itself(redis_url: str) -> None:
    async def twice(task: Task, call_next: EnqueueNext) -> TaskInfo:
        client.enqueue("another")
        return await call_next(task)

    with SyncClient(redis_url, middleware=[twice]) as client, pytest.raises(UsageError, match="use a Client there"):
        client.enqueue("t")


def test_threads_share_it(client: SyncClient, redis_client: redis.Redis) -> None:
    with ThreadPoolExecutor(8) as threads:
        infos = list(threads.map(lambda number: client.enqueue("t", number), range(200)))
    assert len({info.id for info in infos}) == 200
    assert redis_client.llen(keys.pending("default")) == 200
    assert len([thread for thread in threading.enumerate() if thread.name == "longshore-client"]) == 1


def test_it_waits_for_results_and_watches_progress(redis_url: str, client: SyncClient) -> None:
    app, seen_all = App(), threading.Event()

    @app.task("walk")
    def walk(ctx: Context) -> str:
        ctx.progress_from_thread(0.5)
        assert seen_all.wait(PATIENCE_S)
        return "there"

    @app.task("fail")
    def fail() -> None:
        raise ValueError("no")

    with _served(app, redis_url):
        info = client.enqueue("walk", retention=60)
        seen: list[Any] = []
        for value in client.watch(info.id):
            seen.append(value)
            seen_all.set()
        assert seen == [0.5]
        assert client.result(info.id, timeout=timedelta(seconds=PATIENCE_S)).value == "there"
        with pytest.raises(TaskFailed, match="no"):
            client.result(client.enqueue("fail", max_retry=0).id, timeout=PATIENCE_S)
    with pytest.raises(TaskNotFound):
        client.result("nobody")
    with pytest.raises(TimeoutError, match=r"has not ended within 0\.05 s"):
        client.result(client.enqueue("nobody").id, timeout=0.05)


def test_closing_fails_what_other_threads_wait_for_and_ends_the_thread(
    redis_url: str, redis_client: redis.Redis
) -> None:
    client = SyncClient(redis_url)
    task_id = client.enqueue("nobody").id
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(client.result, task_id)
        while not redis_client.exists(keys.waiting("default", task_id)):
            time.sleep(0.01)
        client.close()
        with pytest.raises(BrokerUnavailable, match="closed"):
            wait.result(PATIENCE_S)
    client.close()
    with pytest.raises(BrokerUnavailable, match="closed"):
        client.enqueue("t")
    assert "longshore-client" not in {thread.name for thread in threading.enumerate()}


def test_one_that_is_forgotten_leaves_no_thread_and_no_connection(redis_url: str) -> None:
    def enqueue() -> None:
        SyncClient(redis_url).enqueue("t")

    def left() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "longshore-client"]

    for _ in range(3):
        enqueue()
    gc.collect()
    for thread in left():
        thread.join(PATIENCE_S)
    assert not left()
    gc.collect()  # a socket that is not closed would tell here


def test_what_it_cannot_be_made_with_is_said_at_once() -> None:
    with pytest.raises(InvalidOption, match="redis URL"):
        SyncClient("nonsense://")


def test_an_unreachable_redis_is_the_same_error() -> None:
    with RedisServer() as server:
        url = server.url
    with SyncClient(url, retry_for=0) as client, pytest.raises(BrokerUnavailable):
        client.enqueue("t")


_FORKING = """
import os, sys, threading
from longshore import SyncClient
client = SyncClient(sys.argv[1])
client.enqueue("t", "before")
children = []
for number in range(3):
    pid = os.fork()
    if not pid:
        client.enqueue("t", f"child {number}")
        os._exit(0)
    children.append(pid)
    client.enqueue("t", f"parent {number}")
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
client.enqueue("t", "after")
client.close()
"""


def test_a_forked_process_goes_on_by_itself_and_so_does_its_parent(redis_url: str, redis_client: redis.Redis) -> None:
    subprocess.run([sys.executable, "-c", _FORKING, redis_url], timeout=60, check=True)
    ids = redis_client.lrange(keys.pending("default"), 0, -1)
    assert len(ids) == len(set(ids)) == 8
