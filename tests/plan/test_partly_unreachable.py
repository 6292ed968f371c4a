"""What is concluded while one master of a cluster is away: nothing about what lies on it, and all about the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from longshore.protocol.snapshots import NO_ENTRIES, QueueSnapshot
from longshore_operator.plan.broker import plan_broker
from longshore_operator.plan.observed import BrokerReading, ObservedBroker, ObservedPeriodicTask, ObservedQueue
from longshore_operator.plan.periodic_task import plan_periodic_task
from longshore_operator.plan.settings import PlanSettings
from longshore_operator.plan.task_queue import plan_queue
from longshore_operator.plan.worker_pool import plan_worker_pool
from plan.scenes import (
    START,
    PoolWorld,
    broker,
    conditions,
    message,
    periodic,
    queue,
    reading,
    scaled,
    with_status,
)

PROBLEM = "Redis at 10.0.0.1:6379: Connection refused"
CLUSTER = {"url": None, "cluster": {"addresses": ["n1:6379"]}}


def partly(*queues: QueueSnapshot, **more: Any) -> BrokerReading:
    """A poll that did not reach one master."""
    whole = reading(*queues)
    assert whole.snapshot is not None
    return replace(whole, snapshot=replace(whole.snapshot, problem=PROBLEM, **more))


def cut(name: str) -> QueueSnapshot:
    return QueueSnapshot(name=name, problem=PROBLEM, unreachable=True)


def test_the_broker_says_what_is_away_and_leaves_entries_alone_that_it_cannot_read() -> None:
    tried = broker(**CLUSTER)
    read = partly(cut("mail"), schedule_known=False, servers_known=False, entries=NO_ENTRIES, redis_version="")
    observed = ObservedBroker(reading=read, secret=None, scheduler=None, periodic_tasks=(periodic(),))
    tried = with_status(tried, {"redisVersion": "7.0.15", "servers": 4})
    plan = plan_broker(tried, observed, START, PlanSettings(image="longshore:dev"))
    assert [type(action).__name__ for action in plan.actions] == ["ApplyDeployment"]
    assert conditions(plan)["Ready"] == conditions(plan)["Reachable"] == ("False", "PartlyUnreachable")
    assert PROBLEM in message(plan, "Reachable")
    assert conditions(plan)["SchedulerReady"] == ("Unknown", "BrokerUnreachable")
    assert plan.status is not None
    assert (plan.status["redisVersion"], plan.status["servers"]) == ("7.0.15", 4)


def test_a_queue_there_keeps_its_numbers_and_others_are_read() -> None:
    tried = broker(**CLUSTER)
    mail = with_status(queue(), {"pending": 7, "paused": False})
    plan = plan_queue(mail, ObservedQueue(broker=tried, reading=partly(cut("mail"))), START)
    assert conditions(plan)["Ready"] == ("False", "BrokerUnreachable")
    assert plan.status is not None
    assert plan.status["pending"] == 7
    assert plan.actions == ()
    other = partly(cut("mail"), QueueSnapshot(name="other", pending=3))
    plan = plan_queue(queue("other"), ObservedQueue(broker=tried, reading=other), START)
    assert conditions(plan)["Ready"] == ("True", "OK")


def test_a_periodic_task_keeps_what_is_known_of_its_ticks() -> None:
    task = with_status(periodic(), {"lastTick": "2026-03-01T11:00:00Z", "nextTick": "2026-03-01T12:00:00Z"})
    read = partly(schedule_known=False)
    plan = plan_periodic_task(task, ObservedPeriodicTask(broker=broker(**CLUSTER), reading=read, scheduler=None), START)
    assert conditions(plan)["Ready"] == ("False", "BrokerUnreachable")
    assert conditions(plan)["SchedulerReady"] == ("Unknown", "BrokerUnreachable")
    assert plan.status is not None
    assert plan.status["lastTick"] == "2026-03-01T11:00:00Z"


@pytest.mark.parametrize(
    ("read", "why", "reason"),
    [
        pytest.param(
            partly(cut("mail")), "kept while queue mail cannot be read", ("False", "BrokerUnreachable"), id="a queue"
        ),
        pytest.param(
            partly(QueueSnapshot(name="mail"), servers_known=False),
            "kept while some workers' heartbeats cannot be read",
            ("True", "FollowingBacklog"),
            id="heartbeats",
        ),
    ],
)
def test_a_pool_does_not_shrink_by_what_is_unread(read: BrokerReading, why: str, reason: tuple[str, str]) -> None:
    world = PoolWorld(pool=scaled())
    world.pending = 200
    world.run(5)
    assert world.replicas == 5
    memory = world.memory
    for _ in range(600):
        world.time += 1
        observed = replace(world.observe(), reading=replace(read, read_at=world.now), memory=memory)
        plan = plan_worker_pool(world.pool, observed, world.now)
        memory = plan.memory
        assert plan.actions == ()
        world.pool = with_status(world.pool, plan.status)
    assert world.decision.endswith(why)
    assert conditions(world.pool.status)["ScalingActive"] == reason


def test_a_pool_grows_by_the_queues_that_are_read() -> None:
    world = PoolWorld(pool=scaled(queues=[{"name": "mail"}, {"name": "other"}]))
    world.run(5)
    read = partly(QueueSnapshot(name="mail", pending=400), cut("other"))
    plan = plan_worker_pool(world.pool, replace(world.observe(), reading=read), world.now)
    assert plan.memory is not None
    assert plan.memory.replicas == 10
