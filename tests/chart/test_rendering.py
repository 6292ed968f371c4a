"""What the chart renders, value by value, without installing it.

Proved: the definitions are those of crds/; unknown and impossible values are refused; the pod meets the restricted
security standard; roles hold no wildcard and read Secrets one by one; a release for one namespace has no right
elsewhere.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

import sync_chart
from chart.rendered import CHART, CRDS_CHART, REPOSITORY, Manifest, Render, Rendered
from localcluster.access import Access
from localcluster.errors import ClusterError
from longshore_operator import rbac

cluster = pytest.mark.cluster

DEFINITIONS = sorted((REPOSITORY / "crds").glob("*.yaml"))


def operator_pod(rendered: Rendered) -> Manifest:
    pod: Manifest = rendered.one("Deployment")["spec"]["template"]["spec"]
    return pod


def rules(rendered: Rendered) -> list[Manifest]:
    """Give every rule that the operator's own roles grant."""
    own = [role for role in rendered.all("ClusterRole") if not aggregated(role)] + rendered.all("Role")
    return [rule for role in own for rule in role["rules"]]


def aggregated(role: Manifest) -> bool:
    return any(label.startswith("rbac.authorization.k8s.io/") for label in role["metadata"]["labels"])


@pytest.mark.parametrize(("source", "copy"), sync_chart.COPIES, ids=["the definitions", "the chart within the chart"])
def test_a_copy_is_like_its_source(source: Path, copy: Path) -> None:
    assert any(source.iterdir())
    assert sync_chart.differences(source, copy) == []


def test_synchronizing_copies_changes_and_removes_what_is_gone(tmp_path: Path) -> None:
    source, copy = tmp_path / "crds", tmp_path / "chart"
    (source / "below").mkdir(parents=True)
    copy.mkdir()
    (source / "a.yaml").write_text("new")
    (source / "below" / "c.yaml").write_text("deep")
    (copy / "a.yaml").write_text("old")
    (copy / "b.yaml").write_text("gone")
    assert sync_chart.synchronize(source, copy) == ["a.yaml", "b.yaml", "below/c.yaml"]
    assert sync_chart.differences(source, copy) == []
    assert not (copy / "b.yaml").exists()
    assert (copy / "a.yaml").read_text() == "new"


def test_charts_and_distribution_carry_one_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for chart in (CHART, CRDS_CHART):
        declared = yaml.safe_load((chart / "Chart.yaml").read_text())
        assert (declared["version"], declared["appVersion"]) == (project["version"], project["version"])
        assert [each["version"] for each in declared.get("dependencies", ())] in ([], [project["version"]])


@pytest.mark.parametrize("chart", [CHART, CRDS_CHART], ids=lambda chart: chart.name)
def test_the_schema_knows_exactly_the_values_there_are(chart: Path) -> None:
    values = yaml.safe_load((chart / "values.yaml").read_text())
    schema = json.loads((chart / "values.schema.json").read_text())
    # Helm's own, and the condition under which the longshore chart installs the other.
    assert values.keys() == schema["properties"].keys() - {"global", "install"}
    _same_keys(values, schema, schema.get("definitions", {}))


def _same_keys(values: Manifest, schema: Manifest, definitions: Manifest) -> None:
    """Every map of values whose schema names its keys has these keys and no other."""
    for name, value in values.items():
        known = schema["properties"][name]
        known = definitions[known["$ref"].rpartition("/")[2]] if "$ref" in known else known
        if isinstance(value, dict) and "properties" in known:
            assert known["additionalProperties"] is False
            assert value.keys() == known["properties"].keys() - {"global"}, name
            _same_keys(value, known, definitions)


@cluster
def test_helm_finds_nothing_to_complain_about(control_plane: Access) -> None:
    assert "0 chart(s) failed" in control_plane.helm("lint", "--strict", CHART, CRDS_CHART)


@cluster
def test_definitions_are_rendered_as_they_are_and_kept_on_uninstall(render: Render) -> None:
    wanted = [yaml.safe_load(path.read_text()) for path in DEFINITIONS]
    for definition in wanted:
        annotations = definition["metadata"].setdefault("annotations", {})
        annotations["helm.sh/resource-policy"] = "keep"
    for chart in (CHART, CRDS_CHART):
        found = render(chart=chart).all("CustomResourceDefinition")
        assert sorted(found, key=by_name) == sorted(wanted, key=by_name)


@cluster
def test_definitions_may_go_with_the_release_or_stay_out_of_it(render: Render) -> None:
    gone = [yaml.safe_load(path.read_text()) for path in DEFINITIONS]
    assert sorted(render("crds.keep=false").all("CustomResourceDefinition"), key=by_name) == sorted(gone, key=by_name)
    assert render("crds.install=false").all("CustomResourceDefinition") == []


def by_name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


