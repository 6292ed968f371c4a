"""The rendered Deployments: what our defaults are, how a person's template wins over them, and when they are applied.

Leaves out: whether the API server accepts them and whose fields are whose (test_with_the_api_server.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from longshore_operator.api.broker import Broker
from longshore_operator.plan.child import plan_child
from longshore_operator.plan.deployment import desired_worker_deployment
from longshore_operator.plan.ownership import lost_fields
from longshore_operator.plan.scheduler import desired_scheduler_deployment
from longshore_operator.plan.settings import PlanSettings
from plan.scenes import broker, live, pool

SETTINGS = PlanSettings(image="longshore:dev", image_pull_policy="IfNotPresent")


def rendered(**spec: Any) -> dict[str, Any]:
    return desired_worker_deployment(pool(**spec), broker(), replicas=3, secret_version=None)


def pod(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = rendered(**spec)["spec"]["template"]["spec"]
    return found


def worker(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in pod(**spec)["containers"] if each["name"] == "worker")
    return found


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def test_a_worker_gets_certificates_as_files_and_the_sentinels_password_by_environment() -> None:
    redis = broker(
        url=None,
        sentinel={
            "masterName": "main",
            "addresses": ["s1:26379"],
            "username": "watcher",
            "passwordSecretRef": {"name": "watch"},
        },
        tls={
            "caSecretRef": {"name": "authority", "key": "bundle"},
            "clientCertSecretRef": {"name": "shown"},
            "serverName": "redis.test",
        },
    )
    container, spec = _with_broker(redis)
    assert {name: value for name, value in env(container).items() if "REDIS" in name} == {
        "LONGSHORE_REDIS_URL": "rediss-sentinel://s1:26379/0?master=main",
        "LONGSHORE_REDIS_SENTINEL_USERNAME": "watcher",
        "LONGSHORE_REDIS_SENTINEL_PASSWORD": {"secretKeyRef": {"name": "watch", "key": "password"}},
        "LONGSHORE_REDIS_TLS_CA_FILE": "/var/run/secrets/longshore.dev/redis-ca/ca.crt",
        "LONGSHORE_REDIS_TLS_CERT_FILE": "/var/run/secrets/longshore.dev/redis-client/tls.crt",
        "LONGSHORE_REDIS_TLS_KEY_FILE": "/var/run/secrets/longshore.dev/redis-client/tls.key",
        "LONGSHORE_REDIS_TLS_SERVER_NAME": "redis.test",
        "LONGSHORE_REDIS_TIMEOUT": "2s",
        "LONGSHORE_REDIS_WAIT": "10m",
    }
    folder = "/var/run/secrets/longshore.dev"
    assert container["volumeMounts"][1:] == [
        {"name": "redis-ca", "mountPath": f"{folder}/redis-ca", "readOnly": True},
        {"name": "redis-client", "mountPath": f"{folder}/redis-client", "readOnly": True},
    ]
    keys = [{"key": key, "path": key} for key in ("tls.crt", "tls.key")]
    assert spec["volumes"][1:] == [
        {"name": "redis-ca", "secret": {"secretName": "authority", "items": [{"key": "bundle", "path": "ca.crt"}]}},
        {"name": "redis-client", "secret": {"secretName": "shown", "items": keys}},
    ]


def test_a_worker_without_verification_is_told_so_and_gets_no_file() -> None:
    container, spec = _with_broker(broker(url="rediss://r", tls={"insecureSkipVerify": True}))
    assert env(container)["LONGSHORE_REDIS_TLS_INSECURE_SKIP_VERIFY"] == "true"
    assert len(spec["volumes"]) == len(container["volumeMounts"]) == 1


def _with_broker(redis: Broker) -> tuple[dict[str, Any], dict[str, Any]]:
    manifest = desired_worker_deployment(pool(), redis, replicas=1, secret_version="v1")
    spec = manifest["spec"]["template"]["spec"]
    return spec["containers"][0], spec


def test_a_worker_gets_everything_by_environment() -> None:
    redis = broker(
        url="rediss://redis:6380/2",
        timeout="1s500ms",
        auth={"username": "shop", "passwordSecretRef": {"name": "redis", "key": "pw"}},
    )
    tried = pool(
        queues=[{"name": "critical", "weight": 6}, {"name": "default", "weight": 3}],
        strictPriority=True,
        concurrency=7,
        drainSeconds=90,
    )
    manifest = desired_worker_deployment(tried, redis, replicas=1, secret_version="v1")
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    assert env(container) == {
        "LONGSHORE_REDIS_URL": "rediss://redis:6380/2",
        "LONGSHORE_REDIS_USERNAME": "shop",
        "LONGSHORE_REDIS_PASSWORD": {"secretKeyRef": {"name": "redis", "key": "pw"}},
        "LONGSHORE_REDIS_TIMEOUT": "1s500ms",
        "LONGSHORE_REDIS_WAIT": "10m",
        "LONGSHORE_QUEUES": "critical=6,default=3",
        "LONGSHORE_STRICT_PRIORITY": "true",
        "LONGSHORE_CONCURRENCY": "7",
        "LONGSHORE_SHUTDOWN_TIMEOUT": "90s",
        "LONGSHORE_HEALTH_ADDRESS": ":8081",
        "LONGSHORE_APP": "shop.tasks:app",
    }
    assert container["command"] == ["longshore", "worker", "shop.tasks:app"]
    assert manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 105
    assert manifest["spec"]["template"]["metadata"]["annotations"] == {"longshore.dev/secret-version": "v1"}


def test_a_dollar_in_a_name_survives_what_kubernetes_does_to_variables() -> None:
    queues = env(worker(queues=[{"name": "a$$b"}, {"name": "$(HOME)"}]))["LONGSHORE_QUEUES"]
    assert queues == "a$$$$b=1,$$(HOME)=1"


def test_the_deployment_is_the_pools_and_its_pods_are_found_by_labels() -> None:
    manifest = rendered()
    labels = {
        "app.kubernetes.io/managed-by": "longshore",
        "app.kubernetes.io/name": "longshore-worker",
        "longshore.dev/pool": "mail",
    }
    assert manifest["metadata"]["name"] == "mail-worker"
    assert manifest["metadata"]["labels"] == manifest["spec"]["template"]["metadata"]["labels"] == labels
    assert manifest["spec"]["selector"] == {
        "matchLabels": {"app.kubernetes.io/name": "longshore-worker", "longshore.dev/pool": "mail"}
    }
    assert manifest["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "longshore.dev/v1alpha1",
            "kind": "WorkerPool",
            "name": "mail",
            "uid": "uid-mail",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert manifest["spec"]["replicas"] == 3


def test_a_roll_out_is_passed_through() -> None:
    spec = rendered()["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    assert "minReadySeconds" not in spec
    spec = rendered(rollout={"maxUnavailable": 2, "maxSurge": "0%", "minReadySeconds": 9})["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 2}}
    assert spec["minReadySeconds"] == 9


def test_pods_are_restricted_by_default() -> None:
    assert pod()["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod()["automountServiceAccountToken"] is False
    assert worker()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert worker()["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


def test_a_worker_of_an_app_is_probed() -> None:
    container = worker()
    assert container["ports"] == [{"name": "health", "containerPort": 8081, "protocol": "TCP"}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "health"}
    # A worker on a starved node is given a minute: longer than its leases last.
    assert container["livenessProbe"]["periodSeconds"] * container["livenessProbe"]["failureThreshold"] == 60
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}


def test_without_an_app_the_images_own_command_runs_with_the_same_environment_and_no_probes() -> None:
    container = worker(app=None)
    assert set(container) == {"name", "env", "image", "securityContext", "volumeMounts"}
    assert env(container) == {name: value for name, value in env(worker()).items() if name != "LONGSHORE_APP"}


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        pytest.param({"image": "mine:2"}, "image", "mine:2", id="the image"),
        pytest.param({"command": ["/run"]}, "command", ["/run"], id="a command as a whole"),
        pytest.param(
            {"resources": {"limits": {"cpu": "1"}}}, "resources", {"limits": {"cpu": "1"}}, id="what we leave open"
        ),
        pytest.param(
            {"securityContext": {"readOnlyRootFilesystem": False, "runAsUser": 1000}},
            "securityContext",
            {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": False,
                "runAsUser": 1000,
            },
            id="single fields of the security context",
        ),
        pytest.param(
            {"livenessProbe": {"exec": {"command": ["true"]}}},
            "livenessProbe",
            {"exec": {"command": ["true"]}},
            id="a probe as a whole, since it has one kind only",
        ),
        pytest.param({"startupProbe": None}, "startupProbe", None, id="null removes what is ours"),
        pytest.param(
            {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            "volumeMounts",
            [{"name": "tmp", "mountPath": "/tmp"}, {"name": "data", "mountPath": "/data"}],
            id="mounts are joined by path",
        ),
        pytest.param(
            {"ports": [{"containerPort": 9090, "name": "metrics"}]},
            "ports",
            [{"name": "health", "containerPort": 8081, "protocol": "TCP"}, {"containerPort": 9090, "name": "metrics"}],
            id="ports are joined by number",
        ),
    ],
)
def test_a_template_wins_over_our_defaults_field_by_field(given: dict[str, Any], field: str, expected: Any) -> None:
    template = {"spec": {"containers": [{"name": "worker", **given}]}}
    assert worker(template=template).get(field) == expected


def test_a_templates_variables_come_after_ours_and_replace_those_of_the_same_name() -> None:
    given = [
        {"name": "LONGSHORE_CONCURRENCY", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "MODE", "value": "$(LONGSHORE_QUEUES)"},
    ]
    container = worker(template={"spec": {"containers": [{"name": "worker", "env": given}]}})
    assert given[0] in container["env"]
    assert container["env"][-1] == given[1]
    assert len([each for each in container["env"] if each["name"] == "LONGSHORE_CONCURRENCY"]) == 1


def test_a_template_adds_containers_volumes_labels_and_pod_fields_beside_ours() -> None:
    template = {
        "metadata": {"labels": {"team": "mail"}, "annotations": {"note": "x"}},
        "spec": {
            "terminationGracePeriodSeconds": 300,
            "serviceAccountName": "shop",
            "volumes": [{"name": "data", "emptyDir": {}}],
            "containers": [{"name": "sidecar", "image": "side:1"}],
            "initContainers": [{"name": "init", "image": "init:1"}],
        },
    }
    found = rendered(template=template)["spec"]["template"]
    assert found["metadata"]["labels"]["team"] == "mail"
    assert found["metadata"]["labels"]["longshore.dev/pool"] == "mail"
    assert found["metadata"]["annotations"] == {"note": "x"}
    assert [each["name"] for each in found["spec"]["containers"]] == ["worker", "sidecar"]
    assert [each["name"] for each in found["spec"]["volumes"]] == ["tmp", "data"]
    assert found["spec"]["terminationGracePeriodSeconds"] == 300
    assert found["spec"]["serviceAccountName"] == "shop"
    assert found["spec"]["initContainers"] == [{"name": "init", "image": "init:1"}]


def test_the_template_of_a_pool_is_not_changed_by_rendering_it() -> None:
    template = {"spec": {"containers": [{"name": "worker", "env": [{"name": "A", "value": "1"}]}]}}
    tried = pool(template=template)
    desired_worker_deployment(tried, broker(), replicas=1, secret_version="v1")
    assert tried.spec.template == template


def test_the_scheduler_runs_the_operators_image_unless_the_broker_names_one() -> None:
    def container(**scheduler: Any) -> dict[str, Any]:
        tried = broker(scheduler=scheduler)
        manifest = desired_scheduler_deployment(tried, secret_version=None, settings=SETTINGS)
        found: dict[str, Any] = manifest["spec"]["template"]["spec"]["containers"][0]
        return found

    ours = container()
    assert (ours["image"], ours["imagePullPolicy"], ours["command"]) == (
        "longshore:dev",
        "IfNotPresent",
        ["longshore", "scheduler"],
    )
    assert env(ours)["LONGSHORE_PERIODIC_SCOPE"] == "shop/default"
    theirs = container(image="mine:1", resources={"requests": {"cpu": "10m"}})
    assert theirs["image"] == "mine:1"
    assert "imagePullPolicy" not in theirs
    assert theirs["resources"] == {"requests": {"cpu": "10m"}}


def test_a_deployment_as_it_was_applied_is_left_alone() -> None:
    assert plan_child(rendered(), live(rendered()), apply_error=None).actions == ()


def test_a_deployment_that_is_going_away_is_waited_for() -> None:
    child = live(rendered())
    metadata = {**child.manifest["metadata"], "deletionTimestamp": "2026-03-01T12:00:00Z"}
    gone = live({**child.manifest, "metadata": metadata})
    assert plan_child(rendered(image="shop:2.0"), gone, apply_error=None).actions == ()


def test_why_it_is_applied_is_told() -> None:
    def why(child: Any, **spec: Any) -> str:
        (action,) = plan_child(rendered(**spec), child, apply_error=None).actions
        return str(action.why)

    fewer = desired_worker_deployment(pool(), broker(), replicas=1, secret_version=None)
    assert why(None) == "absent"
    assert why(live(rendered()), image="shop:2.0") == "image shop:1.0 → shop:2.0"
    assert why(live(rendered()), concurrency=3) == "the rendered template changed"
    assert why(live(fewer)) == "replicas 1 → 3"
    assert why(live(fewer), image="shop:2.0") == "image shop:1.0 → shop:2.0; replicas 1 → 3"


def test_without_a_record_of_managers_nothing_is_taken_for_edited() -> None:
    assert lost_fields(rendered(), live(rendered()).manifest) == {}
