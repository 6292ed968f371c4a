"""What a pool tells of its autoscaling: conditions, Events and numbers of schedules, fallback, dry run and speed.

Left out: the counts themselves (test_decisions.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from longshore_operator.plan.actions import ApplyDeployment
from longshore_operator.plan.observed import ChildDeployment
from plan.scenes import PoolWorld, at, conditions, message, notes, pool, scaled

OFFICE = {"cron": "0 13 * * *", "timeZone": "Etc/UTC", "duration": "2h", "minReplicas": 3}


def settled(world: PoolWorld) -> PoolWorld:
    world.run(3)
    world.events.clear()
    return world


def found_with(child: ChildDeployment | None, count: int) -> ChildDeployment:
    """The Deployment after somebody scaled it, with the API server's record of whose count it is now."""
    assert child is not None
    manifest = dict(child.manifest)
    theirs = {"manager": "kubectl-scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    ours = {"f:metadata": {"f:labels": {}, "f:annotations": {}, "f:ownerReferences": {}}}
    ours["f:spec"] = {f"f:{name}": {} for name in manifest["spec"] if name != "replicas"}
    records = [{"manager": "longshore", "fieldsV1": ours}, theirs]
    return ChildDeployment(
        manifest={
            **manifest,
            "metadata": {**manifest["metadata"], "managedFields": records},
            "spec": {**manifest["spec"], "replicas": count},
        },
        owned=True,
    )


def test_a_window_opens_at_its_second_and_the_plan_knows_when() -> None:
    world = PoolWorld(pool=scaled(auto={"schedules": [OFFICE]}))
    plan = world.step()
    assert world.replicas == 0
    assert plan.until == at(3600)
    world.time = 3599
    world.step()
    assert world.replicas == 0
    world.time = 3600
    plan = world.step()
    assert world.replicas == 3
    assert plan.until == at(3 * 3600)
    assert [each.message for each in plan.notes if each.reason == "ScalingUp"] == [
        "0 → 3: nothing waits or runs, at least 3 by the schedule 0 13 * * *"
    ]


def test_within_a_window_an_idle_pool_costs_no_write() -> None:
    world = PoolWorld(pool=scaled(auto={"schedules": [OFFICE]}), time=3600.0)
    world.run(5)
    writes = world.status_writes
    for _ in range(300):
        plan = world.step()
        assert (plan.actions, plan.status, plan.notes) == ((), None, ())
        world.time += 1
    assert world.status_writes == writes


def test_a_schedule_that_cannot_be_understood_is_told_with_its_field_and_scaling_goes_on() -> None:
    bad = {**OFFICE, "timeZone": "Europe/Atlantis"}
    world = PoolWorld(pool=scaled(auto={"schedules": [OFFICE, bad]}), pending=400)
    plan = world.step()
    assert world.replicas == 10
    assert ("Warning", "InvalidTimeZone") in notes(plan)
    world.run(3)
    assert conditions(world.pool.status)["Ready"] == ("False", "InvalidTimeZone")
    assert conditions(world.pool.status)["ScalingActive"] == ("True", "FollowingBacklog")
    said = next(each["message"] for each in world.pool.status["conditions"] if each["type"] == "Ready")
    assert said.startswith("spec.autoscaling.schedules[1].timeZone: unknown time zone 'Europe/Atlantis'")


def test_a_fallback_is_told_once_and_ends_with_the_outage() -> None:
    world = PoolWorld(pool=scaled(auto={"fallback": {"behavior": "Static", "replicas": 4}}), pending=400)
    settled(world)
    assert conditions(world.pool.status)["Fallback"] == ("False", "NoFallback")
    world.reachable = False
    plan = world.run(2)
    assert world.replicas == 10
    assert plan.until == at(world.time - 1 + 2), "the third failure is looked for, whether or not a poll tells of it"
    plan = world.run(1)
    assert world.replicas == 4
    assert conditions(plan)["Fallback"] == ("True", "FallbackStatic")
    assert ("Warning", "FallbackStatic") in notes(plan)
    assert "Broker default cannot be read, so the count is fallback.replicas" in message(plan, "Fallback")
    world.events.clear()
    plan = world.run(100)
    assert plan.until is None
    assert [note.reason for note in world.events] == ["Complete"]  # its six workers fewer have gone
    world.reachable = True
    plan = world.run(1)
    assert world.replicas == 10
    assert conditions(plan)["Fallback"] == ("False", "NoFallback")


def test_to_hold_is_no_fallback() -> None:
    world = settled(PoolWorld(pool=scaled(), pending=400))
    world.reachable = False
    world.run(50)
    assert conditions(world.pool.status)["Fallback"] == ("False", "NoFallback")
    assert conditions(world.pool.status)["ScalingActive"] == ("False", "BrokerUnreachable")


def test_a_dry_run_tells_and_leaves_the_count_to_whoever_sets_it() -> None:
    world = settled(PoolWorld(pool=scaled(auto={"dryRun": True}), pending=400))
    assert world.replicas == 0
    assert world.decision == "dry run: would go 0 → 10: 400 waiting / 40 per replica = 10"
    assert world.pool.status["desiredReplicas"] == 10
    assert "lastScaleTime" not in world.pool.status
    assert conditions(world.pool.status)["ScalingActive"] == ("False", "DryRun")
    assert conditions(world.pool.status)["Progressing"] == ("False", "Complete")
    applied = len(world.applied)
    world.child = found_with(world.child, 6)
    plan = world.run(5)
    assert len(world.applied) == applied
    assert "EditUndone" not in [note.reason for note in world.events]
    assert world.decision == "dry run: would go 6 → 10: 400 waiting / 40 per replica = 10"
    assert plan.memory is not None
    assert plan.memory.replicas == 6


def test_a_dry_run_is_in_no_fallback() -> None:
    world = settled(PoolWorld(pool=scaled(auto={"dryRun": True, "fallback": {"behavior": "Static", "replicas": 4}})))
    world.reachable = False
    world.run(10)
    assert world.decision == "dry run: would go 0 → 4: fallback Static 4, because the Broker cannot be read"
    assert world.replicas == 0
    assert conditions(world.pool.status)["Fallback"] == ("False", "NoFallback")


def test_a_dry_run_still_rolls_out_and_carries_the_count_that_it_finds() -> None:
    world = settled(PoolWorld(pool=scaled(auto={"dryRun": True}), pending=400))
    world.child = found_with(world.child, 6)
    world.pool = world.pool.model_copy(update={"spec": scaled(auto={"dryRun": True}, image="shop:2.0").spec})
    plan = world.step()
    [action] = [each for each in plan.actions if isinstance(each, ApplyDeployment)]
    assert action.manifest["spec"]["replicas"] == 6


def test_after_a_dry_run_the_first_order_is_the_one_that_was_told() -> None:
    world = settled(PoolWorld(pool=scaled(auto={"dryRun": True}), pending=400))
    world.pool = world.pool.model_copy(update={"spec": scaled().spec})
    world.step()
    assert (world.replicas, world.decision) == (10, "0 → 10: 400 waiting / 40 per replica = 10")


def measured_world(**auto: Any) -> PoolWorld:
    """A pool at full load of which a speed of two tasks a second and worker has been measured."""
    world = settled(PoolWorld(pool=scaled(auto={"maxReplicas": 5, **auto}), pending=4000))
    assert world.memory is not None
    assert world.memory.throughput is not None
    world.memory = replace(world.memory, throughput=replace(world.memory.throughput, rate=2.0416))
    world.step()
    return world


def test_the_speed_is_told_in_two_digits_and_only_when_it_was_measured() -> None:
    world = settled(PoolWorld(pool=scaled(), pending=400))
    assert "throughputPerReplica" not in world.pool.status
    assert measured_world().pool.status["throughputPerReplica"] == 2.0


def test_a_new_operator_takes_the_speed_from_the_status_unless_the_spec_has_changed() -> None:
    world = measured_world()
    world.restart()
    plan = world.step()
    assert plan.memory is not None
    assert plan.memory.throughput is not None
    assert plan.memory.throughput.rate == 2.0
    world.restart()
    world.pool = world.pool.model_copy(update={"metadata": world.pool.metadata.model_copy(update={"generation": 2})})
    plan = world.step()
    assert plan.memory is not None
    assert plan.memory.throughput is not None
    assert plan.memory.throughput.rate is None


def test_another_image_is_another_speed_and_another_maximum_is_not() -> None:
    world = measured_world()
    world.pool = world.pool.model_copy(update={"spec": scaled(auto={"maxReplicas": 9}).spec})
    world.step()
    assert world.pool.status["throughputPerReplica"] == 2.0
    world.pool = world.pool.model_copy(update={"spec": scaled(image="shop:2.0").spec})
    world.step()
    assert "throughputPerReplica" not in world.pool.status


def test_a_fixed_count_has_no_fallback_and_no_window() -> None:
    world = PoolWorld(pool=pool(replicas=2), reachable=False)
    plan = world.run(5)
    assert world.replicas == 2
    assert plan.until is None
    assert conditions(world.pool.status)["Fallback"] == ("False", "NoFallback")
