"""The runner by itself, for what must not depend on how quickly the event loop turns."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from longshore import App
from longshore.broker.base import Leased, RedisSettings
from longshore.broker.redis_broker import RedisBroker
from longshore.runtime.attempt import Attempt, InFlight, Interruption
from longshore.runtime.process_pool import ProcessPool
from longshore.runtime.runner import Runner
from longshore.runtime.timing import Timing, utc_now
from longshore.testing import new_message

GRACE = timedelta(seconds=5)


class Verdicts:
    """Stands for the judge: remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Interruption | None, BaseException | None]] = []

    def judge(self, attempt: Attempt, *, error: BaseException | None = None, **_: Any) -> None:
        attempt.answered = True
        self.told.append((attempt.message.id, attempt.interruption, error))


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def verdicts() -> Verdicts:
    return Verdicts()


@pytest.fixture
def in_flight() -> InFlight:
    return InFlight()


@pytest.fixture
async def runner(app: App, verdicts: Verdicts, in_flight: InFlight) -> Runner:
    return Runner(
        RedisBroker.connect(RedisSettings()),  # asked for nothing
        find_handler=app.handler,
        in_flight=in_flight,
        judge=verdicts,  # type: ignore[arg-type]
        processes=ProcessPool(size=1),
        on_load=lambda: None,
        timing=Timing(),
        clock=utc_now,
    )


def leased(task_id: str, **fields: Any) -> Leased:
    now = datetime.now(UTC)
    return Leased(message=new_message("n", id=task_id, **fields), lease_expires_at=now + timedelta(seconds=30))


@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "thread"])
async def test_what_shall_end_before_its_first_step_is_not_begun_and_keeps_no_slot(
    app: App, runner: Runner, verdicts: Verdicts, in_thread: bool
) -> None:
    begun: list[str] = []

    def plain() -> None:
        begun.append("plain")

    async def coroutine() -> None:
        begun.append("async")

    app.task("n")(plain if in_thread else coroutine)
    runner.begin(leased("a"), now=utc_now())
    runner.begin(leased("b"), now=utc_now())
    runner.cancel("a")
    runner.cancel("b")
    assert runner.running == 2
    await asyncio.wait_for(runner.wait_until_idle(), 20)
    assert begun == []
    assert runner.running == 0
    assert [(task_id, why) for task_id, why, _ in verdicts.told] == [
        ("a", Interruption.CANCELLED),
        ("b", Interruption.CANCELLED),
    ]
    runner.close()


@pytest.mark.parametrize("heard", ["while it was taken", "when it had arrived"])
async def test_a_cancellation_between_taking_a_task_and_beginning_it_ends_it_and_no_later_one(
    app: App, runner: Runner, verdicts: Verdicts, heard: str
) -> None:
    begun: list[int] = []

    @app.task("n")
    async def coroutine() -> None:
        begun.append(1)

    runner.taking = True
    if heard == "while it was taken":
        runner.cancel("a")
    runner.taking = False
    runner.arrive(1)
    if heard == "when it had arrived":
        runner.cancel("a")
    runner.begin(leased("a"), now=utc_now())
    runner.arrived()
    await asyncio.wait_for(runner.wait_until_idle(), 20)
    assert (begun, verdicts.told[-1][1]) == ([], Interruption.CANCELLED)

    runner.begin(leased("a"), now=utc_now())
    await asyncio.wait_for(runner.wait_until_idle(), 20)
    assert (begun, verdicts.told[-1][1]) == ([1], None)
    runner.close()


async def test_a_handler_is_judged_once_whatever_interrupts_it_meanwhile(
    app: App, runner: Runner, verdicts: Verdicts
) -> None:
    @app.task("n")
    async def coroutine() -> None:
        await asyncio.sleep(3600)

    runner.begin(leased("a"), now=utc_now())
    await asyncio.sleep(0.05)
    runner.cancel("a")
    runner.cancel("a")
    assert await runner.abort(grace=GRACE) == 0
    [(task_id, why, error)] = verdicts.told
    assert (task_id, why) == ("a", Interruption.CANCELLED)
    assert isinstance(error, asyncio.CancelledError)
    runner.close()


async def test_a_lost_lease_outranks_what_interrupted_the_handler_before(
    app: App, runner: Runner, verdicts: Verdicts, in_flight: InFlight
) -> None:
    """Nothing may be written for it, so no cancellation under way may end in a retry."""

    @app.task("n")
    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(3600)

    runner.begin(leased("a"), now=utc_now())
    await asyncio.sleep(0.05)
    runner.cancel("a")
    await asyncio.sleep(0.05)
    assert runner.running == 1
    runner.lose(next(iter(in_flight)))
    await asyncio.wait_for(runner.wait_until_idle(), 20)
    assert [(task_id, why) for task_id, why, _ in verdicts.told] == [("a", Interruption.LEASE_LOST)]
    assert len(in_flight) == 0
    runner.close()
