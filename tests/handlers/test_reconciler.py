"""The work queue.

Proved: coalescing, who comes first, one visit at a time, another visit after a change during one, back-off and its end,
visits that are due later, and what the liveness probe is told. Left out: what a visit does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from handlers.waiting import until
from longshore_operator.errors import ApiUnavailable
from longshore_operator.handlers.reconciler import Reconciler, Visit
from longshore_operator.observe.view import Key

ONE = Key(kind="Queue", namespace="n", name="one")
TWO = Key(kind="Queue", namespace="n", name="two")


@asynccontextmanager
async def running(visit: Visit) -> AsyncIterator[Reconciler]:
    reconciler = Reconciler(visit, workers=2)
    task = asyncio.create_task(reconciler.run())
    await asyncio.sleep(0)
    try:
        yield reconciler
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_changes_that_come_while_an_object_waits_are_one_visit() -> None:
    visits: list[Key] = []

    async def visit(key: Key) -> None:
        visits.append(key)

    async with running(visit) as reconciler:
        for _ in range(10):
            reconciler.add(ONE)
        reconciler.add(TWO)
        await until(lambda: reconciler.idle)
    assert visits == [ONE, TWO]


async def test_of_those_that_wait_brokers_come_first_then_pools_and_else_who_came_first() -> None:
    visits: list[Key] = []
    pool, broker = Key(kind="WorkerPool", namespace="n", name="z"), Key(kind="Broker", namespace="n", name="y")

    async def visit(key: Key) -> None:
        visits.append(key)

    async with running(visit) as reconciler:
        for key in (TWO, ONE, pool, broker):
            reconciler.add(key)
        await until(lambda: reconciler.idle)
    assert visits == [broker, pool, TWO, ONE]


async def test_many_visits_that_wait_for_nothing_leave_others_their_turn() -> None:
    turns: list[int] = []
    visits = 0

    async def visit(_key: Key) -> None:
        nonlocal visits
        visits += 1

    async def another() -> None:
        while True:
            turns.append(visits)
            await asyncio.sleep(0)

    async with running(visit) as reconciler:
        for number in range(500):
            reconciler.add(Key(kind="Queue", namespace="n", name=str(number)))
        task = asyncio.create_task(another())
        await until(lambda: reconciler.idle)
        task.cancel()
    assert max(later - earlier for earlier, later in itertools.pairwise(turns)) <= 2  # as many as there are workers


async def test_a_change_during_a_visit_is_another_visit_after_it_and_never_beside_it() -> None:
    go, running_now, most, visits = asyncio.Event(), 0, 0, 0

    async def visit(_key: Key) -> None:
        nonlocal running_now, most, visits
        visits += 1
        running_now += 1
        most = max(most, running_now)
        await go.wait()
        running_now -= 1

    async with running(visit) as reconciler:
        reconciler.add(ONE)
        await until(lambda: visits == 1)
        reconciler.add(ONE)
        reconciler.add(ONE)
        go.set()
        await until(lambda: reconciler.idle)
    assert (visits, most) == (2, 1)


async def test_other_objects_are_visited_while_one_takes_long() -> None:
    go, visits = asyncio.Event(), set()

    async def visit(key: Key) -> None:
        visits.add(key)
        if key == ONE:
            await go.wait()

    async with running(visit) as reconciler:
        reconciler.add(ONE)
        reconciler.add(TWO)
        await until(lambda: visits == {ONE, TWO})
        go.set()


async def test_a_failed_visit_is_repeated_later_and_news_from_elsewhere_does_not_hurry_it() -> None:
    times: list[float] = []

    async def visit(_key: Key) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) < 3:
            raise ApiUnavailable("later", request="GET /")

    async with running(visit) as reconciler:
        reconciler.add(ONE)
        await until(lambda: len(times) == 1)
        reconciler.add(ONE)
        await until(lambda: len(times) == 3 and reconciler.idle)
    assert times[1] - times[0] >= 0.24
    assert times[2] - times[1] >= 0.49


async def test_a_change_of_the_object_itself_ends_its_back_off() -> None:
    visits = 0

    async def visit(_key: Key) -> None:
        nonlocal visits
        visits += 1
        if visits < 5:
            raise ApiUnavailable("later", request="GET /", retry_after_s=600)

    async with running(visit) as reconciler:
        reconciler.add(ONE)
        await until(lambda: visits == 1 and reconciler.idle)
        for wanted in range(2, 6):
            reconciler.add(ONE, fresh=True)
            await until(lambda wanted=wanted: visits == wanted and reconciler.idle)


async def test_a_defect_in_a_visit_ends_neither_the_loop_nor_the_visits_of_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    visits: list[Key] = []

    async def visit(key: Key) -> None:
        visits.append(key)
        if key == ONE:
            raise ZeroDivisionError

    async with running(visit) as reconciler:
        reconciler.add(ONE)
        reconciler.add(TWO)
        await until(lambda: TWO in visits)
        assert reconciler.problems() == []
    assert "a visit met a defect" in caplog.text


async def test_a_visit_says_when_the_next_is_due() -> None:
    visits = 0

    async def visit(_key: Key) -> timedelta | None:
        nonlocal visits
        visits += 1
        return timedelta(milliseconds=20) if visits < 3 else None

    async with running(visit) as reconciler:
        reconciler.add(ONE)
        await until(lambda: visits == 3)
        await asyncio.sleep(0.1)
    assert visits == 3


async def test_the_liveness_probe_hears_of_a_loop_that_does_not_run() -> None:
    async def visit(_key: Key) -> None:
        pass

    reconciler = Reconciler(visit)
    assert reconciler.problems() == ["it was not started"]
    async with running(visit) as reconciler:
        assert reconciler.problems() == []
    assert reconciler.problems() == ["it has ended"]
