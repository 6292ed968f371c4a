"""How many workers a pool gets, second by second: the decision, in a small world where its orders are obeyed at once.

Proves: bursts, drains, windows, steps, bounds, busy workers, restarts, outages, sharing, pauses, and the words for it.
Leaves out: how the count is rendered (test_deployment.py) and written (tests/handlers).
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longshore_operator.plan.actions import SetDeletionCost
from plan.scenes import PoolWorld, at, conditions, pool, scaled


def idle_world(**spec: object) -> PoolWorld:
    world = PoolWorld(pool=scaled(auto=spec))
    world.run(2)
    return world


def test_a_burst_into_an_empty_queue_gets_its_workers_at_the_next_poll() -> None:
    world = idle_world()
    assert world.replicas == 0
    world.pending = 500
    world.step()
    assert world.replicas == 13
    assert world.decision == "0 → 13: 500 waiting / 40 per replica = 13"


def test_one_task_is_enough_for_the_first_worker() -> None:
    world = idle_world()
    world.pending = 1
    world.step()
    assert (world.replicas, world.decision) == (1, "0 → 1: 1 waiting / 40 per replica = 1")


def test_the_decision_says_what_limits_it() -> None:
    world = PoolWorld(pool=scaled())
    world.pending = 480
    world.run(2)
    world.pending = 2400
    world.step()
    assert world.decision == "12 → 30: 2400 waiting / 40 per replica = 60, limited by maxReplicas"
    assert conditions(world.pool.status)["ScalingLimited"] == ("True", "MaxReplicas")
    world.step()
    assert world.decision == "30: 2400 waiting / 40 per replica = 60, limited by maxReplicas"


def test_due_scheduled_and_retry_tasks_count_as_waiting() -> None:
    world = idle_world()
    world.due = 41
    world.step()
    assert world.replicas == 2


def test_without_a_target_a_worker_is_meant_for_twice_its_concurrency() -> None:
    world = PoolWorld(pool=pool(concurrency=5, autoscaling={"maxReplicas": 9}), pending=41)
    world.step()
    assert (world.replicas, world.decision) == (5, "0 → 5: 41 waiting / 10 per replica = 5")


def test_running_tasks_count_so_a_pool_at_work_keeps_its_size() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(2)
    world.pending, world.busy = 0, {pod.name: 40 for pod in world.pods}
    world.run(300)
    assert world.replicas == 10
    assert world.decision == "10: 400 running / 40 per replica = 10"


def test_a_drained_pool_shrinks_after_the_window_and_goes_to_zero_after_its_idle_time() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(10)
    world.pending = 0  # the last demand of 10 was seen at second 9
    counts = {}
    for second in range(10, 140):
        world.run(1)
        counts[second] = world.replicas
    assert counts[68] == 10
    assert counts[69] == 1  # 60 s after the last higher demand
    assert counts[129] == 1
    assert counts[130] == 0  # 120 s after the first idle poll
    assert [note.message for note in world.events if note.reason == "ScalingDown"] == [
        "10 → 1: nothing waits or runs, to zero after 2m without a task",
        "1 → 0: nothing waits or runs",
    ]


def test_a_task_during_the_idle_time_starts_it_anew() -> None:
    world = PoolWorld(pool=scaled(), pending=1)
    world.run(1)
    world.pending = 0
    world.run(100)
    world.pending = 1
    world.run(1)
    world.pending = 0
    world.run(119)
    assert world.replicas == 1
    world.run(3)
    assert world.replicas == 0


def test_zero_waits_for_the_shrink_window_when_that_is_longer_than_the_idle_time() -> None:
    world = PoolWorld(pool=scaled(auto={"zeroAfter": "5s"}), pending=400)
    world.run(1)
    world.pending = 0
    world.run(59)
    assert world.replicas == 10
    world.run(2)
    assert world.replicas == 0


def test_min_replicas_holds_without_any_task() -> None:
    world = PoolWorld(pool=scaled(auto={"minReplicas": 3}))
    world.run(300)
    assert (world.replicas, world.decision) == (3, "3: nothing waits or runs, at least minReplicas")


def test_a_load_that_swings_within_the_window_changes_nothing() -> None:
    world = PoolWorld(pool=scaled())
    for second in range(300):
        world.pending = 400 if second % 10 < 5 else 0
        world.run(1)
    assert world.replicas == 10
    assert len(world.applied) == 1


def test_growth_waits_for_its_own_window_when_one_is_given() -> None:
    world = idle_world(scaleUp={"stabilization": "10s"})
    world.pending = 400
    world.run(9)
    assert world.replicas == 0
    assert world.decision == "0: 400 waiting / 40 per replica = 10, not for 10s yet"
    world.run(3)
    assert world.replicas == 10


def test_a_short_peak_does_not_grow_a_pool_with_a_window_for_growth() -> None:
    world = idle_world(scaleUp={"stabilization": "10s"})
    for second in range(100):
        world.pending = 400 if second % 10 < 8 else 0
        world.run(1)
    assert world.replicas == 0


@pytest.mark.parametrize(
    ("max_step", "stabilization", "counts"),
    [
        pytest.param(4, "0s", [4, 8, 10], id="a number of replicas each poll"),
        pytest.param("10%", "0s", [3, 6, 9, 10], id="a percentage is of maxReplicas, not of the present count"),
        pytest.param("100%", "0s", [10], id="a hundred percent is no limit"),
    ],
)
def test_growth_goes_in_steps_of(max_step: int | str, stabilization: str, counts: list[int]) -> None:
    world = idle_world(scaleUp={"maxStep": max_step, "stabilization": stabilization})
    world.pending = 400
    seen = []
    for _ in counts:
        world.run(1)
        seen.append(world.replicas)
    assert seen == counts


@pytest.mark.parametrize("max_step", [4, "100%"])
def test_a_clock_that_is_set_back_holds_nothing_up(max_step: int | str) -> None:
    world = PoolWorld(
        pool=scaled(auto={"scaleUp": {"maxStep": max_step, "stabilization": "2s"}, "zeroAfter": "60s"}), pending=80
    )
    world.run(5)
    assert world.replicas == 2
    world.time -= 3600
    world.pending = 400
    world.run(10)
    assert world.replicas == 10
    world.pending = 0
    world.run(30)
    world.time -= 3600
    world.run(125)
    assert world.replicas == 0


def test_a_limited_step_says_so() -> None:
    world = idle_world(scaleUp={"maxStep": 4})
    world.pending = 400
    world.step()
    assert world.decision == "0 → 4: 400 waiting / 40 per replica = 10, limited by scaleUp.maxStep"
    assert conditions(world.pool.status)["ScalingLimited"] == ("True", "StepLimited")


def test_limited_steps_down_are_one_window_apart() -> None:
    world = PoolWorld(pool=scaled(auto={"scaleDown": {"maxStep": 4, "stabilization": "30s"}}), pending=400)
    world.run(1)
    world.pending = 0
    changes = {}
    for second in range(1, 300):
        before = world.replicas
        world.run(1)
        if world.replicas != before:
            changes[second] = world.replicas
    assert changes == {30: 6, 60: 2, 90: 1, 121: 0}


def test_plans_between_two_polls_are_no_further_steps() -> None:
    world = idle_world(scaleUp={"maxStep": 4})
    world.pending = 400
    for _ in range(5):
        world.step()
        world.time += 0.05
    assert world.replicas == 4


def test_a_lowered_maximum_takes_effect_at_once_even_under_load() -> None:
    world = PoolWorld(pool=scaled(), pending=1200)
    world.run(5)
    assert world.replicas == 30
    world.busy = {pod.name: 20 for pod in world.pods}
    world.pool = world.pool.model_copy(update={"spec": scaled(auto={"maxReplicas": 8}).spec})
    world.step()
    assert world.replicas == 8


def test_a_raised_minimum_takes_effect_at_once_even_while_redis_is_away() -> None:
    world = idle_world()
    world.reachable = False
    world.run(3)
    world.pool = world.pool.model_copy(update={"spec": scaled(auto={"minReplicas": 2}).spec})
    world.step()
    assert world.replicas == 2


def test_a_pool_never_shrinks_below_its_busy_workers_and_loses_none_of_them() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(1)
    busy = [pod.name for pod in world.pods][2:9:2]
    world.pending = 0
    world.busy = dict.fromkeys(busy, 1)
    world.busy_since = {name: at(-100 * number) for number, name in enumerate(busy)}
    world.run(600)
    assert world.replicas == 4
    assert sorted(pod.name for pod in world.pods) == sorted(busy)
    assert world.decision == "4: 4 running / 40 per replica = 1, 4 are busy"
    # One after the other ends, the youngest first, and each leaves alone.
    for name in busy:
        del world.busy[name]
        world.run(100)
        assert set(world.busy) <= {pod.name for pod in world.pods}


def test_of_busy_workers_the_one_with_the_youngest_task_goes_first_when_a_person_orders_fewer() -> None:
    world = PoolWorld(pool=pool(replicas=3))
    world.run(2)
    names = [pod.name for pod in world.pods]
    world.busy = dict.fromkeys(names, 1)
    world.busy_since = {names[0]: at(-50), names[1]: at(-5), names[2]: at(-500)}
    world.pool = world.pool.model_copy(update={"spec": pool(replicas=2).spec})
    plan = world.step()
    costs = {each.pod: each.cost for each in plan.actions if isinstance(each, SetDeletionCost)}
    assert costs == {names[0]: 1052, names[1]: 1007, names[2]: 1502}
    assert world.removed == [names[1]]


def test_costs_are_written_before_the_count_and_only_for_a_shrink() -> None:
    world = PoolWorld(pool=scaled(), pending=80)
    world.run(30)
    world.busy = {world.pods[0].name: 1}
    quiet = [world.step() for _ in range(5)]
    assert not any(isinstance(action, SetDeletionCost) for plan in quiet for action in plan.actions)
    world.pending = 0
    plans = []
    for _ in range(70):
        plans.append(world.step())
        world.time += 1
    shrink = next(plan for plan in plans if plan.actions)
    assert [type(action).__name__ for action in shrink.actions] == ["SetDeletionCost", "ApplyDeployment"]


def test_a_shrink_waits_until_heartbeats_tell_who_took_the_last_tasks() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(1)
    world.pending = 0
    world.run(59)
    world.hidden = 2  # just taken; the heartbeat comes in a few seconds
    world.run(5)
    assert world.replicas == 10
    assert world.decision.endswith("kept until heartbeats tell who runs what")
    world.hidden = 0
    taken = [world.pods[4].name, world.pods[7].name]
    world.busy = dict.fromkeys(taken, 1)
    world.run(1)
    assert sorted(pod.name for pod in world.pods) == sorted(taken)


def test_a_steady_flow_of_tasks_too_short_for_heartbeats_does_not_stop_a_shrink_for_ever() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(1)
    world.pending, world.hidden = 0, 2
    world.run(90)
    assert world.replicas == 2


def test_a_task_left_behind_by_a_dead_worker_brings_one_that_can_recover_it() -> None:
    world = idle_world()
    world.hidden = 1
    world.step()
    assert world.replicas == 1
    world.run(1000)
    assert world.replicas == 1


def test_tasks_of_a_stopping_worker_count_as_load_but_not_as_capacity() -> None:
    from dataclasses import replace

    world = PoolWorld(pool=scaled(), pending=80)
    world.run(1)
    world.pending = 0
    world.busy = {world.pods[0].name: 45}
    world.pods[0] = replace(world.pods[0], terminating=True)
    world.step()
    assert world.pool.status["busyReplicas"] == 0
    assert world.decision == "2: 45 running / 40 per replica = 2"


def test_a_new_operator_adopts_the_count_and_shrinks_only_after_a_full_window() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(100)
    world.pending = 0
    world.run(50)
    world.restart()
    writes = len(world.applied)
    world.run(59)
    assert world.replicas == 10
    assert len(world.applied) == writes
    world.run(3)
    assert world.replicas == 1


def test_a_new_operator_grows_at_once() -> None:
    world = PoolWorld(pool=scaled(), pending=80)
    world.run(10)
    world.restart()
    world.pending = 400
    world.step()
    assert world.replicas == 10


def test_what_someone_scaled_while_no_operator_ran_is_the_start() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(10)
    world._become({**world.child.manifest, "spec": {**world.child.manifest["spec"], "replicas": 14}})
    world.restart()
    world.run(2)
    assert world.replicas == 14


def test_an_unreadable_broker_holds_the_count_whatever_was_last_read() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(10)
    world.pending, world.reachable = 0, False
    world.run(600)
    assert world.replicas == 10
    assert conditions(world.pool.status)["ScalingActive"] == ("False", "BrokerUnreachable")
    assert conditions(world.pool.status)["Ready"] == ("False", "BrokerUnreachable")
    assert world.pool.status["backlog"] == 400


def test_after_an_outage_growth_is_immediate_and_a_shrink_waits_a_full_window() -> None:
    world = PoolWorld(pool=scaled(), pending=200)
    world.run(10)
    world.reachable = False
    world.run(120)
    world.reachable, world.pending = True, 400
    world.step()
    assert world.replicas == 10
    world.reachable = False
    world.run(120)
    world.reachable, world.pending = True, 0
    world.run(59)
    assert world.replicas == 10
    world.run(2)
    assert world.replicas == 1


def test_one_failed_poll_holds_the_count_and_is_no_news() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(10)
    events = len(world.events)
    world.reachable = False
    world.run(1)
    world.reachable = True
    world.run(1)
    assert world.replicas == 10
    assert world.events[events:] == []


def test_a_broker_that_was_never_readable_gets_a_pool_of_its_minimum() -> None:
    world = PoolWorld(pool=scaled(auto={"minReplicas": 2}), reachable=False)
    world.step()
    assert world.replicas == 2


def test_waiting_tasks_are_split_among_pools_by_the_weights_they_give_the_queue() -> None:
    heavy = scaled("heavy", queues=[{"name": "mail", "weight": 3}])
    light = scaled("light", queues=[{"name": "mail", "weight": 1}])
    for one, other, expected in ((heavy, light, 8), (light, heavy, 3)):
        world = PoolWorld(pool=one, sharing=(other,), pending=400)
        world.step()
        assert world.replicas == expected


def test_a_pool_that_cannot_have_a_worker_takes_no_share() -> None:
    world = PoolWorld(pool=scaled(), sharing=(pool("off", queues=[{"name": "mail"}], replicas=0),), pending=400)
    world.step()
    assert world.replicas == 10


def test_the_last_task_of_a_shared_queue_brings_a_worker_however_small_the_share() -> None:
    light = scaled("light", queues=[{"name": "mail", "weight": 1}])
    heavy = scaled("heavy", queues=[{"name": "mail", "weight": 1000}])
    world = PoolWorld(pool=light, sharing=(heavy,), pending=1)
    world.step()
    assert world.replicas == 1


def test_tasks_of_a_paused_queue_do_not_wait_for_anybody() -> None:
    world = PoolWorld(pool=scaled(), pending=400, paused=True)
    world.run(300)
    assert world.replicas == 0


def test_a_queue_that_cannot_be_read_lets_the_pool_grow_but_not_shrink() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(10)
    world.problem = "asynq:{mail}:pending: holds a string, not a list"
    world.run(300)
    assert world.replicas == 10
    assert conditions(world.pool.status)["ScalingActive"] == ("False", "WrongType")
    assert world.decision.endswith("kept while queue mail cannot be read")


def test_paused_autoscaling_freezes_the_count_and_windows_start_anew_after_it() -> None:
    world = PoolWorld(pool=scaled(), pending=400)
    world.run(10)
    world.pool = world.pool.model_copy(update={"spec": scaled(auto={"paused": True}).spec})
    for world.pending in (4000, 0):
        world.run(200)
        assert world.replicas == 10
    assert conditions(world.pool.status)["Paused"] == ("True", "PausedBySpec")
    world.pool = world.pool.model_copy(update={"spec": scaled().spec})
    world.run(59)
    assert world.replicas == 10
    world.run(2)
    assert world.replicas == 1


def test_without_autoscaling_the_count_is_the_specs_whatever_waits() -> None:
    world = PoolWorld(pool=pool(replicas=3), pending=4000)
    world.run(5)
    assert (world.replicas, world.decision) == (3, "3: replicas is 3")
    assert conditions(world.pool.status)["ScalingActive"] == ("False", "AutoscalingOff")
    world.reachable = False
    world.pool = world.pool.model_copy(update={"spec": pool(replicas=5).spec})
    world.run(5)
    assert world.replicas == 5


def test_turning_autoscaling_on_does_not_shrink_before_a_full_window() -> None:
    world = PoolWorld(pool=pool(replicas=8))
    world.run(100)
    world.pool = world.pool.model_copy(update={"spec": scaled().spec})
    world.run(59)
    assert world.replicas == 8
    world.run(2)
    assert world.replicas == 1


@settings(max_examples=60, deadline=None)
@given(
    loads=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 5), st.booleans()), min_size=5, max_size=60),
    low=st.integers(0, 3),
    high=st.integers(4, 12),
)
def test_whatever_the_load_the_count_is_within_bounds_and_no_busy_worker_is_lost(
    loads: list[tuple[int, int, bool]], low: int, high: int
) -> None:
    world = PoolWorld(pool=scaled(auto={"minReplicas": low, "maxReplicas": high, "scaleDown": {"stabilization": "5s"}}))
    demands: list[tuple[float, int]] = []
    for pending, busy, reachable in loads:
        world.pending, world.reachable = pending, reachable
        world.busy = {pod.name: 1 for pod in world.pods[-busy:]} if busy else {}
        before = world.replicas or 0
        world.step()
        count = world.replicas or 0
        if reachable:
            demands.append((world.time, -(-(pending + len(world.busy)) // 40)))
        assert low <= count <= high
        assert set(world.busy) <= {pod.name for pod in world.pods}
        if count < before:
            recent = [demand for time, demand in demands if world.time - time < 5]
            assert reachable
            assert count >= min(max(recent), high)
        world.time += 1


def test_memory_stays_small_however_long_and_wild_the_load() -> None:
    world = PoolWorld(pool=scaled(auto={"scaleDown": {"stabilization": "1h"}, "scaleUp": {"stabilization": "1h"}}))
    for second in range(2000):
        world.pending = (second * 7919) % 1200
        world.run(1)
    assert world.memory is not None
    assert len(world.memory.highs) <= 31
    assert len(world.memory.lows) <= 31


def test_an_idle_pool_is_written_once_and_never_again() -> None:
    world = idle_world()
    world.run(5)
    writes = world.status_writes
    plans = []
    for _ in range(900):
        plans.append(world.step())
        world.time += 1
    assert world.status_writes == writes
    assert {(plan.actions, plan.status, plan.notes) for plan in plans} == {((), None, ())}


def test_the_time_of_the_last_change_is_kept() -> None:
    world = idle_world()
    world.run(10)
    world.pending = 1
    world.step()
    stamp = world.pool.status["lastScaleTime"]
    assert stamp == "2026-03-01T12:00:12Z"
    world.run(20)
    world.restart()
    world.run(20)
    assert world.pool.status["lastScaleTime"] == stamp
    assert timedelta(0) < world.now - at(12)
