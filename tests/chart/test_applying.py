"""What the chart renders, for many values, as a real API server takes it: validated, defaulted, admitted; not stored.

Leaves out: what the operator then does with it; see tests/e2e.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from chart.rendered import REPOSITORY, Manifest, Render, Rendered
from localcluster.access import Access
from localcluster.errors import ClusterError
from longshore_operator.settings import Settings

pytestmark = pytest.mark.cluster

NAMESPACE = "longshore-system"
NAMESPACES = (NAMESPACE, "shop", "blog")

# Each value of the chart occurs here, in a form that differs from its default.
MATRIX = {
    "defaults": (),
    "one replica": ("replicas=1", "topologySpreadConstraints=null", "image.tag=1.2.3", "image.pullPolicy=Always"),
    "no operator now": ("replicas=0",),
    "some namespaces": ("watchNamespaces={shop,blog}", "crds.install=false", "rbac.aggregateToDefaultRoles=false"),
    "definitions that go": ("crds.keep=false",),
    "foreign account": ("serviceAccount.create=false", "serviceAccount.name=robot", "rbac.create=false"),
    "own account": ("serviceAccount.name=robot", "serviceAccount.annotations.role=arn"),
    "a registry": ("image.repository=registry.example.com/longshore", "imagePullSecrets[0].name=registry"),
    "logging": ("logLevel=debug", "logFormat=json", "extraArgs={--full-list-seconds=60}"),
    "extras": (
        *("extraEnv[0].name=KUBECONFIG", "extraEnv[0].value=/config/kubeconfig"),
        *("extraVolumes[0].name=config", "extraVolumes[0].secret.secretName=kubeconfig"),
        *("extraVolumeMounts[0].name=config", "extraVolumeMounts[0].mountPath=/config"),
    ),
    "placement": (
        *("nodeSelector.disk=ssd", "priorityClassName=system-cluster-critical"),
        *("tolerations[0].key=spot", "tolerations[0].operator=Exists"),
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        ".nodeSelectorTerms[0].matchExpressions[0].key=zone",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        ".nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
        *("topologySpreadConstraints[0].maxSkew=2", "topologySpreadConstraints[0].topologyKey=zone"),
        "topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
        *("podLabels.team=platform", "podAnnotations.note=x", "resources.limits.cpu=1"),
    ),
    "OpenShift": (
        "podSecurityContext.runAsUser=null",
        "podSecurityContext.runAsGroup=null",
        "securityContext.privileged=false",
    ),
    "no metrics": ("metrics.enabled=false", "networkPolicy.enabled=true"),
    "everything for Prometheus and Grafana": (
        *("metrics.annotations.note=x", "metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.interval=30s"),
        *("metrics.serviceMonitor.labels.release=prometheus", "metrics.prometheusRule.enabled=true"),
        *("metrics.prometheusRule.labels.release=prometheus", "metrics.dashboard.enabled=true"),
        *(
            "metrics.dashboard.namespace=shop",
            "metrics.dashboard.labels.team=x",
            "metrics.dashboard.annotations.folder=y",
        ),
    ),
    "workers for Prometheus": (
        *("metrics.enabled=false", "metrics.workers.podMonitor.enabled=true", "watchNamespaces={shop,blog}"),
        *("metrics.workers.podMonitor.interval=1m", "metrics.workers.podMonitor.labels.release=prometheus"),
    ),
    "a network policy": ("networkPolicy.enabled=true",),
    "a narrow network policy": (
        *("networkPolicy.enabled=true", "networkPolicy.apiServerCIDRs={10.0.0.1/32}"),
        *("networkPolicy.apiServerPorts={6443}", "networkPolicy.dnsPorts={5353}", "networkPolicy.redisPorts={6380}"),
        *("networkPolicy.redisCIDRs={10.1.0.0/16,fd00::/8}", "networkPolicy.extraEgress[0].ports[0].port=8443"),
        "networkPolicy.ingressFrom[0].namespaceSelector.matchLabels.name=monitoring",
    ),
    "a Broker": ("exampleBroker.enabled=true",),
    "a Broker elsewhere": (
        *("exampleBroker.enabled=true", "exampleBroker.name=cache", "exampleBroker.namespace=shop"),
        *("exampleBroker.url=rediss://redis.example:6380/2", "exampleBroker.passwordSecret.name=redis"),
        "exampleBroker.passwordSecret.key=pass",
    ),
    "asynqmon": ("asynqmon.enabled=true", "asynqmon.url=redis://redis"),
    "asynqmon for the Broker": (
        *("exampleBroker.enabled=true", "exampleBroker.passwordSecret.name=redis", "asynqmon.enabled=true"),
    ),
    "asynqmon that writes": (
        *("asynqmon.enabled=true", "asynqmon.clusterAddresses={a:6379,b:6379}", "asynqmon.readOnly=false"),
        *("asynqmon.passwordSecret.name=redis", "asynqmon.passwordSecret.key=pass"),
        *("asynqmon.image.repository=registry.example.com/asynqmon", "asynqmon.image.tag=x"),
        *("asynqmon.image.pullPolicy=Always", "asynqmon.service.type=NodePort", "asynqmon.service.port=80"),
        *("asynqmon.extraEnv[0].name=MAX_PAYLOAD_LENGTH", "asynqmon.extraEnv[0].value=9k"),
        "asynqmon.resources.limits.memory=64Mi",
    ),
}


@pytest.fixture(scope="module")
def namespaces(installed_definitions: Access, prometheus_definitions: list[Path]) -> Access:
    """Give a cluster that has the namespaces which the values name, and the Prometheus operator's definitions."""
    manifests = ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in NAMESPACES)
    installed_definitions.apply(yaml.safe_dump_all(manifests))
    for path in prometheus_definitions:
        installed_definitions.kubectl("apply", "--server-side", "--filename", path)
        installed_definitions.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", path)
    return installed_definitions


