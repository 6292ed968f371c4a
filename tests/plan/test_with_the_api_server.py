"""Rendered Deployments meet a real API server: it accepts them, and its own record tells what others edited.

Proves that a Deployment which nobody touched is never applied again, whatever defaults the server adds.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from localcluster.access import Access
from localcluster.errors import ClusterError
from longshore_operator.plan.child import ChildPlan, plan_child
from longshore_operator.plan.deployment import desired_worker_deployment
from longshore_operator.plan.observed import ChildDeployment
from longshore_operator.plan.scheduler import desired_scheduler_deployment
from longshore_operator.plan.settings import PlanSettings
from plan.scenes import broker, pool
from plan.templates import EVERYTHING

pytestmark = pytest.mark.cluster

TEMPLATE = {
    "metadata": {"annotations": {"note": "x"}},
    "spec": {
        "containers": [
            {
                "name": "worker",
                "resources": {"limits": {"cpu": "1000m", "memory": "0.5Gi"}, "requests": {"cpu": 0.5}},
                "env": [
                    {"name": "EMPTY", "value": ""},
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "ports": [{"containerPort": 9090}],
            },
            {"name": "side", "image": "side:1", "args": ["-v"], "securityContext": {"allowPrivilegeEscalation": False}},
        ],
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1024Mi"}}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
        ],
    },
}


class Cluster:
    """One namespace, and our field manager's way to write into it."""

    def __init__(self, access: Access, namespace: str) -> None:
        self.access = access
        self.namespace = namespace

    def wanted(self, **spec: Any) -> dict[str, Any]:
        given = {"template": TEMPLATE, **spec}
        replicas = given.pop("count", 0)
        manifest = desired_worker_deployment(pool(**given), broker(), replicas=replicas, secret_version="v1")
        return self._here(manifest)

    def _here(self, manifest: dict[str, Any]) -> dict[str, Any]:
        manifest = copy.deepcopy(manifest)
        manifest["metadata"]["namespace"] = self.namespace
        # An owner that does not exist would have the garbage collector delete the Deployment.
        manifest["metadata"]["ownerReferences"][0] |= {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner"}
        manifest["metadata"]["ownerReferences"][0]["uid"] = self.owner_uid
        return manifest

    @property
    def owner_uid(self) -> str:
        return self.kubectl("get", "configmap", "owner", "--output=jsonpath={.metadata.uid}")

    def kubectl(self, *args: str, **more: Any) -> str:
        return self.access.kubectl("--namespace", self.namespace, *args, **more)

    def apply(self, manifest: dict[str, Any]) -> None:
        text = yaml.safe_dump(manifest)
        options = ("--server-side", "--force-conflicts", "--field-manager=longshore", "--validate=strict")
        self.kubectl("apply", *options, "--filename", "-", input=text)

    def child(self, name: str = "mail-worker") -> ChildDeployment:
        found = json.loads(self.kubectl("get", "deployment", name, "--output=json", "--show-managed-fields"))
        return ChildDeployment(manifest=found, owned=True)

    def plan(self, manifest: dict[str, Any]) -> ChildPlan:
        return plan_child(manifest, self.child(manifest["metadata"]["name"]), apply_error=None)


@pytest.fixture
def cluster(control_plane: Access) -> Iterator[Cluster]:
    with control_plane.namespace("plan") as name:
        control_plane.kubectl("--namespace", name, "create", "configmap", "owner")
        yield Cluster(control_plane, name)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"template": None}, id="of our defaults alone"),
        pytest.param({}, id="with quantities and lists in forms the server rewrites"),
        pytest.param({"app": None}, id="without an app"),
        pytest.param({"template": EVERYTHING}, id="of a template with all that a pod can have"),
        pytest.param(
            {"rollout": {"maxUnavailable": "50%", "maxSurge": 0, "minReadySeconds": 9}}, id="with a roll-out of its own"
        ),
    ],
)
def test_a_worker_deployment_is_accepted_and_then_left_alone(cluster: Cluster, spec: dict[str, Any]) -> None:
    wanted = cluster.wanted(**spec)
    cluster.apply(wanted)
    assert cluster.plan(wanted).actions == ()


