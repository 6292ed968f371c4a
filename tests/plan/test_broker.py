"""What a Broker's plan does and says: reachability, its scheduler, its finalizer, and its users.

Leaves out: the periodic entries (test_entries.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from longshore.protocol.periodic import encode_entry
from longshore.protocol.snapshots import QueueSnapshot, SchedulerLease
from longshore_operator.api.broker import Broker
from longshore_operator.plan.actions import ApplyDeployment, DeleteDeployment, Plan, SetFinalizer, WritePeriodic
from longshore_operator.plan.broker import plan_broker
from longshore_operator.plan.observed import BrokerReading, ObservedBroker, SecretReading
from longshore_operator.plan.periodic_entry import periodic_entry
from longshore_operator.plan.settings import PlanSettings
from plan.scenes import (
    START,
    UNREAD,
    at,
    broker,
    conditions,
    failed,
    live,
    message,
    notes,
    periodic,
    reading,
    with_status,
)

SETTINGS = PlanSettings(image="longshore:dev")
ENTRIES = {"report": encode_entry(periodic_entry(periodic(), since=START))}
LEASE = SchedulerLease(holder="default-scheduler-1:1:x", since=START)
IN_USE = {"finalizers": ["longshore.dev/in-use"]}
DELETING = {**IN_USE, "deletionTimestamp": "2026-03-01T12:00:00Z"}


def planned(tried: Broker, read: BrokerReading, *, seconds: float = 0, **observed: Any) -> Plan:
    given = ObservedBroker(**{"reading": read, "secret": None, "scheduler": None, **observed})
    return plan_broker(tried, given, at(seconds), SETTINGS)


def does(plan: Plan) -> list[str]:
    return [type(action).__name__ for action in plan.actions]


def test_a_broker_that_answers_is_ready_and_says_what_is_there() -> None:
    plan = planned(broker(), reading(QueueSnapshot(name="mail")))
    assert plan.status is not None
    assert conditions(plan) == {
        "Ready": ("True", "OK"),
        "Reachable": ("True", "RedisAnswers"),
        "SchedulerReady": ("True", "NoPeriodicTasks"),
    }
    assert {name: plan.status[name] for name in ("redisVersion", "latencyMs", "queues", "servers")} == {
        "redisVersion": "7.0.15",
        "latencyMs": 1,
        "queues": 1,
        "servers": 0,
    }
    assert plan.actions == ()


def test_latency_alone_is_never_written() -> None:
    read = reading()
    tried = with_status(broker(), planned(broker(), read).status)
    assert read.snapshot is not None
    for ms in range(2, 100):
        slower = replace(read, snapshot=replace(read.snapshot, latency=timedelta(milliseconds=ms)))
        assert planned(tried, slower, seconds=ms).status is None


def test_one_failed_poll_is_no_news_and_two_are() -> None:
    read = reading()
    tried = with_status(broker(), planned(broker(), read).status)
    assert planned(tried, failed(read, failures=1)).status is None
    plan = planned(tried, failed(read, failures=2))
    assert conditions(plan)["Ready"] == conditions(plan)["Reachable"] == ("False", "BrokerUnreachable")
    assert message(plan, "Reachable") == "Redis cannot be read: Connection refused"
    assert notes(plan) == [("Warning", "BrokerUnreachable")]
    assert plan.urgent
    assert plan.status is not None
    assert plan.status["redisVersion"] == "7.0.15"


def test_a_redis_that_was_never_there_is_told_at_the_first_failure() -> None:
    plan = planned(broker(), failed(UNREAD, failures=1))
    assert conditions(plan)["Ready"] == ("False", "BrokerUnreachable")


def test_before_the_first_poll_nothing_is_said() -> None:
    assert planned(broker(), UNREAD).status is None


def test_a_missing_secret_is_told_with_the_fix() -> None:
    tried = broker(auth={"passwordSecretRef": {"name": "redis"}})
    missing = SecretReading(found=False, problem="Secret redis is not in namespace shop; create it.")
    plan = planned(tried, UNREAD, secret=missing)
    assert conditions(plan)["Ready"] == conditions(plan)["Reachable"] == ("False", "SecretNotFound")
    assert message(plan, "Ready") == "Secret redis is not in namespace shop; create it."


def test_an_unusable_secret_is_told_apart_from_a_missing_one() -> None:
    tried = broker(auth={"passwordSecretRef": {"name": "redis"}})
    empty = SecretReading(found=False, invalid=True, problem="Secret redis: the value of password is empty")
    plan = planned(tried, UNREAD, secret=empty)
    assert conditions(plan)["Ready"] == conditions(plan)["Reachable"] == ("False", "SecretInvalid")


def test_what_kind_of_redis_it_is_and_where_is_shown_even_while_it_cannot_be_read() -> None:
    sentinel = {"masterName": "main", "addresses": ["s1:26379", "s2:26379"]}
    for tried, mode, address in (
        (broker(), "standalone", "redis:6379/0"),
        (broker(url=None, sentinel=sentinel), "sentinel", "s1:26379,s2:26379/0?master=main"),
        (broker(url=None, cluster={"addresses": ["n:1"]}), "cluster", "n:1"),
    ):
        for read in (reading(), failed(UNREAD)):
            status = planned(tried, read).status
            assert status is not None
            assert (status["mode"], status["address"]) == (mode, address)


def test_the_version_of_the_secret_is_shown() -> None:
    plan = planned(broker(), reading(), secret=SecretReading(found=True, version="v1"))
    assert plan.status is not None
    assert plan.status["secretVersion"] == "v1"


@pytest.mark.parametrize(
    ("finalizers", "users", "does_"),
    [
        pytest.param([], ("Queue/mail",), [True], id="the first user puts it on"),
        pytest.param(["longshore.dev/in-use"], ("Queue/mail",), [], id="it stays while there are users"),
        pytest.param(["longshore.dev/in-use"], (), [False], id="the last user takes it off"),
        pytest.param([], (), [], id="without users there is none"),
    ],
)
def test_the_finalizer_is_held_while_the_broker_is_in_use(
    finalizers: list[str], users: tuple[str, ...], does_: list[bool]
) -> None:
    tried = broker(metadata={"finalizers": finalizers})
    plan = planned(tried, reading(), users=users)
    assert [action.present for action in plan.actions if isinstance(action, SetFinalizer)] == does_


def test_the_finalizer_comes_before_a_scheduler_that_may_be_refused() -> None:
    users = ("PeriodicTask/report",)
    plan = planned(broker(), reading(entries=ENTRIES), users=users, periodic_tasks=(periodic(),))
    assert does(plan) == ["SetFinalizer", "ApplyDeployment"]


def test_a_broker_in_use_waits_for_its_users_and_names_them() -> None:
    tried = broker(metadata=DELETING)
    users = tuple(f"Queue/q{number:02}" for number in range(12))
    plan = planned(tried, reading(), users=users)
    assert plan.actions == ()
    assert conditions(plan)["InUse"] == ("True", "StillUsed")
    assert message(plan, "InUse") == (
        "The Broker is being deleted and waits for Queue/q00, Queue/q01, Queue/q02, Queue/q03, Queue/q04, Queue/q05, "
        "Queue/q06, Queue/q07, Queue/q08, Queue/q09 and 2 more."
    )
    assert ("Warning", "StillUsed") in notes(plan)


def test_it_goes_with_its_last_user_after_its_entries() -> None:
    tried = broker(metadata=DELETING)
    plan = planned(tried, reading(entries=ENTRIES))
    assert does(plan) == ["WritePeriodic", "SetFinalizer"]
    assert plan.status is None


def test_a_broker_that_is_going_gets_no_new_finalizer() -> None:
    tried = broker(metadata={"deletionTimestamp": "2026-03-01T12:00:00Z", "finalizers": ["someone/else"]})
    assert does(planned(tried, reading(), users=("Queue/mail",))) == []


def test_a_broker_of_which_redis_is_away_can_be_deleted() -> None:
    plan = planned(broker(metadata=DELETING), failed(reading()))
    assert does(plan) == ["SetFinalizer"]


def test_the_first_periodic_task_brings_a_scheduler_and_the_last_one_takes_it_away() -> None:
    tried = broker()
    plan = planned(tried, reading(), periodic_tasks=(periodic(),))
    assert does(plan) == ["WritePeriodic", "ApplyDeployment"]
    assert conditions(plan)["SchedulerReady"] == ("False", "SchedulerStarting")
    (apply,) = [action for action in plan.actions if isinstance(action, ApplyDeployment)]
    assert apply.manifest["metadata"]["name"] == "default-scheduler"
    assert apply.manifest["spec"]["replicas"] == 1

    child = live(apply.manifest)
    steady = planned(tried, reading(entries=ENTRIES, scheduler=LEASE), periodic_tasks=(periodic(),), scheduler=child)
    assert steady.actions == ()
    assert conditions(steady)["Ready"] == ("True", "OK")

    last = planned(tried, reading(entries=ENTRIES), scheduler=child)
    assert does(last) == ["WritePeriodic", "DeleteDeployment"]
    assert [action.uid for action in last.actions if isinstance(action, DeleteDeployment)] == ["uid-default-scheduler"]
    assert [action.remove for action in last.actions if isinstance(action, WritePeriodic)] == [{"report"}]


def scheduler_of(tried: Broker, **status: Any) -> Any:
    plan = planned(tried, reading(), periodic_tasks=(periodic(),))
    (apply,) = [action for action in plan.actions if isinstance(action, ApplyDeployment)]
    return live(apply.manifest, **status)


@pytest.mark.parametrize(
    ("replicas", "ready", "lease", "expected"),
    [
        pytest.param(1, 1, LEASE, ("True", "SchedulerActive"), id="one holds the lease"),
        pytest.param(1, 0, None, ("False", "SchedulerStarting"), id="its pod is on the way"),
        pytest.param(1, 1, None, ("False", "SchedulerNotActive"), id="its pod is ready and yet it does not lead"),
        pytest.param(0, 0, LEASE, ("True", "SchedulerActive"), id="one runs elsewhere"),
        pytest.param(0, 0, None, ("False", "SchedulerNotActive"), id="none is wanted and none runs elsewhere"),
    ],
)
def test_the_scheduler_is_ready_when_one_holds_the_lease(
    replicas: int, ready: int, lease: SchedulerLease | None, expected: tuple[str, str]
) -> None:
    tried = broker(scheduler={"replicas": replicas})
    plan = planned(
        tried,
        reading(entries=ENTRIES, scheduler=lease),
        periodic_tasks=(periodic(),),
        scheduler=scheduler_of(tried, ready=ready),
    )
    assert conditions(plan)["SchedulerReady"] == expected
    assert conditions(plan)["Ready"][0] == expected[0]


def test_someone_elses_deployment_of_the_name_is_left_alone() -> None:
    child = replace(scheduler_of(broker()), owned=False)
    plan = planned(broker(), reading(entries=ENTRIES), periodic_tasks=(periodic(),), scheduler=child)
    assert plan.actions == ()
    assert conditions(plan)["SchedulerReady"] == ("False", "NameConflict")
    gone = planned(broker(), reading(), scheduler=child)
    assert gone.actions == ()


def test_a_refused_template_is_told_in_the_api_servers_words() -> None:
    plan = planned(
        broker(), reading(entries=ENTRIES), periodic_tasks=(periodic(),), apply_error="spec.x: unknown field"
    )
    assert conditions(plan)["Ready"] == ("False", "InvalidTemplate")
    assert message(plan, "SchedulerReady") == "spec.x: unknown field"


def test_a_changed_secret_replaces_the_schedulers_pods() -> None:
    tried = broker(auth={"passwordSecretRef": {"name": "redis"}})
    one, two = SecretReading(found=True, version="v1"), SecretReading(found=True, version="v2")
    tasks = (periodic(),)
    first = planned(tried, reading(entries=ENTRIES), periodic_tasks=tasks, secret=one)
    (apply,) = [action for action in first.actions if isinstance(action, ApplyDeployment)]
    child = live(apply.manifest)
    assert does(planned(tried, reading(entries=ENTRIES), periodic_tasks=tasks, secret=one, scheduler=child)) == []
    changed = planned(tried, reading(entries=ENTRIES), periodic_tasks=tasks, secret=two, scheduler=child)
    assert does(changed) == ["ApplyDeployment"]
    missing = SecretReading(found=False, problem="gone")
    assert does(planned(tried, reading(entries=ENTRIES), periodic_tasks=tasks, secret=missing, scheduler=child)) == []


def test_an_idle_broker_is_not_written_again() -> None:
    tried = broker(metadata=IN_USE)
    observed: dict[str, Any] = {
        "periodic_tasks": (periodic(),),
        "users": ("PeriodicTask/report", "Queue/mail"),
        "scheduler": scheduler_of(tried),
    }
    read = reading(QueueSnapshot(name="mail"), entries=ENTRIES, scheduler=LEASE)
    tried = with_status(tried, planned(tried, read, **observed).status)
    for second in range(1, 500):
        plan = planned(tried, read, seconds=second, **observed)
        assert (plan.status, plan.actions, plan.notes) == (None, (), ())


def test_entries_that_redis_does_not_take_are_told_while_there_are_any_to_write() -> None:
    refused = {"periodic_tasks": (periodic(),), "write_error": "it is full"}
    plan = planned(broker(), reading(), **refused)
    assert "WritePeriodic" in does(plan)
    assert conditions(plan)["Ready"] == ("False", "WriteRefused")
    assert conditions(plan)["Reachable"] == ("True", "RedisAnswers")
    assert "it is full" in message(plan, "Ready")
    written = planned(broker(), reading(entries=ENTRIES), **refused)
    assert conditions(written)["Ready"][1] != "WriteRefused"
