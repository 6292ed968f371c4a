"""What is said of a PeriodicTask: whether it is in force, its last and next ticks, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from longshore.policy.jitter import Jitter
from longshore.policy.periodic import Schedule
from longshore.protocol.periodic import TickRecord, encode_entry
from longshore.protocol.snapshots import SchedulerLease
from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.plan.actions import Plan
from longshore_operator.plan.observed import BrokerReading, ObservedPeriodicTask
from longshore_operator.plan.periodic_entry import periodic_entry
from longshore_operator.plan.periodic_task import plan_periodic_task
from longshore_operator.plan.timestamps import format_time
from plan.scenes import START, UNREAD, at, broker, conditions, failed, message, periodic, reading, with_status

LEASE = SchedulerLease(holder="default-scheduler-1:1:x", since=START)


def in_force(task: PeriodicTask, **more: Any) -> BrokerReading:
    entry = encode_entry(periodic_entry(task, since=START))
    return reading(entries={task.name: entry}, scheduler=LEASE, **more)


def planned(task: PeriodicTask, read: BrokerReading, *, seconds: float = 0, found: bool = True) -> Plan:
    observed = ObservedPeriodicTask(broker=broker() if found else None, reading=read, scheduler=None)
    plan = plan_periodic_task(task, observed, at(seconds))
    assert plan.actions == ()
    return plan


def test_an_entry_in_force_says_when_it_ran_and_when_it_runs_next() -> None:
    task = periodic(timeZone="Europe/Berlin", schedule="30 14 * * *")
    record = TickRecord(
        last_tick=at(-3600), last_task_id="periodic:shop/default/report:1", missed=2, enqueued=9, skipped=3
    )
    plan = planned(task, in_force(task, ticks={"report": record}))
    assert plan.status is not None
    assert conditions(plan) == {
        "Ready": ("True", "OK"),
        "SchedulerReady": ("True", "SchedulerActive"),
        "Suspended": ("False", "NotSuspended"),
    }
    assert {name: value for name, value in plan.status.items() if name not in ("conditions", "observedGeneration")} == {
        "lastTick": "2026-03-01T11:00:00Z",
        "lastTaskID": "periodic:shop/default/report:1",
        "nextTick": "2026-03-01T13:30:00Z",
        "missedTicks": 2,
        "skippedTicks": 3,
    }


def test_the_next_tick_is_told_with_its_jitter() -> None:
    task = periodic(schedule="@every 1h", jitter="30m")
    jitter = Jitter(most_s=1800, seed="shop:default:report")
    enqueued = Schedule.parse("@every 1h").first_enqueued(START, START, jitter)
    assert enqueued is not None
    delay_s = (enqueued - at(3600)).total_seconds()
    assert 1 <= delay_s <= 1800
    # before the tick's time, and also when only its delay is left
    for second in (20, 3600 + delay_s - 1):
        plan = planned(task, in_force(task), seconds=second)
        assert plan.status is not None
        assert plan.status["nextTick"] == format_time(enqueued)


def test_every_counts_from_the_entry_in_force() -> None:
    task = periodic(schedule="@every 7s")
    plan = planned(task, in_force(task), seconds=20)
    assert plan.status is not None
    assert plan.status["nextTick"] == "2026-03-01T12:00:21Z"


def test_before_it_is_written_it_is_about_to_be() -> None:
    plan = planned(periodic(), reading(scheduler=LEASE))
    assert conditions(plan)["Ready"] == ("False", "NotHandedOver")
    assert plan.status is not None
    assert "nextTick" not in plan.status
    assert [note.type for note in plan.notes] == ["Normal"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"schedule": "61 * * * *"}, "InvalidSchedule"),
        ({"timeZone": "Mars/Olympus"}, "InvalidTimeZone"),
        ({"task": {"type": "a", "payload": {"x": "y" * 16384}}}, "InvalidTask"),
    ],
)
def test_what_is_wrong_with_it_is_told_also_while_redis_is_away(spec: dict[str, Any], reason: str) -> None:
    task = periodic(**spec)
    for read in (reading(scheduler=LEASE), failed(reading())):
        plan = planned(task, read)
        assert conditions(plan)["Ready"] == ("False", reason)
        assert message(plan, "Ready").startswith("spec.")


def test_a_schedule_without_a_date_says_that_it_never_fires() -> None:
    task = periodic(schedule="0 0 30 2 *")
    plan = planned(task, in_force(task))
    assert plan.status is not None
    assert conditions(plan)["Ready"] == ("False", "NeverFires")
    assert "0 0 30 2 *" in message(plan, "Ready")
    assert "nextTick" not in plan.status
    assert planned(with_status(task, plan.status), in_force(task), seconds=30).status is None


def test_what_keeps_the_scheduler_from_its_ticks_is_told() -> None:
    task = periodic()
    refused = {task.name: "asynq:{mail}:pending: is a string", "other": "x"}
    plan = planned(task, in_force(task, refused=refused))
    assert conditions(plan)["Ready"] == ("False", "TicksRefused")
    assert "asynq:{mail}:pending: is a string" in message(plan, "Ready")
    # the report of a scheduler that is gone says nothing of the next one
    read = reading(entries={task.name: encode_entry(periodic_entry(task, since=START))}, refused=refused)
    assert conditions(planned(task, read))["Ready"] == ("True", "OK")


def test_a_suspended_entry_has_no_next_tick() -> None:
    task = periodic(suspend=True)
    plan = planned(task, in_force(task))
    assert plan.status is not None
    assert conditions(plan)["Suspended"] == ("True", "SuspendedBySpec")
    assert conditions(plan)["Ready"] == ("True", "OK")
    assert "nextTick" not in plan.status


def test_without_its_broker_it_says_so() -> None:
    assert conditions(planned(periodic(), UNREAD, found=False)) == {
        "Ready": ("False", "BrokerNotFound"),
        "SchedulerReady": ("False", "BrokerNotFound"),
        "Suspended": ("False", "NotSuspended"),
    }


def test_while_redis_is_away_the_last_ticks_stay() -> None:
    task = periodic()
    record = TickRecord(last_tick=at(-3600), last_task_id="x", missed=2, enqueued=9)
    read = in_force(task, ticks={"report": record})
    task = with_status(task, planned(task, read).status)
    assert planned(task, failed(read, failures=1)).status is None
    plan = planned(task, failed(read))
    assert plan.status is not None
    assert conditions(plan)["Ready"] == ("False", "BrokerUnreachable")
    assert conditions(plan)["SchedulerReady"] == ("Unknown", "BrokerUnreachable")
    assert (plan.status["lastTick"], plan.status["missedTicks"]) == ("2026-03-01T11:00:00Z", 2)


def test_a_record_that_was_lost_with_redis_leaves_what_was_noted() -> None:
    task = periodic()
    record = TickRecord(last_tick=at(-3600), last_task_id="x", missed=2, enqueued=9)
    task = with_status(task, planned(task, in_force(task, ticks={"report": record})).status)
    assert planned(task, in_force(task)).status is None


def test_ticks_are_volatile_and_between_them_nothing_is_written() -> None:
    task = periodic(schedule="@every 10s")
    task = with_status(task, planned(task, in_force(task)).status)
    for second in range(1, 10):
        assert planned(task, in_force(task), seconds=second).status is None
    plan = planned(task, in_force(task), seconds=10)
    assert (plan.status is not None, plan.urgent) == (True, False)


def test_before_the_first_poll_nothing_is_said() -> None:
    assert planned(periodic(), UNREAD).status is None
