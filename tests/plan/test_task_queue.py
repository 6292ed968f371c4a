"""What a Queue's plan does and says: depth, pausing, the objective, rivals, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from longshore.protocol.snapshots import QueueSnapshot
from longshore_operator.api.queue import Queue
from longshore_operator.plan.actions import Plan, SetPaused
from longshore_operator.plan.observed import BrokerReading, ObservedQueue
from longshore_operator.plan.task_queue import plan_queue
from plan.scenes import START, UNREAD, at, broker, conditions, failed, message, notes, queue, reading, with_status


def planned(tried: Queue, read: BrokerReading, *rivals: Queue, seconds: float = 0) -> Plan:
    return plan_queue(tried, ObservedQueue(broker=broker(), reading=read, rivals=rivals), at(seconds))


def depth(**counts: Any) -> BrokerReading:
    return reading(QueueSnapshot(name="mail", **counts))


def test_a_queue_reports_its_depth() -> None:
    read = depth(
        pending=3,
        active=2,
        scheduled=4,
        retry=1,
        archived=5,
        completed=6,
        aggregating=7,
        oldest_pending_at=START - timedelta(seconds=12),
        processed_today=100,
        failed_today=9,
    )
    status = planned(queue(), read).status
    assert status is not None
    assert {name: value for name, value in status.items() if name not in ("conditions", "observedGeneration")} == {
        "pending": 3,
        "active": 2,
        "scheduled": 4,
        "retry": 1,
        "archived": 5,
        "completed": 6,
        "aggregating": 7,
        "latencySeconds": 12,
        "processedToday": 100,
        "failedToday": 9,
        "paused": False,
    }
    assert conditions(status) == {
        "Ready": ("True", "OK"),
        "Paused": ("False", "NotPaused"),
        "LatencyHigh": ("False", "NoObjective"),
    }


def test_a_queue_that_nobody_has_used_yet_is_ready_and_empty() -> None:
    plan = planned(queue(), depth())
    assert plan.status is not None
    assert (plan.status["pending"], conditions(plan)["Ready"]) == (0, ("True", "OK"))


def test_the_name_in_redis_may_be_another_one() -> None:
    tried = queue("emails", queueName="mail")
    assert planned(tried, depth(pending=3)).status["pending"] == 3  # type: ignore[index]


def test_an_idle_queue_is_not_written_again() -> None:
    tried = queue(maxLatency="30s")
    tried = with_status(tried, planned(tried, depth()).status)
    for second in range(1, 1000):
        plan = planned(tried, depth(), seconds=second)
        assert (plan.status, plan.actions, plan.notes) == (None, (), ())


def test_moving_numbers_wait_and_conditions_do_not() -> None:
    tried = queue()
    tried = with_status(tried, planned(tried, depth()).status)
    moving = planned(tried, depth(pending=5))
    assert (moving.status is not None, moving.urgent) == (True, False)
    pausing = planned(tried, depth(paused_at=START))
    assert pausing.urgent


def test_a_standing_queue_is_written_ever_more_seldom() -> None:
    tried = queue()
    writes = 0
    for second in range(7200):
        plan = planned(tried, depth(pending=1, oldest_pending_at=START, paused_at=START), seconds=second)
        if plan.status is not None:
            writes += 1
            tried = with_status(tried, plan.status)
    assert writes == 60 + 540 // 5 + 3000 // 60 + 3600 // 300


@pytest.mark.parametrize(
    ("spec", "paused_now", "does"),
    [
        pytest.param(True, False, [True], id="paused true pauses"),
        pytest.param(False, True, [False], id="paused false resumes"),
        pytest.param(True, True, [], id="paused true leaves a paused queue"),
        pytest.param(False, False, [], id="paused false leaves a running queue"),
        pytest.param(None, True, [], id="without paused, a pause by hand stays"),
        pytest.param(None, False, [], id="without paused, nothing is done"),
    ],
)
def test_pausing(spec: bool | None, paused_now: bool, does: list[bool]) -> None:
    tried = queue() if spec is None else queue(paused=spec)
    plan = planned(tried, depth(paused_at=START if paused_now else None))
    assert [action.paused for action in plan.actions if isinstance(action, SetPaused)] == does
    wanted = paused_now if spec is None else spec
    assert plan.status is not None
    assert plan.status["paused"] is wanted


def test_a_pause_by_hand_is_shown() -> None:
    assert conditions(planned(queue(), depth(paused_at=START)))["Paused"] == ("True", "PausedByHand")
    assert conditions(planned(queue(paused=True), depth(paused_at=START)))["Paused"] == ("True", "PausedBySpec")


def test_a_hand_against_the_spec_is_undone_with_an_event_but_a_changed_spec_is_no_news() -> None:
    tried = queue(paused=True)
    first = planned(tried, depth())
    assert ("Warning", "PauseRestored") not in notes(first)
    tried = with_status(tried, first.status)
    undone = planned(tried, depth())
    assert ("Warning", "PauseRestored") in notes(undone)
    assert [each.message for each in undone.notes] == [
        "Queue mail was resumed by hand; put back, because spec.paused is true."
    ]


def test_latency_beyond_the_objective_is_one_event_and_so_is_its_end() -> None:
    tried = queue(maxLatency="30s")
    seen = []
    for second, waited in enumerate([10, 30, 31, 40, 29, 28, 27, 26, 31, 5]):
        plan = planned(tried, depth(pending=1, oldest_pending_at=at(second - waited)), seconds=second)
        tried = with_status(tried, plan.status)
        seen.append((conditions(tried.status)["LatencyHigh"][0], [reason for _, reason in notes(plan)]))
    assert seen == [
        ("False", ["OK"]),
        ("False", []),
        ("True", ["BeyondObjective"]),
        ("True", []),
        ("True", []),
        ("True", []),
        ("False", ["WithinObjective"]),
        ("False", []),
        ("True", ["BeyondObjective"]),
        ("False", ["WithinObjective"]),
    ]


def test_the_older_of_two_objects_for_one_queue_wins_and_the_other_says_so() -> None:
    older = queue("a", queueName="mail", metadata={"creationTimestamp": "2026-01-01T00:00:00Z"})
    newer = queue("b", queueName="mail", paused=True)
    assert conditions(planned(older, depth(), newer))["Ready"] == ("True", "OK")
    plan = planned(newer, depth(pending=3), older)
    assert plan.actions == ()
    assert conditions(plan) == {"Ready": ("False", "Conflict")}
    assert "Queue/a is older" in message(plan, "Ready")
    assert plan.status is not None
    assert "pending" not in plan.status


def test_of_equally_old_objects_exactly_one_wins() -> None:
    one, two = queue("a", queueName="mail"), queue("b", queueName="mail")
    ready = [conditions(planned(x, depth(), y))["Ready"][1] for x, y in ((one, two), (two, one))]
    assert sorted(ready) == ["Conflict", "OK"]


def test_an_object_that_is_being_deleted_is_no_rival() -> None:
    older = queue(
        "a",
        queueName="mail",
        metadata={"creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-03-01T00:00:00Z"},
    )
    assert conditions(planned(queue("b", queueName="mail"), depth(), older))["Ready"] == ("True", "OK")


def test_a_key_of_another_type_is_no_empty_queue() -> None:
    tried = queue()
    tried = with_status(tried, planned(tried, depth(pending=3)).status)
    plan = planned(tried, depth(problem="asynq:{mail}:pending holds a string"))
    assert conditions(plan) == {"Ready": ("False", "WrongType")}
    assert plan.status is not None
    assert "pending" not in plan.status
    assert plan.urgent


def test_without_its_broker_it_says_so() -> None:
    plan = plan_queue(queue(), ObservedQueue(broker=None, reading=UNREAD), START)
    assert conditions(plan) == {"Ready": ("False", "BrokerNotFound")}


def test_before_the_first_poll_nothing_is_said() -> None:
    assert planned(queue(), UNREAD).status is None


def test_while_redis_is_away_the_last_numbers_stay_and_nothing_is_written_again() -> None:
    tried = queue(maxLatency="1s")
    good = depth(pending=3, oldest_pending_at=START - timedelta(seconds=60))
    tried = with_status(tried, planned(tried, good).status)
    once = planned(tried, failed(good, failures=1))
    assert once.status is None
    plan = planned(tried, failed(good))
    assert plan.status is not None
    assert plan.status["pending"] == 3
    assert conditions(plan) == {
        "Ready": ("False", "BrokerUnreachable"),
        "Paused": ("False", "NotPaused"),
        "LatencyHigh": ("True", "BeyondObjective"),
    }
    tried = with_status(tried, plan.status)
    for second in range(2, 100):
        again = failed(replace(good, error="timed out"), failures=second)
        assert planned(tried, again, seconds=second).status is None


def test_a_poll_that_did_not_ask_for_the_queue_yet_says_nothing() -> None:
    assert planned(queue("new"), depth()).status is None


def test_what_redis_does_not_take_is_no_pause_and_is_told_until_there_is_nothing_to_write() -> None:
    tried = queue(paused=True)
    refused = ObservedQueue(broker=broker(), reading=depth(), write_error="it is full")
    plan = plan_queue(tried, refused, START)
    assert [action.paused for action in plan.actions if isinstance(action, SetPaused)] == [True]
    assert conditions(plan)["Ready"] == ("False", "WriteRefused")
    assert message(plan, "Ready").endswith("it is full")
    assert conditions(plan)["Paused"] == ("False", "NotPaused")
    again = plan_queue(with_status(tried, plan.status), refused, at(2))
    assert again.status is None or again.status == plan.status
    assert notes(again) == []
    done = plan_queue(with_status(tried, plan.status), replace(refused, reading=depth(paused_at=START)), at(4))
    assert conditions(done)["Ready"] == ("True", "OK")
    assert conditions(done)["Paused"] == ("True", "PausedBySpec")
