"""Ticks that are delayed: each once, in order, before the next one's time, and at the same second whoever looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longshore.policy.jitter import NO_JITTER, Jitter
from longshore.policy.periodic import Due, Schedule, due
from longshore.protocol.periodic import CatchUp

SINCE = datetime(2026, 3, 28, 22, 0, 0, tzinfo=UTC)  # an hour before a day on which Europe's clocks change
SCHEDULES = [
    ("@every 10s", None),
    ("* * * * *", None),
    ("*/7 * * * *", "Europe/Berlin"),
    ("30 2 * * *", "Europe/Berlin"),
]


def at(second: float) -> datetime:
    return SINCE + timedelta(seconds=second)


def decide(
    schedule: Schedule,
    jitter: Jitter,
    now: datetime,
    *,
    last: datetime | None = None,
    deadline: float | None = None,
    catch_up: CatchUp = CatchUp.ALL,
) -> Due:
    return due(
        schedule,
        since=SINCE,
        last_tick=last,
        now=now,
        starting_deadline=None if deadline is None else timedelta(seconds=deadline),
        catch_up=catch_up,
        jitter=jitter,
    )


@given(
    st.sampled_from(SCHEDULES),
    st.integers(0, 3600),
    st.text("abc", max_size=3),
    st.lists(st.floats(0.1, 500), min_size=1, max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_whenever_one_looks_each_tick_runs_once_in_order_and_not_before_its_delay(
    text: tuple[str, str | None], most_s: int, seed: str, pauses: list[float]
) -> None:
    schedule, jitter = Schedule.parse(*text), Jitter(most_s=most_s, seed=seed)
    now, last, ran = SINCE, None, list[datetime]()
    for pause in pauses:
        expected = schedule.first_enqueued(last or SINCE, SINCE, jitter)
        now += timedelta(seconds=pause)
        decided = decide(schedule, jitter, now, last=last)
        assert bool(decided.newest) == (expected is not None and expected <= now)
        assert len(decided.run) + decided.missed == 0 or decided.newest is not None
        ran += decided.run
        last = decided.newest or last
    # Without jitter the same ticks are there, but for one that is still delayed.
    plain = decide(schedule, NO_JITTER, now)
    allowed = [list(plain.run), list(plain.run[:-1])]
    assert ran in allowed or len(plain.run) == 100
    upcoming = schedule.enqueued_after(now, SINCE, jitter)
    assert upcoming is not None
    assert upcoming > now - timedelta(seconds=1)
    assert schedule.first_enqueued(last or SINCE, SINCE, jitter) == upcoming


@given(st.sampled_from(SCHEDULES), st.integers(1, 3600), st.integers(0, 100_000))
@settings(max_examples=150, deadline=None)
def test_a_delay_ends_before_the_next_tick(text: tuple[str, str | None], most_s: int, second: int) -> None:
    schedule, jitter = Schedule.parse(*text), Jitter(most_s=most_s, seed="x")
    tick = schedule.next_after(at(second), SINCE)
    assert tick is not None
    following = schedule.next_after(tick, SINCE)
    enqueued = schedule.first_enqueued(at(second), SINCE, jitter)
    assert enqueued is not None
    assert following is not None
    assert tick <= enqueued < following
    assert enqueued - tick <= timedelta(seconds=most_s)


def test_delays_are_spread_over_ticks_and_entries() -> None:
    ticks = range(0, 60_000, 600)
    for one, other in (("a", "b"), ("b", "c")):
        delays = [Jitter(most_s=300, seed=one).delay_s(tick, tick + 600) for tick in ticks]
        assert min(delays) < 30
        assert max(delays) > 270
        assert delays != [Jitter(most_s=300, seed=other).delay_s(tick, tick + 600) for tick in ticks]


def test_the_deadline_counts_from_the_end_of_the_delay() -> None:
    schedule, jitter = Schedule.parse("@every 1h"), Jitter(most_s=1800, seed="report")
    tick = at(3600)
    enqueued = schedule.first_enqueued(SINCE, SINCE, jitter)
    assert enqueued is not None
    assert enqueued - tick > timedelta(seconds=5), "another seed: the delay is to be longer than the deadline"
    for catch_up in CatchUp:
        early = decide(schedule, jitter, enqueued - timedelta(seconds=0.1), deadline=5, catch_up=catch_up)
        assert (early.run, early.missed, early.newest) == ((), 0, None)
        for late in (0, 5):
            decided = decide(schedule, jitter, enqueued + timedelta(seconds=late), deadline=5, catch_up=catch_up)
            assert (decided.run, decided.missed) == ((tick,), 0)
        decided = decide(schedule, jitter, enqueued + timedelta(seconds=5.1), deadline=5, catch_up=catch_up)
        assert (decided.run, decided.missed, decided.newest) == ((), 1, tick)


@pytest.mark.parametrize("most_s", [0, 5, 3600])
def test_an_interval_of_a_second_leaves_no_room_for_a_delay(most_s: int) -> None:
    decided = decide(Schedule.parse("@every 1s"), Jitter(most_s=most_s, seed="x"), at(3))
    assert decided.run == (at(1), at(2), at(3))
