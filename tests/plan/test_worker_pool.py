"""What a pool's plan does and says beside its count: order of arrival, secrets, conflicts, refusals, failures.

Leaves out: the count (test_replicas.py) and the rendered Deployment (test_deployment.py).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.plan.actions import ApplyDeployment, ScaleDeployment
from longshore_operator.plan.names import SECRET_VERSION_ANNOTATION
from longshore_operator.plan.observed import ChildDeployment, SecretReading
from longshore_operator.plan.worker_pool import plan_worker_pool
from plan.scenes import PoolWorld, broker, conditions, live, message, notes, pool, running, scaled

WITH_PASSWORD = broker(auth={"passwordSecretRef": {"name": "redis"}})
FOUND = SecretReading(found=True, version="v1")
MISSING = SecretReading(found=False, problem="Secret redis has no key password; add it.")


def settled(world: PoolWorld) -> PoolWorld:
    world.run(5)
    return world


def annotation(child: ChildDeployment | None) -> str | None:
    assert child is not None
    found: dict[str, Any] = child.manifest["spec"]["template"]["metadata"].get("annotations", {})
    return found.get(SECRET_VERSION_ANNOTATION)


def test_a_pool_before_its_broker_makes_nothing_and_says_what_is_missing() -> None:
    world = PoolWorld(pool=pool(), broker=None)
    plan = world.step()
    assert plan.actions == ()
    assert conditions(plan)["Ready"] == ("False", "BrokerNotFound")
    assert message(plan, "Ready") == "Broker default is not in this namespace; create it, or correct spec.brokerRef."
    assert notes(plan) == [("Warning", "BrokerNotFound")]
    assert world.step().status is None


def test_it_is_made_as_soon_as_the_broker_is_there() -> None:
    world = PoolWorld(pool=pool(replicas=2), broker=None)
    world.step()
    world.broker = broker()
    plan = world.step()
    assert [type(action) for action in plan.actions] == [ApplyDeployment]
    assert conditions(world.step())["Ready"] == ("True", "WorkersReady")


def test_before_the_first_poll_nothing_is_done_and_nothing_said() -> None:
    world = PoolWorld(pool=pool())
    from plan.scenes import UNREAD

    observed = replace(world.observe(), reading=UNREAD)
    plan = plan_worker_pool(world.pool, observed, world.now)
    assert (plan.actions, plan.status, plan.notes) == ((), None, ())


def test_a_fixed_pool_is_made_while_redis_is_down_and_waits_for_it() -> None:
    world = PoolWorld(pool=pool(replicas=2), reachable=False)
    world.step()
    assert world.replicas == 2
    assert conditions(world.pool.status)["Ready"] == ("False", "BrokerUnreachable")


def test_a_missing_secret_makes_nothing_and_says_which() -> None:
    world = PoolWorld(pool=pool(), broker=WITH_PASSWORD, secret=MISSING)
    plan = world.step()
    assert plan.actions == ()
    assert conditions(plan)["Ready"] == ("False", "SecretNotFound")
    assert message(plan, "Ready") == "Secret redis has no key password; add it."


def test_a_secret_that_goes_leaves_running_workers_alone() -> None:
    world = settled(PoolWorld(pool=pool(replicas=2), broker=WITH_PASSWORD, secret=FOUND))
    world.secret = MISSING
    plan = world.step()
    assert plan.actions == ()
    assert conditions(plan)["Ready"] == ("False", "SecretNotFound")
    assert annotation(world.child) == "v1"


def test_no_pod_is_replaced_by_one_that_could_not_start_without_the_secret() -> None:
    world = settled(PoolWorld(pool=pool(replicas=2), broker=WITH_PASSWORD, secret=FOUND))
    before = len(world.applied)
    world.secret = MISSING
    world.pool = pool(replicas=3, image="shop:2.0")
    world.run(10)
    assert (len(world.applied), world.replicas) == (before, 3)  # the count is no matter of the Secret
    world.secret = FOUND
    world.run(10)
    assert (len(world.applied), world.replicas) == (before + 1, 3)


def test_a_changed_secret_replaces_the_pods_exactly_once() -> None:
    world = settled(PoolWorld(pool=pool(replicas=2), broker=WITH_PASSWORD, secret=FOUND))
    assert annotation(world.child) == "v1"
    world.secret = SecretReading(found=True, version="v2")
    before = len(world.applied)
    world.run(10)
    assert len(world.applied) == before + 1
    assert annotation(world.child) == "v2"


def test_a_secret_that_was_not_read_yet_is_waited_for() -> None:
    world = PoolWorld(pool=pool(), broker=WITH_PASSWORD, secret=None)
    plan = world.step()
    assert (plan.actions, plan.status) == ((), None)


def test_a_deployment_of_someone_else_is_left_alone() -> None:
    world = settled(PoolWorld(pool=pool(replicas=2)))
    assert world.child is not None
    world.child = replace(world.child, owned=False)
    plan = world.step()
    assert plan.actions == ()
    assert conditions(plan)["Ready"] == ("False", "NameConflict")
    assert message(plan, "Ready") == (
        "Deployment mail-worker exists and is not controlled by WorkerPool/mail; delete or rename it, or give the "
        "WorkerPool another name."
    )


def test_a_refused_template_is_reported_in_the_api_servers_words_and_the_last_good_one_still_scales() -> None:
    world = settled(PoolWorld(pool=scaled(), pending=80))
    good = world.child.manifest["spec"]["template"]
    bad = scaled(template={"spec": {"containers": [{"name": "worker", "imagePullPolicy": "Sometimes"}]}})
    world.pool = world.pool.model_copy(update={"spec": bad.spec})
    world.apply_error = 'Unsupported value: "Sometimes"'
    world.pending = 400
    plan = world.step()
    assert [type(action) for action in plan.actions] == [ScaleDeployment, ApplyDeployment]
    assert world.replicas == 10
    assert world.child.manifest["spec"]["template"] == good
    assert conditions(plan)["Ready"] == ("False", "InvalidTemplate")
    assert message(plan, "Ready") == 'Unsupported value: "Sometimes"'


@pytest.mark.parametrize(
    "template",
    [
        pytest.param({"spec": {"containers": [{"name": "worker", "env": ["A=b"]}]}}, id="variables as text"),
        pytest.param({"spec": {"containers": [{"name": "worker", "env": [{"name": {"A": "b"}}]}]}}, id="an odd name"),
        pytest.param({"spec": {"containers": [{"name": "worker", "env": [7, None]}]}}, id="items that are no objects"),
        pytest.param({"spec": {"volumes": {"tmp": {}}}}, id="a map in place of a list"),
        pytest.param({"spec": {"containers": [{"name": "worker", "volumeMounts": "/tmp"}]}}, id="text for a list"),
        pytest.param({"metadata": {"annotations": "note"}}, id="annotations as text"),
    ],
)
def test_a_template_of_any_shape_is_left_to_the_api_server_to_refuse(template: dict[str, Any]) -> None:
    secret = SecretReading(found=True, version="v1")
    fresh = PoolWorld(pool=pool(template=template), secret=secret)
    assert [type(action) for action in fresh.step().actions] == [ApplyDeployment]
    world = settled(PoolWorld(pool=pool(), secret=secret))
    assert world.child is not None
    managers = [{"manager": "longshore", "fieldsV1": _field_set(dict(world.child.manifest))}]
    manifest = {**world.child.manifest, "metadata": {**world.child.manifest["metadata"], "managedFields": managers}}
    world.child = replace(world.child, manifest=manifest)
    world.pool = world.pool.model_copy(update={"spec": pool(template=template).spec})
    assert [type(action) for action in world.step().actions] == [ApplyDeployment]


def _field_set(value: Any) -> Any:
    """What the API server records for an applied value, as far as names and keyed lists go."""
    if isinstance(value, dict):
        return {f"f:{key}": _field_set(each) for key, each in value.items()}
    if isinstance(value, list):
        keyed = [each for each in value if isinstance(each, dict)]
        keys = ("name", "mountPath", "containerPort")
        return {
            "k:" + json.dumps({key: each[key]}): {".": {}, **_field_set(each)}
            for each in keyed
            for key in keys
            if key in each
        }
    return {}


def test_a_pool_without_any_image_is_told_so_before_it_is_tried() -> None:
    world = PoolWorld(pool=pool(image=None, template={"spec": {"containers": [{"name": "worker"}]}}))
    plan = world.step()
    assert plan.actions == ()
    assert conditions(plan)["Ready"] == ("False", "InvalidTemplate")


def test_an_image_change_keeps_the_count_and_a_change_of_count_keeps_the_template() -> None:
    world = settled(PoolWorld(pool=scaled(), pending=400))
    first = world.child.manifest["spec"]
    world.pool = world.pool.model_copy(update={"spec": scaled(image="shop:2.0").spec})
    plan = world.step()
    assert [action.why for action in plan.actions] == ["image shop:1.0 → shop:2.0"]
    second = world.child.manifest["spec"]
    assert (first["replicas"], second["replicas"]) == (10, 10)
    world.pending = 800
    world.step()
    third = world.child.manifest["spec"]
    assert third["replicas"] == 20
    assert third["template"] == second["template"] != first["template"]


def test_the_surplus_of_a_roll_out_neither_raises_the_count_nor_holds_more_than_the_busy_ones() -> None:
    auto = {"scaleDown": {"stabilization": "0s"}, "zeroAfter": "0s"}
    world = settled(PoolWorld(pool=scaled(auto=auto), pending=120))
    assert world.replicas == 3
    world.pods = [*world.pods, running("mail-worker-new")]  # one above the count, of the latest template
    assert world.child is not None
    world.child = live(world.child.manifest, replicas=4, updatedReplicas=1)
    world.busy = {pod.name: 1 for pod in world.pods}
    world.pending = 0
    world.step()
    assert world.replicas == 3
    world.busy = {"mail-worker-new": 1, world.pods[0].name: 1}
    world.step()
    assert world.replicas == 2
    world.pending = 400
    world.step()
    assert world.replicas == 11  # (400 + 2) / 40


def test_a_change_that_the_pods_do_not_carry_changes_nothing() -> None:
    world = settled(PoolWorld(pool=scaled(), pending=400))
    world.pool = world.pool.model_copy(update={"spec": scaled(auto={"zeroAfter": "9m"}).spec})
    assert world.step().actions == ()


@pytest.mark.parametrize(
    ("world", "ready", "progressing"),
    [
        pytest.param({"ready": 2}, ("True", "WorkersReady"), ("False", "Complete"), id="every worker is ready"),
        pytest.param({"ready": 0}, ("False", "WorkersStarting"), ("True", "ScalingUp"), id="no worker is ready yet"),
        pytest.param({"ready": 1}, ("True", "WorkersReady"), ("True", "ScalingUp"), id="one is ready, one is starting"),
        pytest.param(
            {"ready": 2, "replicas": 3, "updatedReplicas": 1},
            ("True", "WorkersReady"),
            ("True", "RollingOut"),
            id="old workers are being replaced",
        ),
        pytest.param(
            {"ready": 3, "replicas": 4, "updatedReplicas": 4},
            ("True", "WorkersReady"),
            ("True", "ScalingDown"),
            id="workers too many are going",
        ),
        pytest.param(
            {"ready": 1, "replicas": 1, "updatedReplicas": 1},
            ("True", "WorkersReady"),
            ("True", "ScalingUp"),
            id="pods are still to be made",
        ),
        pytest.param(
            {
                "ready": 1,
                "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
            },
            ("True", "WorkersReady"),
            ("False", "Stalled"),
            id="Kubernetes has given up on the rest",
        ),
        pytest.param(
            {
                "ready": 0,
                "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}],
            },
            ("False", "WorkersFailing"),
            ("True", "ScalingUp"),
            id="pods cannot be made",
        ),
    ],
)
def test_ready_and_progressing_follow_the_deployment(
    world: dict[str, Any], ready: tuple[str, str], progressing: tuple[str, str]
) -> None:
    tried = settled(PoolWorld(pool=pool(replicas=2)))
    assert tried.child is not None
    tried.child = live(tried.child.manifest, **world)
    tried.step()
    found = conditions(tried.pool.status)
    assert (found["Ready"], found["Progressing"]) == (ready, progressing)


@pytest.mark.parametrize(
    ("reason", "said", "words"),
    [
        ("ImagePullBackOff", 'Back-off pulling image "shop:1.0"', "its image cannot be pulled; check the image"),
        ("ErrImagePull", "rpc error", "its image cannot be pulled; check the image"),
        (
            "CrashLoopBackOff",
            "back-off 40s restarting",
            "again and again; see `kubectl logs deployment/mail-worker --container=worker`",
        ),
        ("CreateContainerConfigError", 'secret "redis" not found', 'secret "redis" not found'),
        ("CreateContainerError", "odd {braces} in {0}", "odd {braces} in {0}"),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root (pod: mail-worker-1, container: worker)",
            "it would run as root, or as a user given by name; set a number as its image's USER",
        ),
        (
            "CreateContainerConfigError",
            "container's runAsUser breaks non-root policy (pod: mail-worker-1, container: worker)",
            "it would run as root, or as a user given by name; set a number as its image's USER",
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root",
            "it would run as root, or as a user given by name; set a number as its image's USER",
        ),
    ],
)
def test_failing_workers_are_told_with_the_fix(reason: str, said: str, words: str) -> None:
    world = settled(PoolWorld(pool=pool(replicas=2)))
    assert world.child is not None
    world.child = live(world.child.manifest, ready=0)
    world.pods = [running(each.name, ready=False, waiting_reason=reason, waiting_message=said) for each in world.pods]
    plan = world.step()
    assert conditions(plan)["Ready"] == ("False", "WorkersFailing")
    assert words in message(plan, "Ready")
    assert ("Warning", "WorkersFailing") in notes(plan)


def test_an_init_container_or_a_sidecar_that_fails_is_named() -> None:
    world = settled(PoolWorld(pool=pool(replicas=2)))
    assert world.child is not None
    world.child = live(world.child.manifest, ready=0)
    failing = {"ready": False, "waiting_container": "migrate", "waiting_reason": "CrashLoopBackOff"}
    world.pods = [running(each.name, **failing) for each in world.pods]
    plan = world.step()
    assert conditions(plan)["Ready"] == ("False", "WorkersFailing")
    assert "The container migrate beside workers cannot run (CrashLoopBackOff)" in message(plan, "Ready")
    assert "--container=migrate" in message(plan, "Ready")


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_pods_that_have_ended_are_no_replicas(phase: str) -> None:
    """A pod that its node evicted stays as a record, and its last heartbeat for a while."""
    world = settled(PoolWorld(pool=scaled(auto={"scaleDown": {"stabilization": "0s"}, "zeroAfter": "0s"}), pending=120))
    assert world.replicas == 3
    first, *others = world.pods
    world.pods = [replace(first, phase=phase, ready=False, waiting_reason="CrashLoopBackOff"), *others]
    world.busy = {first.name: 1}
    world.pending = 0
    plan = world.run(3)
    # It holds no shrink to the busy ones, gets no deletion cost, and does not count as a worker that fails.
    assert world.pool.status["busyReplicas"] == 0
    assert not any(getattr(action, "pod", None) == first.name for action in plan.actions)
    assert conditions(world.pool.status)["Ready"][1] != "WorkersFailing"


def test_a_pod_that_is_stuck_terminating_neither_holds_a_shrink_nor_counts_as_busy() -> None:
    world = settled(PoolWorld(pool=scaled(auto={"scaleDown": {"stabilization": "0s"}, "zeroAfter": "0s"}), pending=120))
    world.pods = [replace(world.pods[0], terminating=True), *world.pods[1:]]
    world.busy = {world.pods[0].name: 1}
    world.pending = 0
    world.run(3)
    assert world.pool.status["busyReplicas"] == 0
    assert world.replicas == 1  # its task still counts as work: it may be put back


def test_scaling_by_hand_an_autoscaled_pool_changes_nothing_and_says_so() -> None:
    world = settled(PoolWorld(pool=scaled(replicas=9), pending=80))
    assert world.replicas == 2
    world.run(3)
    assert world.replicas == 2
    active = next(each for each in world.pool.status["conditions"] if each["type"] == "ScalingActive")
    assert (active["status"], active["reason"]) == ("True", "FollowingBacklog")
    assert "spec.replicas, 9, is not used, nor is what `kubectl scale` writes" in active["message"]


def test_a_container_that_crashes_again_and_again_does_not_make_ready_flap() -> None:
    world = settled(PoolWorld(pool=pool(replicas=2)))
    assert world.child is not None
    one, two = world.pods
    seen = []
    for _ in range(5):
        world.child = live(world.child.manifest, ready=1)
        world.pods = [one, replace(two, ready=False, waiting_reason="CrashLoopBackOff")]
        world.step()
        seen.append(conditions(world.pool.status)["Ready"])
        world.pods = [one, replace(two, ready=False)]
        world.step()
        seen.append(conditions(world.pool.status)["Ready"])
    assert set(seen) == {("False", "WorkersFailing")}
    world.child = live(world.child.manifest, ready=2)
    world.pods = [one, two]
    world.step()
    assert conditions(world.pool.status)["Ready"] == ("True", "WorkersReady")


def test_each_transition_is_one_event_and_a_new_count_is_told_with_its_reason() -> None:
    world = PoolWorld(pool=scaled())
    world.run(5)
    world.events.clear()
    world.pending = 400
    world.run(5)
    assert [(note.reason, note.message) for note in world.events] == [
        ("WorkersStarting", "Workers are starting; none is ready yet."),
        ("ScalingUp", "0 → 10: 400 waiting / 40 per replica = 10"),
        ("WorkersReady", "Workers are ready."),
        ("Complete", "All wanted workers are there and up to date."),
    ]


def test_an_outage_is_told_once_a_pool_however_long_it_lasts() -> None:
    world = settled(PoolWorld(pool=scaled(), pending=400))
    world.events.clear()
    world.reachable = False
    world.run(500)
    assert [note.reason for note in world.events] == ["BrokerUnreachable"]


def test_volatile_numbers_alone_are_not_urgent() -> None:
    world = settled(PoolWorld(pool=scaled(), pending=400))
    world.pending = 390
    plan = world.step()
    assert plan.status is not None
    assert (plan.status["backlog"], plan.urgent) == (390, False)
    world.pending = 800
    assert world.step().urgent


def test_the_status_speaks_of_the_generation_it_saw() -> None:
    world = settled(PoolWorld(pool=pool()))
    metadata = world.pool.metadata.model_copy(update={"generation": 7})
    world.pool = world.pool.model_copy(update={"metadata": metadata})
    plan = world.step()
    assert plan.status is not None
    assert plan.urgent
    assert plan.status["observedGeneration"] == 7
    assert {each["observedGeneration"] for each in plan.status["conditions"]} == {7}


def test_status_gives_the_scale_subresource_what_it_needs() -> None:
    world: PoolWorld = settled(PoolWorld(pool=pool(replicas=2)))
    stored: WorkerPool = world.pool
    assert stored.status["replicas"] == 2
    assert stored.status["selector"] == "app.kubernetes.io/name=longshore-worker,longshore.dev/pool=mail"


def test_a_pool_that_was_blocked_does_not_shrink_before_a_full_window() -> None:
    world = settled(PoolWorld(pool=scaled(), pending=400))
    world.broker, held = None, world.broker
    world.run(300)
    world.broker, world.pending = held, 0
    world.run(59)
    assert world.replicas == 10
    world.run(2)
    assert world.replicas == 1