@cluster
def test_a_package_is_complete_in_itself(control_plane: Access, render: Render, tmp_path: Path) -> None:
    control_plane.helm("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("longshore-*.tgz")
    assert render(chart=package) == render()
    assert render(chart=package).all("CustomResourceDefinition")


@cluster
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("image.digest=sha256:0", "additional properties 'digest' not allowed"),
        ("replicas=-1", "replicas"),
        ("replicas=two", "replicas"),
        ("image.repository=", "repository"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("watchNamespaces={Not_A_Namespace}", "watchNamespaces"),
        ("watchNamespaces={shop,shop}", "watchNamespaces"),
        ("watchNamespaces=shop", "watchNamespaces"),
        ("logLevel=loud", "logLevel"),
        ("extraArgs={log-level}", "extraArgs"),
        ("extraEnv[0].value=1", "extraEnv"),
        ("networkPolicy.redisPorts={0}", "redisPorts"),
        ("networkPolicy.redisPorts=null", "redisPorts"),
        ("networkPolicy.redisCIDRs={10.0.0.1}", "redisCIDRs"),
        ("exampleBroker.url=redis://:secret@redis:6379", "exampleBroker/url"),
        ("exampleBroker.url=redis-cluster://a:1", "exampleBroker/url"),
        ("asynqmon.url=redis://:secret@redis:6379", "asynqmon/url"),
        ("asynqmon.clusterAddresses={a}", "clusterAddresses"),
        ("crds.remove=true", "additional properties 'remove' not allowed"),
        ("crds.install=maybe", "install"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(render: Render, value: str, complaint: str) -> None:
    with pytest.raises(ClusterError, match="values don't meet") as refused:
        render(value)
    assert complaint in str(refused.value)


@cluster
def test_a_foreign_service_account_must_be_named(render: Render) -> None:
    with pytest.raises(ClusterError, match=r"serviceAccount\.name: must name an existing ServiceAccount"):
        render("serviceAccount.create=false")
    rendered = render("serviceAccount.create=false", "serviceAccount.name=robot")
    assert operator_pod(rendered)["serviceAccountName"] == "robot"
    assert rendered.all("ServiceAccount") == []


@cluster
def test_the_operator_runs_under_the_restricted_security_standard(render: Render) -> None:
    pod = operator_pod(render())
    (container,) = pod["containers"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@cluster
def test_the_operator_gets_its_settings_and_its_probes(render: Render) -> None:
    (container,) = operator_pod(render("image.repository=registry.example.com/longshore", "image.tag=dev"))[
        "containers"
    ]
    assert container["image"] == "registry.example.com/longshore:dev"
    assert container["command"] == ["python", "-m", "longshore_operator"]
    assert {entry["name"]: entry.get("value") for entry in container["env"]} == {
        "LONGSHORE_OPERATOR_NAMESPACE": None,
        "LONGSHORE_WATCH_NAMESPACE": "",
        "LONGSHORE_IMAGE": "registry.example.com/longshore:dev",
        "LONGSHORE_IMAGE_PULL_POLICY": "IfNotPresent",
        "LONGSHORE_LOG_LEVEL": "info",
        "LONGSHORE_LOG_FORMAT": "text",
        "LONGSHORE_METRICS_ADDRESS": ":8081",
    }
    probes = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    assert probes == {
        "startupProbe": {"path": "/livez", "port": "health"},
        "livenessProbe": {"path": "/livez", "port": "health"},
        "readinessProbe": {"path": "/readyz", "port": "health"},
    }
    assert container["ports"] == [
        {"name": "health", "containerPort": 8080},
        {"name": "metrics", "containerPort": 8081},
    ]


@cluster
@pytest.mark.parametrize("value", ["replicas=1", "watchNamespaces={shop,blog}"])
def test_no_role_holds_a_wildcard_and_secrets_are_only_got(render: Render, value: str) -> None:
    granted = rules(render(value))
    assert granted
    for rule in granted:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        if "secrets" in rule["resources"]:
            assert rule == {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


@cluster
def test_the_roles_grant_what_the_operators_code_declares_and_nothing_else(render: Render) -> None:
    rendered = render()
    (everywhere,) = [role for role in rendered.all("ClusterRole") if not aggregated(role)]
    assert everywhere["rules"] == [rule.manifest() for rule in rbac.RULES]
    assert rendered.one("Role")["rules"] == [rule.manifest() for rule in rbac.LEASE_RULES]


@cluster
def test_a_release_for_some_namespaces_has_roles_there_and_for_its_lease_only(render: Render) -> None:
    rendered = render("watchNamespaces={shop,blog}")
    assert [role for role in rendered.all("ClusterRole") if not aggregated(role)] == []
    assert rendered.all("ClusterRoleBinding") == []
    roles = {role["metadata"]["namespace"]: role for role in rendered.all("Role")}
    everywhere = next(role for role in render().all("ClusterRole") if not aggregated(role))
    assert roles.keys() == {"shop", "blog", "longshore-system"}
    assert roles["shop"]["rules"] == roles["blog"]["rules"] == everywhere["rules"]
    assert {each["metadata"]["namespace"] for each in rendered.all("RoleBinding")} == roles.keys()
    assert {tuple(rule["resources"]) for rule in roles["longshore-system"]["rules"]} == {("leases",)}
    (container,) = operator_pod(rendered)["containers"]
    assert {"name": "LONGSHORE_WATCH_NAMESPACE", "value": "shop,blog"} in container["env"]


@cluster
def test_roles_are_bound_to_the_operators_service_account(render: Render) -> None:
    rendered = render()
    account = {"kind": "ServiceAccount", "name": "longshore", "namespace": "longshore-system"}
    for binding in rendered.all("ClusterRoleBinding") + rendered.all("RoleBinding"):
        assert binding["subjects"] == [account]
        assert rendered.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])
    assert operator_pod(rendered)["serviceAccountName"] == account["name"]
    without = render("rbac.create=false", "rbac.aggregateToDefaultRoles=false")
    assert {manifest["kind"] for manifest in without.manifests} == {
        "CustomResourceDefinition",
        "Deployment",
        "Pod",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }


@cluster
def test_a_disruption_budget_comes_with_the_second_replica(render: Render) -> None:
    assert render("replicas=1").all("PodDisruptionBudget") == []
    rendered = render()
    budget = rendered.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    labels = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
