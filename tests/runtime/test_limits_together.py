"""Three worker processes under the limits of two types: together they keep them and use them up, and none starves.

Looked at are the times at which handlers began. Redis spaces the starts exactly; a busy machine can only make one late.
So the bounds leave room for those whose start was given already and that may be late together, and for nothing else.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from longshore import Client, Task
from longshore.protocol import keys

PATIENCE_S = 50.0
WORKER = Path(__file__).with_name("limited_worker.py")

RATE = 60  # a second, of "rated" tasks
HELD = 15 + 1  # starts that Redis gives ahead: those of a quarter of a second
PLACES = 4  # of "narrow" tasks


class Event(NamedTuple):
    at: float
    what: str  # rated, begin, end, free
    name: str
    worker: int


class Worker:
    """One process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, number: int) -> None:
        self.process = process
        self._log = log
        self._number = number

    def events(self) -> list[Event]:
        """What its handlers noted."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [Event(float(at), what, name, self._number) for at, what, name in map(str.split, lines)]


@contextmanager
def working(url: str, log: Path, number: int) -> Iterator[Worker]:
    process = subprocess.Popen([sys.executable, str(WORKER), url, str(log)], stderr=subprocess.DEVNULL)
    try:
        yield Worker(process, log, number)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def workers(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        three = [stack.enter_context(working(redis_url, tmp_path / f"{number}.log", number)) for number in range(3)]
        until(lambda: redis_client.zcard(keys.SERVERS) == 3, "three servers")
        yield three


def events(workers: list[Worker]) -> list[Event]:
    return sorted(event for worker in workers for event in worker.events())


def until(condition: Callable[[], object], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, f"{what} did not come true within {PATIENCE_S:g} s"
        time.sleep(0.05)


async def enqueue(url: str, kind: str, count: int) -> None:
    async with Client(url) as client:
        await client.enqueue_many([Task(kind, f"{kind}{number}", task_id=f"{kind}{number}") for number in range(count)])


def left(client: redis.Redis) -> int:
    return sum(1 for _ in client.scan_iter(match=keys.task_prefix("default") + "*", count=1000))


def most_at_once(seen: list[Event], *, killed: int | None = None, killed_at: float = 0.0) -> int:
    """The most "narrow" handlers that ran at once; those of a killed worker until it was killed."""
    changes = [(event.at, 1 if event.what == "begin" else -1) for event in seen if event.what in ("begin", "end")]
    ended = {event.name for event in seen if event.what == "end" and event.worker == killed}
    cut_off = [e for e in seen if e.worker == killed and e.what == "begin" and e.name not in ended]
    changes += [(killed_at, -1)] * len(cut_off)
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


async def test_three_processes_keep_the_limits_of_two_types_and_use_them_up(
    redis_url: str, redis_client: redis.Redis, workers: list[Worker]
) -> None:
    await enqueue(redis_url, "rated", 480)
    await enqueue(redis_url, "narrow", 400)
    await enqueue(redis_url, "free", 5)
    until(lambda: left(redis_client) == 0, "an empty queue")
    seen = events(workers)
    assert Counter(event.what for event in seen) == {"rated": 480, "begin": 400, "end": 400, "free": 5}

    begun = [event.at for event in seen if event.what == "rated"]
    for number, at in enumerate(begun):
        assert at - begun[0] >= (number - HELD) / RATE
        assert sum(1 for other in begun[number:] if other < at + 1.0) <= RATE + HELD
    # not a bound on time, but on what is left unused of it: at least two thirds of the permits
    assert begun[-1] - begun[0] < 480 / RATE * 1.5
    assert most_at_once(seen) == PLACES

    for what in ("rated", "begin"):
        shares = Counter(event.worker for event in seen if event.what == what)
        assert len(shares) == 3, what
        assert min(shares.values()) >= sum(shares.values()) / 20, (what, shares)
    # those behind the limited ones did not wait for them
    assert max(event.at for event in seen if event.what == "free") < begun[-1]


async def test_a_killed_workers_places_are_free_after_its_leases_and_no_task_is_lost(
    redis_url: str, redis_client: redis.Redis, workers: list[Worker]
) -> None:
    await enqueue(redis_url, "narrow", 400)
    victim = workers[0]
    until(lambda: len(victim.events()) > 10, "work at the first worker")
    # killed while it holds a place: stopped first, so that what it has begun is known
    victim.process.send_signal(signal.SIGSTOP)
    killed_at = time.time()
    victim.process.kill()
    victim.process.wait()
    until(lambda: left(redis_client) == 0, "an empty queue")
    seen = events(workers)
    assert {event.name for event in seen if event.what == "end"} == {f"narrow{number}" for number in range(400)}
    assert most_at_once(seen, killed=0, killed_at=killed_at) <= PLACES
    assert redis_client.zcard(keys.limit_line("default", "narrow")) == 0
