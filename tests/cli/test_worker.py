"""`longshore worker` as a process: it runs tasks, ends by signal, waits for Redis if told to, reads its environment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from cli.command import environment, longshore, until
from longshore.protocol import codec, keys
from longshore.testing import RedisServer

APP = """
import asyncio, threading, time
from pathlib import Path
import longshore
app = longshore.App()

@app.task("touch")
def touch(payload: str) -> None:
    Path(payload).write_text("done")

@app.task("hold")
async def hold(payload: str) -> None:
    Path(payload).write_text("started")
    await asyncio.sleep(3600)

@app.task("deaf")
def deaf(payload: str) -> None:
    Path(payload).write_text("started")
    threading.Event().wait(3600)

@app.task("aside")
async def aside(payload: str) -> None:
    await asyncio.to_thread(deaf, payload)

@app.task("busy", process=True)
def busy(payload: str) -> None:
    import os
    Path(payload + ".new").write_text(str(os.getpid()))
    Path(payload + ".new").rename(payload)
    while True:
        pass

@app.aggregator("merge:")
def merge(group, tasks):
    return longshore.Task("touch", max((task.decoded(str) for task in tasks), key=len))

@app.task("stubborn")
async def stubborn(payload: str) -> None:
    Path(payload).write_text("started")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""

ITSELF = """
import os, longshore
app = longshore.App()

@app.task("pid", process=True)
def pid() -> int:
    return os.getpid()

if __name__ == "__main__":
    longshore.run(app, redis=os.environ["URL"], process_pool_size=1)
"""

SLOW = """
import time
from pathlib import Path
Path("importing").touch()
time.sleep(60)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@contextmanager
def working(project: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A worker process; killed at the end of the block if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "longshore", "worker", *arguments],
        cwd=project,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what was logged."""
    log = process.communicate(timeout=30)[1]
    return process.returncode, log


def enqueue(project: Path, url: str, *arguments: str) -> str:
    done = longshore("enqueue", *arguments, "--redis", url, cwd=project)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_runs_what_the_command_line_enqueues_and_ends_with_0_on_sigterm(
    project: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with working(project, "shop:app", "--redis", redis_url) as worker:
        task_id = enqueue(project, redis_url, "touch", "--payload", json.dumps(str(project / "out")))
        until((project / "out").exists)
        until(lambda: not redis_client.exists(keys.task("default", task_id)))
        worker.send_signal(signal.SIGTERM)
        code, log = ended(worker)
    assert code == 0
    assert "action=server_started" in log
    assert "action=server_stopped" in log
    assert "Traceback" not in log
    assert not redis_client.keys("asynq:servers*")


@pytest.mark.parametrize("limit", ["--group-max-size=2", "--group-grace-period=1s", "--group-max-delay=1s"])
def test_groups_are_aggregated_by_its_limits(limit: str, project: Path, redis_url: str) -> None:
    out = project / "out"
    if "max-delay" not in limit:
        enqueue(project, redis_url, "part", "--group", "merge:1", "--payload", json.dumps("first"))
    with working(project, "shop:app", "--redis", redis_url, limit) as worker:
        enqueue(project, redis_url, "part", "--group", "merge:1", "--payload", json.dumps(str(out)))
        until(out.exists)
        worker.send_signal(signal.SIGTERM)
        assert ended(worker)[0] == 0


def test_everything_may_come_from_the_environment(project: Path, redis_client: redis.Redis) -> None:
    with (
        RedisServer("--requirepass", "secret") as locked,
        working(
            project,
            LONGSHORE_APP="shop:app",
            LONGSHORE_REDIS_URL=locked.url,
            LONGSHORE_REDIS_PASSWORD="secret",
            LONGSHORE_QUEUES="critical=6,default=3",
            LONGSHORE_STRICT_PRIORITY="true",
            LONGSHORE_CONCURRENCY="7",
            LONGSHORE_SHUTDOWN_TIMEOUT="1m30s",
            LONGSHORE_HEALTH_ADDRESS="127.0.0.1:0",
            LONGSHORE_LOG_FORMAT="json",
        ) as worker,
        redis.Redis(port=locked.port, password="secret") as client,
    ):
        name = until(lambda: client.keys("asynq:servers:*"))[0]
        info = codec.decode_server(client.get(name))
        worker.send_signal(signal.SIGINT)
        code, log = ended(worker)
    assert (info.queues, info.strict_priority, info.concurrency) == ({"critical": 6, "default": 3}, True, 7)
    assert code == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["action"] for line in lines if line["action"] == "draining"] == ["draining"]
    assert next(line["timeout_s"] for line in lines if line["action"] == "draining") == 90


def test_an_application_may_run_itself(project: Path, redis_url: str, redis_client: redis.Redis) -> None:
    script = (
        "import longshore, sys, shop; longshore.run(shop.app, redis=sys.argv[1], queues={'mine': 2}, concurrency=3)"
    )
    command = [sys.executable, "-c", script, redis_url]
    with subprocess.Popen(command, cwd=project, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        task_id = enqueue(project, redis_url, "touch", "--queue", "mine", "--payload", json.dumps(str(project / "out")))
        until((project / "out").exists)
        until(lambda: not redis_client.exists(keys.task("mine", task_id)))
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "")


