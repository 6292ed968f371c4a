"""The example of a Go worker, started with the environment that a pool gives its processes.

Proved: it serves the pool's queues as the spec says, stops within the pool's drain time, and gives back what it could
not finish; its password comes beside the URL. Left out: pods (tests/e2e/test_pools.py).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from go_peer import build_program
from handlers.waiting import eventually
from localcluster import paths
from longshore import Client, Inspector, Task
from longshore.protocol.messages import ServerInfo
from longshore.protocol.snapshots import TaskInfo
from longshore.testing import RedisServer
from longshore_operator.plan.processes import SecretValue, worker_process
from plan.scenes import broker, pool

pytestmark = [pytest.mark.go, pytest.mark.one_server]

Start = Callable[..., AbstractContextManager["subprocess.Popen[bytes]"]]


@pytest.fixture(scope="module")
def go_worker(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Build the example; gives what starts it as the worker of a pool."""
    program = build_program(paths.REPOSITORY / "examples" / "go-worker", tmp_path_factory.mktemp("go-worker"))

    @contextmanager
    def started(url: str, auth: Mapping[str, Any] | None = None, **spec: Any) -> Iterator[subprocess.Popen[bytes]]:
        given = {"url": url} if auth is None else {"url": url, "auth": auth}
        environment = {
            name: "secret" if isinstance(value, SecretValue) else value
            for name, value in worker_process(pool(app=None, **spec), broker(**given)).environment.items()
        }
        with subprocess.Popen([program], env={**os.environ, **environment}, stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    return started


def enqueue(url: str, queue: str, seconds: float) -> None:
    async def run() -> None:
        async with Client(url) as client:
            await client.enqueue(Task("wait", {"seconds": seconds}, queue=queue, retention=timedelta(hours=1)))

    asyncio.run(run())


def tasks(url: str, queue: str, state: str) -> list[TaskInfo]:
    async def run() -> list[TaskInfo]:
        async with Inspector(url) as inspector:
            return list(await inspector.list_tasks(queue, state))

    return asyncio.run(run())


def servers(url: str) -> list[ServerInfo]:
    async def run() -> list[ServerInfo]:
        async with Inspector(url) as inspector:
            return [each.info for each in await inspector.servers()]

    return asyncio.run(run())


def test_it_is_what_the_spec_says_and_its_host_name_is_the_machines(go_worker: Start, redis_url: str) -> None:
    queues = [{"name": "critical", "weight": 6}, {"name": "default", "weight": 3}]
    with go_worker(redis_url, queues=queues, concurrency=7, strictPriority=True):
        (info,) = eventually(lambda: servers(redis_url), lambda found: len(found) == 1)
        assert (info.concurrency, dict(info.queues), info.strict_priority) == (7, {"critical": 6, "default": 3}, True)
        assert info.host == socket.gethostname()
        enqueue(redis_url, "default", 0)
        (done,) = eventually(lambda: tasks(redis_url, "default", "completed"), lambda found: len(found) == 1)
        assert done.result == info.host.encode()


def test_it_finishes_what_it_can_in_the_drain_time_and_gives_back_the_rest(go_worker: Start, redis_url: str) -> None:
    # There before the worker: it looks once a second while its queues are empty, and would take the two apart.
    enqueue(redis_url, "mail", 2)
    enqueue(redis_url, "mail", 600)
    with go_worker(redis_url, queues=[{"name": "mail"}], concurrency=2, drainSeconds=3) as process:
        eventually(lambda: len(tasks(redis_url, "mail", "active")), 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert len(tasks(redis_url, "mail", "completed")) == 1
    (back,) = tasks(redis_url, "mail", "pending")
    assert back.message.retried == 0


def test_the_password_comes_beside_the_url(go_worker: Start) -> None:
    with RedisServer("--requirepass", "secret") as server:
        auth = {"passwordSecretRef": {"name": "redis", "key": "password"}}
        with go_worker(f"redis://127.0.0.1:{server.port}/0", auth, queues=[{"name": "mail"}]):
            url = f"redis://:secret@127.0.0.1:{server.port}/0"
            eventually(lambda: len(servers(url)), 1)
