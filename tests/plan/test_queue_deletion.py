"""The end of a Queue: who holds a finalizer, what each deletionPolicy waits for, and when an object is let go."""

from __future__ import annotations

from typing import Any

import pytest

from longshore.protocol.snapshots import QueueSnapshot
from longshore_operator.api.queue import Queue
from longshore_operator.plan.actions import Plan, RetireQueue, SetFinalizer
from longshore_operator.plan.names import QUEUE_FINALIZER
from longshore_operator.plan.observed import BrokerReading, ObservedQueue
from longshore_operator.plan.task_queue import plan_queue
from plan.scenes import START, UNREAD, broker, conditions, failed, message, queue, reading

HELD = {"finalizers": [QUEUE_FINALIZER]}
GOING = {**HELD, "deletionTimestamp": "2026-03-01T12:00:00Z", "deletionGracePeriodSeconds": 0}


def planned(tried: Queue, read: BrokerReading, *rivals: Queue, found: bool = True, removed: bool = False) -> Plan:
    observed = ObservedQueue(broker=broker() if found else None, reading=read, rivals=rivals, removed=removed)
    return plan_queue(tried, observed, START)


def depth(**counts: Any) -> BrokerReading:
    return reading(QueueSnapshot(name="mail", **counts))


def finalizers(plan: Plan) -> list[bool]:
    return [action.present for action in plan.actions if isinstance(action, SetFinalizer)]


def removals(plan: Plan) -> list[bool]:
    return [action.delete_tasks for action in plan.actions if isinstance(action, RetireQueue)]


@pytest.mark.parametrize(
    ("policy", "metadata", "sets"),
    [
        ("Retain", {}, []),
        ("Retain", HELD, [False]),
        ("DeleteIfEmpty", {}, [True]),
        ("DeleteIfEmpty", HELD, []),
        ("Delete", {}, [True]),
        ("Delete", HELD, []),
    ],
)
def test_a_finalizer_is_held_for_what_there_is_to_do(policy: str, metadata: dict[str, Any], sets: list[bool]) -> None:
    tried = queue(metadata=metadata, deletionPolicy=policy)
    assert finalizers(planned(tried, depth())) == sets
    # before its Broker is there or was read, too: it may be deleted before
    assert finalizers(planned(tried, UNREAD)) == sets
    assert finalizers(planned(tried, UNREAD, found=False)) == sets


def test_of_two_queues_only_the_one_that_stands_for_the_queue_holds_one() -> None:
    older = queue("first", queueName="mail", metadata={"creationTimestamp": "2026-01-01T00:00:00Z"})
    loser = queue(metadata=HELD, deletionPolicy="Delete")
    assert finalizers(planned(loser, depth(), older)) == [False]


def test_retain_lets_go_at_once() -> None:
    plan = planned(queue(metadata=GOING, deletionPolicy="Retain"), depth(pending=5))
    assert (finalizers(plan), removals(plan)) == ([False], [])


@pytest.mark.parametrize("counts", [{"pending": 2, "archived": 1}, {"active": 2, "retry": 1}, {"completed": 3}])
def test_delete_if_empty_waits_and_names_what_is_left(counts: dict[str, int]) -> None:
    plan = planned(queue(metadata=GOING, deletionPolicy="DeleteIfEmpty"), depth(**counts))
    assert plan.actions == ()
    assert conditions(plan)["Deleting"] == ("True", "NotEmpty")
    for state, count in counts.items():
        assert f"{count} {state}" in message(plan, "Deleting")
    assert plan.status is not None
    assert plan.status["archived"] == counts.get("archived", 0)


def test_delete_if_empty_removes_an_empty_queue() -> None:
    plan = planned(queue(metadata=GOING, deletionPolicy="DeleteIfEmpty"), depth())
    assert (removals(plan), finalizers(plan)) == ([False], [])
    assert conditions(plan)["Deleting"] == ("True", "Removing")


@pytest.mark.parametrize(
    ("counts", "steps", "reason"),
    [
        ({}, [True], "Removing"),
        ({"pending": 5}, [True], "Removing"),
        ({"pending": 5, "active": 2}, [True], "Removing"),
        ({"active": 2}, [], "TasksInFlight"),
    ],
)
def test_delete_removes_what_waits_and_waits_for_what_runs(
    counts: dict[str, int], steps: list[bool], reason: str
) -> None:
    plan = planned(queue(metadata=GOING, deletionPolicy="Delete"), depth(**counts))
    assert (removals(plan), finalizers(plan)) == (steps, [])
    assert conditions(plan)["Deleting"] == ("True", reason)


def test_a_removed_queue_lets_its_object_go() -> None:
    plan = planned(queue(metadata=GOING, deletionPolicy="Delete"), depth(pending=1), removed=True)
    assert (finalizers(plan), removals(plan), plan.status) == ([False], [], None)
    assert [note.reason for note in plan.notes] == ["QueueRemoved"]


def test_without_its_broker_or_beside_another_queue_it_goes_and_says_that_the_queue_stays() -> None:
    tried = queue(metadata=GOING, deletionPolicy="Delete")
    for plan, why in (
        (planned(tried, UNREAD, found=False), "Broker default is gone"),
        (planned(tried, depth(pending=1), queue("post", queueName="mail")), "Queue/post"),
    ):
        assert (finalizers(plan), removals(plan)) == ([False], [])
        [note] = plan.notes
        assert (note.type, note.reason) == ("Warning", "QueueKept")
        assert why in note.message


def test_another_queue_that_goes_as_well_does_not_let_it_go() -> None:
    other = queue("post", queueName="mail", metadata=GOING)
    plan = planned(queue(metadata=GOING, deletionPolicy="Delete"), depth(pending=1), other)
    assert (finalizers(plan), removals(plan)) == ([], [True])


@pytest.mark.parametrize(
    ("read", "reason"),
    [(failed(depth()), "BrokerUnreachable"), (depth(problem="asynq:{mail}:pending: is a string"), "WrongType")],
)
def test_what_is_in_the_way_is_said_with_the_way_out(read: BrokerReading, reason: str) -> None:
    plan = planned(queue(metadata=GOING, deletionPolicy="Delete"), read)
    assert plan.actions == ()
    assert conditions(plan)["Deleting"] == ("True", reason)
    assert "spec.deletionPolicy to Retain" in message(plan, "Deleting")


def test_nothing_is_concluded_from_a_redis_that_was_not_read() -> None:
    tried = queue(metadata=GOING, deletionPolicy="DeleteIfEmpty")
    for read in (UNREAD, failed(depth(), failures=1), reading()):
        assert planned(tried, read) == Plan()


def test_a_queue_that_others_hold_is_left_alone() -> None:
    tried = queue(metadata={**GOING, "finalizers": ["example.com/mine"]}, deletionPolicy="Delete")
    assert planned(tried, depth(pending=1)) == Plan()