def test_a_template_wins_field_by_field(cluster: Cluster) -> None:
    cluster.apply(cluster.wanted(template=EVERYTHING))
    template = cluster.child().manifest["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "mail"
    assert template["metadata"]["labels"]["longshore.dev/pool"] == "mail"
    pod = template["spec"]
    for field in ("serviceAccountName", "automountServiceAccountToken", "priorityClassName", "nodeSelector"):
        assert pod[field] == EVERYTHING["spec"][field]
    assert pod["terminationGracePeriodSeconds"] == 600
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        **EVERYTHING["spec"]["securityContext"],
    }
    assert [each["name"] for each in pod["containers"]] == ["worker", "logs"]
    assert [each["name"] for each in pod["initContainers"]] == ["migrate", "proxy"]
    assert pod["initContainers"][1]["restartPolicy"] == "Always"
    worker = pod["containers"][0]
    environment = {each["name"]: each.get("value") for each in worker["env"]}
    assert environment["LONGSHORE_CONCURRENCY"] == "7"
    assert environment["LONGSHORE_QUEUES"] == "mail=1"
    assert [each["name"] for each in worker["volumeMounts"]] == ["tmp", "settings", "scratch"]
    assert pod["volumes"][0] == {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}}
    assert worker["livenessProbe"]["exec"] == {"command": ["true"]}
    assert "httpGet" not in worker["livenessProbe"]
    assert worker["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert worker["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        "readOnlyRootFilesystem": False,
    }


def restricted_verdict(cluster: Cluster, template: dict[str, Any]) -> str:
    """What Pod Security admission says to a pod of the template in a restricted namespace; empty: it is admitted."""
    cluster.access.kubectl(
        "label", "--overwrite", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    metadata = {**template["metadata"], "name": "tried"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    try:
        cluster.kubectl("create", "--dry-run=server", "--filename", "-", input=yaml.safe_dump(pod))
    except ClusterError as error:
        return str(error)
    return ""


def test_what_we_render_is_admitted_under_the_restricted_standard_unless_the_template_says_otherwise(
    cluster: Cluster,
) -> None:
    settings = PlanSettings(image="longshore:dev")
    scheduler = desired_scheduler_deployment(broker(), secret_version=None, settings=settings)
    for manifest in (cluster.wanted(template=None), cluster.wanted(template=None, app=None), scheduler):
        assert restricted_verdict(cluster, manifest["spec"]["template"]) == ""
    as_root = cluster.wanted(template={"spec": {"securityContext": {"runAsNonRoot": False}}})
    assert "runAsNonRoot" in restricted_verdict(cluster, as_root["spec"]["template"])
    beside = cluster.wanted(template={"spec": {"containers": [{"name": "side", "image": "side:1"}]}})
    said = restricted_verdict(cluster, beside["spec"]["template"])
    assert 'container "side" must set' in said
    assert '"worker"' not in said


def test_a_scheduler_deployment_is_accepted_and_then_left_alone(cluster: Cluster) -> None:
    tried = broker(scheduler={"resources": {"requests": {"cpu": "0.1"}}})
    settings = PlanSettings(image="longshore:dev", image_pull_policy="IfNotPresent")
    wanted = cluster._here(desired_scheduler_deployment(tried, secret_version=None, settings=settings))
    cluster.apply(wanted)
    assert cluster.plan(wanted).actions == ()


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        pytest.param(("scale", "deployment/mail-worker", "--replicas=2"), "spec.replicas", id="the count"),
        pytest.param(
            ("set", "image", "deployment/mail-worker", "worker=other:1"),
            "spec.template.spec.containers[worker].image",
            id="the image",
        ),
        pytest.param(
            ("set", "env", "deployment/mail-worker", "--containers=worker", "LONGSHORE_QUEUES=other=1"),
            "spec.template.spec.containers[worker].env[LONGSHORE_QUEUES].value",
            id="a variable of ours",
        ),
        pytest.param(
            ("set", "env", "deployment/mail-worker", "--containers=worker", "LONGSHORE_QUEUES-"),
            "spec.template.spec.containers[worker].env[LONGSHORE_QUEUES].",
            id="a variable of ours that was removed",
        ),
        pytest.param(
            ("label", "--overwrite", "deployment/mail-worker", "longshore.dev/pool=other"),
            "metadata.labels.longshore.dev/pool",
            id="a label of ours",
        ),
        pytest.param(
            ("annotate", "deployment/mail-worker", "longshore.dev/replicas-"),
            "metadata.annotations.longshore.dev/replicas",
            id="our own record",
        ),
        pytest.param(
            (
                "patch",
                "deployment/mail-worker",
                "--type=json",
                '--patch=[{"op":"replace","path":"/spec/template/spec/containers/0/command","value":["sleep"]}]',
            ),
            "spec.template.spec.containers[worker].command",
            id="a list that is owned as a whole",
        ),
        pytest.param(
            (
                "patch",
                "deployment/mail-worker",
                "--type=json",
                '--patch=[{"op":"remove","path":"/spec/template/spec/containers/0/livenessProbe"}]',
            ),
            "spec.template.spec.containers[worker].livenessProbe",
            id="a probe that was removed",
        ),
    ],
)
def test_an_edit_of_what_is_ours_is_named_and_put_back(cluster: Cluster, edit: tuple[str, ...], named: str) -> None:
    wanted = cluster.wanted()
    cluster.apply(wanted)
    cluster.kubectl(*edit)
    planned = cluster.plan(wanted)
    assert len(planned.actions) == 1
    (note,) = planned.notes
    assert (note.type, note.reason) == ("Warning", "EditUndone")
    assert named in note.message
    cluster.apply(wanted)
    assert cluster.plan(wanted).actions == ()


