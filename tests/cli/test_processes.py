"""`longshore worker --processes N`: several servers under one process, which starts them, tells them and minds them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from cli.command import environment, longshore, until
from longshore import SyncClient, Task
from longshore.protocol import codec, keys
from longshore.testing import RedisServer

APP = """
import asyncio, os, time
from pathlib import Path
import longshore
app = longshore.App()

@app.task("touch")
async def touch(payload: str) -> None:
    Path(payload).write_text(str(os.getpid()))

@app.task("hold")
async def hold(payload: str) -> None:
    Path(payload).write_text("started")
    await asyncio.sleep(3600)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@contextmanager
def supervising(project: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A supervisor; killed at the end, and with it, by itself, every process it has started."""
    log = (project / "log").open("w")
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "longshore", "worker", "shop:app", *arguments],
            cwd=project,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def servers(client: redis.Redis) -> dict[int, str]:
    """Process id to status of the servers that show themselves."""
    found = [codec.decode_server(data) for name in client.keys("asynq:servers:*") if (data := client.get(name))]
    return {one.pid: one.status for one in found}


def hold(project: Path, url: str) -> bytes:
    """Enqueue a task that does not end, and wait until it runs; its id."""
    payload = json.dumps(str(project / "out"))
    done = longshore("enqueue", "hold", "--payload", payload, "--redis", url, cwd=project)
    until((project / "out").exists)
    return done.stdout.strip().encode()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_process_is_a_server_of_its_own_and_sigterm_ends_all_in_order(
    project: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with supervising(project, "--processes", "3", "--redis", redis_url) as above:
        until(lambda: len(servers(redis_client)) == 3)
        assert above.pid not in servers(redis_client)
        pids = list(servers(redis_client))
        above.send_signal(signal.SIGTERM)
        assert above.wait(60) == 0
        assert not redis_client.keys("asynq:servers*")
        assert not any(alive(pid) for pid in pids)
    log = (project / "log").read_text()
    assert log.count("action=server_stopped") == 3
    assert "Traceback" not in log
    assert "process_restarted" not in log


def test_a_process_that_dies_is_started_again_and_the_others_stay(
    project: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with supervising(project, "--redis", redis_url, LONGSHORE_PROCESSES="2"):
        until(lambda: len(servers(redis_client)) == 2)
        stays, dies = sorted(servers(redis_client))
        os.kill(dies, signal.SIGKILL)
        # the dead one's key is there for some seconds yet
        until(lambda: len(servers(redis_client).keys() - {dies}) == 2)
        assert alive(stays)
    assert "ended_with=SIGKILL" in (project / "log").read_text()


def test_a_killed_supervisor_leaves_no_worker_and_loses_no_task(
    project: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with supervising(project, "--processes", "2", "--redis", redis_url, "--shutdown-timeout", "0") as above:
        until(lambda: len(servers(redis_client)) == 2)
        pids = list(servers(redis_client))
        task_id = hold(project, redis_url)
        above.kill()
        until(lambda: not any(alive(pid) for pid in pids))
    assert redis_client.lrange(keys.pending("default"), 0, -1) == [task_id]


def test_a_second_signal_puts_running_tasks_of_all_back_at_once(
    project: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with supervising(project, "--processes", "2", "--redis", redis_url, "--shutdown-timeout", "1h") as above:
        until(lambda: len(servers(redis_client)) == 2)
        task_id = hold(project, redis_url)
        above.send_signal(signal.SIGINT)
        until(lambda: "closed" in servers(redis_client).values())
        assert above.poll() is None
        above.send_signal(signal.SIGINT)
        assert above.wait(60) == 0
    assert redis_client.lrange(keys.pending("default"), 0, -1) == [task_id]


def test_all_pause_and_resume_with_it(project: Path, redis_url: str, redis_client: redis.Redis) -> None:
    with supervising(project, "--processes", "2", "--redis", redis_url) as above:
        until(lambda: list(servers(redis_client).values()) == ["active"] * 2)
        above.send_signal(signal.SIGTSTP)
        until(lambda: list(servers(redis_client).values()) == ["stopped"] * 2)
        above.send_signal(signal.SIGCONT)
        until(lambda: list(servers(redis_client).values()) == ["active"] * 2)


def test_one_address_tells_what_each_has_counted_also_while_one_does_not_answer(
    project: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with RedisServer() as other:
        address = f"127.0.0.1:{other.port}"
        other.stop()

        def served(name: str) -> dict[str, float]:
            """The values of a metric, summed up by process."""
            try:
                with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                    families = text_string_to_metric_families(answer.read().decode())
            except OSError:
                return {}
            found: dict[str, float] = {}
            for sample in (sample for family in families for sample in family.samples if sample.name == name):
                found[sample.labels["process"]] = found.get(sample.labels["process"], 0) + sample.value
            return found

        with supervising(project, "--processes", "2", "--redis", redis_url, "--health-address", address):
            until(lambda: served("longshore_worker_slots") == {"1": 20.0, "2": 20.0})
            with SyncClient(redis_url) as client:
                client.enqueue_many([Task("touch", str(project / f"touched-{number}")) for number in range(20)])
            until(lambda: sum(served("longshore_worker_tasks_processed_total").values()) == 20)
            ran = [int((project / f"touched-{number}").read_text()) for number in range(20)]
            counts = served("longshore_worker_tasks_processed_total").values()
            assert sorted(count for count in counts if count) == sorted(ran.count(pid) for pid in set(ran))
            assert served("process_resident_memory_bytes").keys() == {"supervisor", "1", "2"}
            pid = min(servers(redis_client))
            os.kill(pid, signal.SIGSTOP)
            try:
                assert len(served("longshore_worker_slots")) == 1
            finally:
                os.kill(pid, signal.SIGCONT)
            until(lambda: len(served("longshore_worker_slots")) == 2)


def test_one_address_tells_how_all_are(project: Path) -> None:
    with RedisServer() as server, RedisServer() as other:
        port = other.port
        other.stop()
        address = f"127.0.0.1:{port}"

        def probe(path: str) -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode().strip()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode().strip()
            except OSError:
                return 0, ""

        server.stop()
        with supervising(
            project, "--processes", "2", "--redis", server.url, "--redis-wait", "5m", "--health-address", address
        ):
            until(lambda: probe("/livez") == (200, "ok"))
            assert probe("/readyz") == (503, "Redis was not reached yet by process 1, 2")
            server.start()
            until(lambda: probe("/readyz") == (200, "ok, 2 of 2 processes"))
            assert probe("/livez") == (200, "ok")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("nowhere:app",), 2, "cannot import 'nowhere'"),
        (("shop:app", "--redis", "redis://127.0.0.1:1"), 1, "127.0.0.1:1"),
        (("shop:app", "--concurrency", "0"), 2, "0 is not in the range"),
    ],
    ids=["no application", "no Redis", "a bad option"],
)
def test_what_is_wrong_for_all_is_said_once(project: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = longshore("worker", *arguments, "--processes", "3", "--log-level", "error", cwd=project)
    assert done.returncode == code
    [line] = done.stderr.splitlines()
    assert line.startswith("longshore: ")
    assert says in line


def test_sigterm_while_the_first_one_starts_ends_it_well(project: Path, redis_url: str) -> None:
    (project / "shop.py").write_text("import time\nfrom pathlib import Path\nPath('importing').touch()\ntime.sleep(60)")
    with supervising(project, "--processes", "2", "--redis", redis_url) as above:
        until((project / "importing").exists)
        above.send_signal(signal.SIGTERM)
        assert above.wait(60) == 0
