"""What is logged while Redis is away: a line when it begins, one a while, one when it is over; no more."""

from __future__ import annotations

import pytest

from longshore.errors import BrokerUnavailable, InvalidData
from longshore.runtime.outage import Outage

AWAY = BrokerUnavailable("refused")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _every_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The actions logged since the last call."""
    actions = [record.action for record in caplog.records]
    caplog.clear()
    return actions


def test_an_outage_is_told_once_for_all_duties_and_again_every_half_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage(monotonic=clock)
    for second in range(65):
        clock.now = float(second)
        for duty in ("heartbeater", "forwarder", "queue default"):
            outage.failed(duty, AWAY)
    assert told(caplog) == ["redis_unavailable"] * 3


def test_redis_is_back_when_every_duty_has_its_answer(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(monotonic=clock)
    outage.failed("heartbeater", AWAY)
    outage.failed("forwarder", AWAY)
    assert told(caplog) == ["redis_unavailable"]
    outage.succeeded("queue default")
    outage.succeeded("heartbeater")
    assert told(caplog) == []
    outage.over("forwarder")
    assert told(caplog) == ["redis_back"]
    outage.succeeded("heartbeater")
    assert told(caplog) == []


def test_a_duty_that_is_refused_for_ever_does_not_make_redis_come_and_go(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage(monotonic=clock)
    for second in range(25):
        clock.now = float(second)
        outage.failed("heartbeater", BrokerUnavailable("no permission to run 'zadd'"))
        outage.succeeded("queue default")
    assert told(caplog) == ["redis_unavailable"]


def test_a_new_outage_is_told_at_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(monotonic=clock)
    for _ in range(2):
        outage.failed("heartbeater", AWAY)
        outage.succeeded("heartbeater")
        clock.now += 1
    assert told(caplog) == ["redis_unavailable", "redis_back"] * 2


def test_only_an_answer_counts_as_having_reached_redis(clock: Clock) -> None:
    outage = Outage(monotonic=clock)
    outage.failed("heartbeater", AWAY)
    outage.over("syncer")
    assert not outage.ever_reached
    outage.succeeded("heartbeater")
    assert outage.ever_reached


def test_each_refusal_is_told_once_in_a_while(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(monotonic=clock)
    for second in range(20):
        clock.now = float(second)
        outage.refused("recoverer", InvalidData("one"))
        outage.refused("recoverer", InvalidData("another"))
    assert told(caplog) == ["redis_refused"] * 2