def test_who_edited_is_named(cluster: Cluster) -> None:
    wanted = cluster.wanted()
    cluster.apply(wanted)
    cluster.kubectl("set", "image", "deployment/mail-worker", "worker=other:1", "--field-manager=alice")
    (note,) = cluster.plan(wanted).notes
    assert note.message == (
        "Deployment mail-worker: put back what alice edited: spec.template.spec.containers[worker].image."
    )


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(("label", "deployment/mail-worker", "team=mail"), id="a label"),
        pytest.param(("annotate", "deployment/mail-worker", "note=x"), id="an annotation"),
        pytest.param(("set", "env", "deployment/mail-worker", "--containers=worker", "MORE=1"), id="another variable"),
        pytest.param(("rollout", "restart", "deployment/mail-worker"), id="a restart by kubectl"),
    ],
)
def test_what_others_add_stays(cluster: Cluster, edit: tuple[str, ...]) -> None:
    wanted = cluster.wanted()
    cluster.apply(wanted)
    cluster.kubectl(*edit)
    before = cluster.child().manifest["spec"]
    assert cluster.plan(wanted).actions == ()
    cluster.apply(cluster.wanted(count=1))
    after = cluster.child().manifest["spec"]
    assert {**after, "replicas": 0} == before


def test_a_field_that_is_no_longer_wanted_goes_with_the_next_apply(cluster: Cluster) -> None:
    cluster.apply(cluster.wanted())
    plain = cluster.wanted(template=None)
    assert len(cluster.plan(plain).actions) == 1
    cluster.apply(plain)
    assert [each["name"] for each in cluster.child().manifest["spec"]["template"]["spec"]["containers"]] == ["worker"]


def test_the_count_alone_can_be_changed_while_the_template_waits(cluster: Cluster) -> None:
    wanted = cluster.wanted()
    cluster.apply(wanted)
    patch = json.dumps(
        {"metadata": {"annotations": {"longshore.dev/replicas": "2"}}, "spec": {"replicas": 2}},
    )
    cluster.kubectl("patch", "deployment/mail-worker", "--patch", patch, "--field-manager=longshore")
    assert cluster.plan(cluster.wanted(count=2)).actions == ()


def test_a_change_of_count_does_not_touch_the_pod_template(cluster: Cluster) -> None:
    cluster.apply(cluster.wanted(count=0))
    first = cluster.child().manifest
    cluster.apply(cluster.wanted(count=2))
    second = cluster.child().manifest
    assert second["spec"]["template"] == first["spec"]["template"]
    assert second["spec"]["replicas"] == 2
