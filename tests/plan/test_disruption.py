"""The PodDisruptionBudget of a pool: when there is one, what it says, and when it is applied.

Leaves out: what the API server and its disruption controller make of it (tests/handlers/test_disruption.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from longshore_operator.plan.actions import ApplyBudget, ApplyDeployment, DeleteBudget, Plan
from longshore_operator.plan.disruption import desired_disruption_budget, plan_disruption_budget
from longshore_operator.plan.observed import ChildBudget
from longshore_operator.plan.worker_pool import plan_worker_pool
from plan.scenes import PoolWorld, conditions, message, notes, pool, scaled


def wanted(**spec: Any) -> dict[str, Any]:
    manifest = desired_disruption_budget(pool(**{"replicas": 2, "disruption": {}, **spec}))
    assert manifest is not None
    return manifest


def there(manifest: dict[str, Any], *, owned: bool = True, **metadata: Any) -> ChildBudget:
    return ChildBudget(manifest={**manifest, "metadata": {**manifest["metadata"], "uid": "u", **metadata}}, owned=owned)


def test_it_selects_the_pools_pods_and_lets_those_go_that_are_not_ready() -> None:
    manifest = wanted(disruption={"maxUnavailable": "20%"})
    assert (manifest["apiVersion"], manifest["kind"]) == ("policy/v1", "PodDisruptionBudget")
    assert manifest["metadata"]["name"] == "mail-worker"
    assert manifest["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "longshore"
    assert manifest["metadata"]["ownerReferences"][0]["uid"] == "uid-mail"
    assert manifest["spec"] == {
        "maxUnavailable": "20%",
        "selector": {"matchLabels": {"app.kubernetes.io/name": "longshore-worker", "longshore.dev/pool": "mail"}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    assert wanted()["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize(
    ("tried", "there_is_one"),
    [
        pytest.param(pool(replicas=2, disruption={}), True, id="two workers"),
        pytest.param(pool(replicas=1, disruption={}), False, id="one worker, which may always be missing"),
        pytest.param(pool(replicas=0, disruption={}), False, id="no worker"),
        pytest.param(pool(replicas=5), False, id="not asked for"),
        pytest.param(scaled(replicas=1, disruption={}), True, id="a pool that may grow, whatever replicas says"),
        pytest.param(scaled(replicas=9, disruption={}, auto={"maxReplicas": 1}), False, id="a pool that never grows"),
    ],
)
def test_whether_there_is_one_depends_on_what_the_spec_allows(tried: Any, there_is_one: bool) -> None:
    assert (desired_disruption_budget(tried) is not None) is there_is_one


def test_it_is_applied_once_and_again_when_the_spec_changes() -> None:
    manifest = wanted()
    (made,) = plan_disruption_budget(manifest, None).actions
    assert isinstance(made, ApplyBudget)
    assert plan_disruption_budget(manifest, there(manifest)).actions == ()
    planned = plan_disruption_budget(wanted(disruption={"maxUnavailable": 2}), there(manifest))
    (changed,) = planned.actions
    assert isinstance(changed, ApplyBudget)
    assert changed.why == "spec.disruption changed"
    assert planned.notes == ()


def test_it_goes_when_it_is_no_longer_wanted() -> None:
    (gone,) = plan_disruption_budget(None, there(wanted())).actions
    assert gone == DeleteBudget(name="mail-worker", uid="u", why="spec.disruption or the bound of two workers is gone")
    assert plan_disruption_budget(None, None).actions == ()
    assert plan_disruption_budget(None, there(wanted(), deletionTimestamp="2026-03-01T12:00:00Z")).actions == ()


def test_one_that_is_not_ours_is_left_alone() -> None:
    theirs = there(wanted(), owned=False)
    assert plan_disruption_budget(None, theirs) == plan_disruption_budget(None, None)
    planned = plan_disruption_budget(wanted(), theirs)
    assert (planned.actions, planned.conflict) == ((), True)


class World(PoolWorld):
    """A pool whose Deployment is done."""

    def planned(self, **observed: Any) -> Plan:
        return plan_worker_pool(self.pool, replace(self.observe(), **observed), self.now)


@pytest.fixture
def world() -> World:
    made = World(pool=pool(replicas=2, disruption={"maxUnavailable": 1}))
    made.run(3)
    return made


def test_a_pool_makes_it_after_the_deployment() -> None:
    plan = World(pool=pool(replicas=2, disruption={})).planned()
    assert [type(action) for action in plan.actions] == [ApplyDeployment, ApplyBudget]


def test_a_pool_at_zero_keeps_its_budget() -> None:
    world = World(pool=scaled(disruption={}, auto={"zeroAfter": "0s", "scaleDown": {"stabilization": "0s"}}))
    world.run(3)
    assert world.replicas == 0
    manifest = desired_disruption_budget(world.pool)
    assert manifest is not None
    assert world.planned(budget=there(manifest)).actions == ()


def test_a_foreign_budget_of_the_name_is_told_while_workers_run(world: World) -> None:
    plan = world.planned(budget=there(wanted(), owned=False))
    assert conditions(plan)["Ready"] == ("False", "NameConflict")
    assert "PodDisruptionBudget mail-worker exists and is not controlled by WorkerPool/mail" in message(plan, "Ready")
    assert notes(plan) == [("Warning", "NameConflict")]
    assert plan.actions == ()


def test_a_refused_budget_is_told_and_a_failing_worker_is_told_first(world: World) -> None:
    plan = world.planned(budget_error="exceeded quota: budgets")
    assert conditions(plan)["Ready"] == ("False", "DisruptionBudgetRefused")
    assert "exceeded quota: budgets" in message(plan, "Ready")
    failing = tuple(replace(pod, ready=False, waiting_reason="ImagePullBackOff") for pod in world.pods)
    plan = world.planned(budget_error="exceeded quota: budgets", pods=failing)
    assert conditions(plan)["Ready"] == ("False", "WorkersFailing")


def test_a_refusal_of_long_ago_says_nothing_once_there_is_a_budget(world: World) -> None:
    manifest = desired_disruption_budget(world.pool)
    assert manifest is not None
    assert world.planned(budget=there(manifest), budget_error="no").status is None
