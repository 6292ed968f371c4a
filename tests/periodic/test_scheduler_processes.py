"""Schedulers as processes: killed, frozen and stopped ones, and the command's own errors.

A tick never becomes two tasks, and with catchUp All none within the starting deadline is left out.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from longshore.protocol import keys
from longshore.protocol.periodic import decode_lease
from longshore.testing import RedisServer
from periodic.harness import (
    SCOPE,
    SchedulerProcess,
    declare,
    new_entry,
    record,
    running,
    ticks_enqueued,
    wait_until,
)


@pytest.fixture
def pair(redis_url: str, tmp_path: Path) -> Iterator[list[SchedulerProcess]]:
    """Two scheduler processes of one scope."""
    with ExitStack() as stack:
        yield [stack.enter_context(running(redis_url, tmp_path / f"{name}.log")) for name in "ab"]


def active_pid(client: redis.Redis) -> int | None:
    value = client.get(keys.scheduler_lease(SCOPE))
    return int(decode_lease(value)[0].rsplit(":", 2)[1]) if value else None


def active_and_standby(client: redis.Redis, pair: list[SchedulerProcess]) -> tuple[SchedulerProcess, SchedulerProcess]:
    wait_until(lambda: active_pid(client) is not None)
    pid = active_pid(client)
    active, standby = sorted(pair, key=lambda process: process.pid != pid)
    assert active.pid == pid
    return active, standby


def assert_each_tick_once(client: redis.Redis) -> None:
    ticks = ticks_enqueued(client, "daily")
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
    kept = record(client, "daily")
    assert (kept["enqueued"], kept.get("missed"), kept.get("skipped")) == (str(len(ticks)), None, None)


def test_after_a_kill_the_standby_takes_over_and_makes_up_for_the_gap(
    redis_client: redis.Redis, pair: list[SchedulerProcess]
) -> None:
    declare(redis_client, "daily", new_entry("@every 1s"))
    active, standby = active_and_standby(redis_client, pair)
    wait_until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 2)
    active.kill()
    wait_until(lambda: active_pid(redis_client) == standby.pid)
    at = len(ticks_enqueued(redis_client, "daily"))
    wait_until(lambda: len(ticks_enqueued(redis_client, "daily")) >= at + 3)
    assert_each_tick_once(redis_client)


def test_one_that_was_frozen_beyond_its_lease_runs_no_tick_again(
    redis_client: redis.Redis, pair: list[SchedulerProcess]
) -> None:
    declare(redis_client, "daily", new_entry("@every 1s"))
    frozen, standby = active_and_standby(redis_client, pair)
    wait_until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 2)
    frozen.send(signal.SIGSTOP)
    wait_until(lambda: active_pid(redis_client) == standby.pid)
    at = len(ticks_enqueued(redis_client, "daily"))
    wait_until(lambda: len(ticks_enqueued(redis_client, "daily")) >= at + 2)
    frozen.send(signal.SIGCONT)
    wait_until(lambda: frozen.says("standing_by"))
    at = len(ticks_enqueued(redis_client, "daily"))
    wait_until(lambda: len(ticks_enqueued(redis_client, "daily")) >= at + 2)
    assert active_pid(redis_client) == standby.pid
    assert_each_tick_once(redis_client)


def test_one_frozen_for_less_than_its_lease_goes_on_and_makes_up(redis_url: str, redis_client: redis.Redis,
                                                                 tmp_path: Path) -> None:  # fmt: skip
    declare(redis_client, "daily", new_entry("@every 1s"))
    with running(redis_url, tmp_path / "log") as scheduler:
        wait_until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 1)
        scheduler.send(signal.SIGSTOP)
        frozen_at = len(ticks_enqueued(redis_client, "daily"))
        until_s = int(redis_client.time()[0]) + 3
        wait_until(lambda: int(redis_client.time()[0]) >= until_s)
        assert len(ticks_enqueued(redis_client, "daily")) == frozen_at
        scheduler.send(signal.SIGCONT)
        wait_until(lambda: len(ticks_enqueued(redis_client, "daily")) >= frozen_at + 4)
    assert_each_tick_once(redis_client)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_and_lets_the_standby_in(
    redis_client: redis.Redis, pair: list[SchedulerProcess], number: signal.Signals
) -> None:
    declare(redis_client, "daily", new_entry("@every 1s"))
    active, standby = active_and_standby(redis_client, pair)
    wait_until(lambda: len(ticks_enqueued(redis_client, "daily")) >= 1)
    active.send(number)
    assert active.wait() == 0
    wait_until(lambda: active_pid(redis_client) == standby.pid)
    at = len(ticks_enqueued(redis_client, "daily"))
    wait_until(lambda: len(ticks_enqueued(redis_client, "daily")) >= at + 2)
    assert_each_tick_once(redis_client)
    assert "Traceback" not in active.log.read_text()


# -- the command's errors ----------------------------------------------------------------------------------------------

REFUSED = {
    "no scope": ([], 2, "Missing option '--scope' (env var: 'LONGSHORE_PERIODIC_SCOPE')"),
    "a scope without a namespace": (["--scope", "main"], 2, "'main' is not a scope; write <namespace>/<broker>"),
    "a scope of three parts": (["--scope", "a/b/c"], 2, "'a/b/c' is not a scope"),
    "no such application": (["nowhere:app"], 2, "cannot import 'nowhere'"),
    "an application with a Broker's scope": (["json:app", "--scope", "a/b"], 2, "module 'json' has no 'app'"),
    "too short an interval": (
        ["--scope", "a/b", "--sync-interval", "0"],
        2,
        "sync interval: must be at least 1 second",
    ),
    "a URL of another kind": (["--scope", "a/b", "--redis", "http://127.0.0.1:1"], 2, "redis URL: "),
    "a Redis that is not there": (["--scope", "a/b", "--redis", "redis://127.0.0.1:1"], 1, "Connection refused"),
    "a bad health address": (["--scope", "a/b", "--health-address", "8081"], 2, "'8081' is not an address"),
    "an option that does not exist": (["--scope", "a/b", "--queue", "x"], 2, "No such option"),
}


@pytest.mark.parametrize(("arguments", "code", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_clear_line(arguments: list[str], code: int, reason: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGSHORE_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2] / "worker")
    done = subprocess.run(
        [sys.executable, "-c", "from longshore.cli import main; main()", "scheduler", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_password_is_one_clear_line(tmp_path: Path) -> None:
    with RedisServer("--requirepass", "right") as server:
        process = SchedulerProcess(server.url, tmp_path / "log", environment={"LONGSHORE_REDIS_PASSWORD": "wrong"})
        assert process.wait() == 1
        log = process.log.read_text()
        with running(server.url, tmp_path / "right", "--redis-password", "right") as scheduler:
            wait_until(lambda: scheduler.says("action=active"))
    assert len(log.splitlines()) == 1
    assert "wrong" not in log.lower().replace("wrongpass", "")