@pytest.mark.go
@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_the_api_server_accepts(namespaces: Access, render: Render, values: tuple[str, ...]) -> None:
    rendered = render(*values, namespace=NAMESPACE)
    said = namespaces.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "--filename=-"),
        input="\n---\n".join(json.dumps(manifest) for manifest in rendered.manifests),
    )
    assert said.count("serverside-applied (server dry run)") == len(rendered.manifests)


def test_the_matrix_sets_every_value_that_there_is() -> None:
    words = [word for values in MATRIX.values() for word in values]
    values = yaml.safe_load((REPOSITORY / "helm/longshore/values.yaml").read_text())
    missing = [path for path in leaves(values) if not any(re.match(rf"{path}[=.\[]", word) for word in words)]
    assert missing == []


FREE = ("resources", "podSecurityContext", "securityContext", "labels")


def leaves(values: Manifest, above: str = "") -> list[str]:
    """Give every path of a value; of a map that people fill, that of the map."""
    found = []
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in FREE:
            found += leaves(value, f"{above}{name}.")
        else:
            found.append(f"{above}{name}")
    return found


def environment(rendered: Rendered, deployment: str = "longshore") -> dict[str, str | None]:
    (container,) = rendered.one("Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_the_operator_reads_the_namespaces_as_the_chart_writes_them(render: Render) -> None:
    written = environment(render("watchNamespaces={shop,blog}"))["LONGSHORE_WATCH_NAMESPACE"]
    assert Settings.parse(namespace="home", image="i", watch_namespace=written).watch_namespaces == ("shop", "blog")


def test_a_constraint_without_a_selector_gets_the_operators_and_one_with_keeps_its_own(render: Render) -> None:
    def selectors(*values: str) -> list[Manifest]:
        pod = render(*values).one("Deployment")["spec"]["template"]["spec"]
        return [each["labelSelector"]["matchLabels"] for each in pod["topologySpreadConstraints"]]

    (ours,) = selectors()
    assert ours.items() <= render().one("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    constraint = "topologySpreadConstraints[0]."
    assert selectors(
        *(f"{constraint}maxSkew=1", f"{constraint}topologyKey=zone", f"{constraint}whenUnsatisfiable=DoNotSchedule"),
        f"{constraint}labelSelector.matchLabels.team=platform",
    ) == [{"team": "platform"}]


def test_the_network_policy_lets_out_to_dns_the_api_server_and_redis_alone(render: Render) -> None:
    assert render().all("NetworkPolicy") == []
    policy = render("networkPolicy.enabled=true", "networkPolicy.redisCIDRs={10.1.0.0/16}").one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    labels = render().one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    open_to = [({each["port"] for each in rule["ports"]}, rule.get("to")) for rule in policy["egress"]]
    assert open_to == [
        ({53}, None),
        ({443, 6443}, None),
        ({6379, 26379}, [{"ipBlock": {"cidr": "10.1.0.0/16"}}]),
    ]


def test_asynqmon_is_read_only_and_gets_the_brokers_redis(render: Render) -> None:
    values = ("asynqmon.enabled=true", "asynqmon.url=rediss://redis.example:6380/2")
    assert environment(render(*values), "longshore-asynqmon") == {
        "PORT": "8080",
        "READ_ONLY": "true",
        "REDIS_ADDR": "redis.example:6380",
        "REDIS_DB": "2",
        "REDIS_TLS": "redis.example",
    }
    cluster = render("asynqmon.enabled=true", "asynqmon.clusterAddresses={a:6379,b:6379}", "asynqmon.readOnly=false")
    assert environment(cluster, "longshore-asynqmon") == {
        "PORT": "8080",
        "READ_ONLY": "false",
        "REDIS_CLUSTER_NODES": "a:6379,b:6379",
    }


def test_asynqmon_takes_redis_and_password_from_the_example_broker(render: Render) -> None:
    rendered = render("exampleBroker.enabled=true", "exampleBroker.passwordSecret.name=pw", "asynqmon.enabled=true")
    (container,) = rendered.one("Deployment", "longshore-asynqmon")["spec"]["template"]["spec"]["containers"]
    password = {"name": "REDIS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "pw", "key": "password"}}}
    assert password in container["env"]
    assert {"name": "REDIS_ADDR", "value": "redis:6379"} in container["env"]
    # That Secret is not for another Redis.
    other = render("exampleBroker.enabled=true", "exampleBroker.passwordSecret.name=pw", *ASYNQMON)
    assert "REDIS_PASSWORD" not in environment(other, "longshore-asynqmon")


ASYNQMON = ("asynqmon.enabled=true", "asynqmon.url=redis://other:6379")


@pytest.mark.go
def test_asynqmon_knows_the_variables_it_is_given(render: Render, asynqmon_source: str) -> None:
    known = set(re.findall(r'getEnv\w+\("([A-Z_]+)"', asynqmon_source))
    for values in (
        (*ASYNQMON, "asynqmon.passwordSecret.name=pw"),
        ("asynqmon.enabled=true", "asynqmon.url=rediss://redis"),
        ("asynqmon.enabled=true", "asynqmon.clusterAddresses={a:1}"),
    ):
        assert environment(render(*values), "longshore-asynqmon").keys() <= known


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (("asynqmon.enabled=true",), "asynqmon.url: give the url of a Broker"),
        ((*ASYNQMON, "asynqmon.clusterAddresses={a:1}"), "asynqmon.url, asynqmon.clusterAddresses: give one of them"),
        (
            ("exampleBroker.enabled=true", "watchNamespaces={shop}"),
            "exampleBroker.namespace: longshore-system is none of watchNamespaces",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused_by_name(
    render: Render, values: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(ClusterError, match=re.escape(complaint)):
        render(*values)