def test_the_probes_are_served(project: Path, redis_url: str, redis_server: RedisServer) -> None:
    with RedisServer() as other:  # its port is free once it has ended
        port = other.port
    with working(project, "shop:app", "--redis", redis_url, "--health-address", f"127.0.0.1:{port}"):

        def status(path: str) -> int | None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                    return int(answer.status)
            except OSError:
                return None

        until(lambda: status("/readyz") == 200)
        assert status("/livez") == 200


@pytest.mark.parametrize(
    "kind",
    ["hold", "deaf", "aside", "stubborn", "busy"],
    ids=["async", "a thread", "a thread of asyncio's", "async and deaf to its cancellation", "a process"],
)
def test_a_second_signal_puts_running_tasks_back_at_once(
    project: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    with working(project, "shop:app", "--redis", redis_url, "--shutdown-timeout", "1h") as worker:
        task_id = enqueue(project, redis_url, kind, "--payload", json.dumps(str(project / "out")))
        until((project / "out").exists)
        worker.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        code, log = ended(worker)
    assert code == 0
    assert "action=task_requeued" in log
    assert redis_client.lrange(keys.pending("default"), 0, -1) == [task_id.encode()]


def test_sigterm_ends_it_while_it_still_imports(project: Path, redis_url: str) -> None:
    (project / "slow.py").write_text(SLOW)
    with working(project, "slow:app", "--redis", redis_url) as worker:
        until((project / "importing").exists)
        worker.send_signal(signal.SIGTERM)
        # not killed by the signal: nothing else would end the first process of a container
        assert ended(worker) == (0, "")


def test_it_waits_for_redis_when_told_to(project: Path) -> None:
    with RedisServer() as server:
        server.stop()
        with working(project, "shop:app", "--redis", server.url, "--redis-wait", "1m") as worker:
            time.sleep(1)
            assert worker.poll() is None
            server.start()
            with redis.Redis(port=server.port) as client:
                until(lambda: client.keys("asynq:servers:*"))


def test_a_redis_that_never_comes_is_given_up_after_the_wait(project: Path) -> None:
    done = longshore("worker", "shop:app", "--redis", "redis://127.0.0.1:1", "--redis-wait", "1s", cwd=project)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_payloads_do_not_get_into_the_log(project: Path, redis_url: str, redis_client: redis.Redis) -> None:
    with working(project, "shop:app", "--redis", redis_url, "--log-level", "debug") as worker:
        task_id = enqueue(project, redis_url, "touch", "--payload", '{"password": "hunter2"}')
        until(lambda: redis_client.zscore(keys.archived("default"), task_id))
        worker.send_signal(signal.SIGTERM)
        log = ended(worker)[1]
    assert "action=task_failed" in log
    assert "payload: expected a string, found an object" in log
    assert "hunter2" not in log


def test_sigtstp_pauses_and_sigcont_resumes(project: Path, redis_url: str, redis_client: redis.Redis) -> None:
    def status() -> str:
        names = redis_client.keys("asynq:servers:*")
        return codec.decode_server(redis_client.get(names[0])).status if names else ""

    with working(project, "shop:app", "--redis", redis_url) as worker:
        until(lambda: status() == "active")
        worker.send_signal(signal.SIGTSTP)
        until(lambda: status() == "stopped")
        task_id = enqueue(project, redis_url, "touch", "--payload", json.dumps(str(project / "out")))
        time.sleep(0.3)
        assert redis_client.lrange(keys.pending("default"), 0, -1) == [task_id.encode()]
        worker.send_signal(signal.SIGCONT)
        until((project / "out").exists)
        until(lambda: status() == "active")
        worker.send_signal(signal.SIGTERM)
        assert ended(worker)[0] == 0


@pytest.mark.parametrize("command", [["itself.py"], ["-m", "itself"]], ids=["a script", "a module"])
def test_an_application_that_runs_itself_may_have_handlers_in_processes(
    project: Path, redis_url: str, redis_client: redis.Redis, command: list[str]
) -> None:
    (project / "itself.py").write_text(ITSELF)
    process = subprocess.Popen([sys.executable, *command], cwd=project, env=environment(URL=redis_url))
    try:
        task_id = enqueue(project, redis_url, "pid", "--retention", "1h")
        until(lambda: redis_client.zscore(keys.completed("default"), task_id))
        assert int(redis_client.hget(keys.task("default", task_id), "result")) != process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_is_killed_takes_the_processes_of_its_handlers_with_it(project: Path, redis_url: str) -> None:
    with working(project, "shop:app", "--redis", redis_url, "--process-pool-size", "1") as worker:
        enqueue(project, redis_url, "busy", "--payload", json.dumps(str(project / "out")))
        until((project / "out").exists)
        pid = int((project / "out").read_text())
        assert alive(pid)
        worker.kill()
        until(lambda: not alive(pid))
