"""The alerts and the dashboard of the chart, beside what the operator really serves.

Proved: every expression is PromQL, and every metric and label in it exists (tests/handlers and tests/runtime prove that
the tables are what is served); every alert is explained in the docs, with the same words for its condition; the chart
renders them for its own Service, and refuses halves. Left out: Prometheus and Grafana themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import promql_parser
import pytest
import yaml

from chart.rendered import CHART, REPOSITORY, Render
from localcluster.errors import ClusterError
from longshore.metrics.queues import FAMILIES as QUEUE_FAMILIES
from longshore.metrics.worker import FAMILIES as WORKER_FAMILIES
from longshore_operator.metrics.families import BROKER_LABELS, OBJECT_FAMILIES, REPLICA_FAMILIES, WORK_FAMILIES
from longshore_operator.plan.deployment import desired_worker_deployment
from longshore_operator.plan.names import POOL_LABEL
from longshore_operator.plan.processes import HEALTH_PORT
from plan.scenes import broker, pool

cluster = pytest.mark.cluster

OF_THE_TARGET = {"job", "namespace", "pod", "instance"}  # labels that a scrape gives to every series
OF_A_WORKER = ("pool",)  # what the PodMonitor adds to them
GIVEN = {"up": set(), "process_cpu_seconds_total": set(), "process_resident_memory_bytes": set()}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}

GROUPS: list[dict[str, Any]] = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
DASHBOARD: dict[str, Any] = json.loads((CHART / "files" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}


def served() -> dict[str, set[str]]:
    """The labels of every series that the operator and the workers have, by the series' name."""
    known = {name: set(labels) for name, labels in GIVEN.items()}
    of_workers = [replace(family, labels=(*OF_A_WORKER, *family.labels)) for family in WORKER_FAMILIES]
    for family in (*REPLICA_FAMILIES, *WORK_FAMILIES, *OBJECT_FAMILIES, *of_workers):
        for suffix in SUFFIXES.get(family.type, ("",)):
            known[family.name + suffix] = set(family.labels) | ({"le"} if suffix == "_bucket" else set())
    return known | {family.name: {*BROKER_LABELS, *family.labels} for family in QUEUE_FAMILIES}


def parts(node: Any) -> Iterator[Any]:
    """An expression and everything within it."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield from parts(child)
    for child in getattr(node, "args", None) or ():
        yield from parts(child)


def problems(expression: str) -> list[str]:
    """What is wrong with an expression. Raises ValueError when it is no PromQL."""
    known, found, labels = served(), [], set(OF_THE_TARGET)
    for node in parts(promql_parser.parse(expression)):
        if not isinstance(node, promql_parser.VectorSelector):
            continue
        if node.name not in known:
            found.append(f"no metric {node.name}")
            continue
        labels |= known[node.name]
        matched = {matcher.name for matcher in node.matchers.matchers}
        found += [f"{node.name} has no label {name}" for name in sorted(matched - known[node.name] - OF_THE_TARGET)]
    return found + [f"nothing has a label {name}" for name in sorted(grouped_by(expression) - labels)]


def grouped_by(expression: str) -> set[str]:
    """The labels that it groups by, or matches on."""
    lists = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    return {name.strip() for one in lists for name in one.split(",")}


def test_what_is_wrong_with_an_expression_is_noticed() -> None:
    assert problems("sum(asynq_queue_sise)") == ["no metric asynq_queue_sise"]
    assert problems('max(asynq_queue_size{quue="x"} == 0)') == ["asynq_queue_size has no label quue"]
    assert problems("sum by (quue) (rate(asynq_queue_size[5m]))") == ["nothing has a label quue"]
    assert problems("longshore_operator_reconcile_duration_seconds") == [
        "no metric longshore_operator_reconcile_duration_seconds"
    ]
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        problems("sum by (")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_looks_at_what_there_is_and_is_explained(name: str) -> None:
    rule = ALERTS[name]
    assert problems(rule["expr"].replace("$JOB", "longshore-metrics")) == []
    assert 'job="$JOB"' in rule["expr"], "another release's operator would raise it, too"
    assert rule["labels"]["severity"] in ("critical", "warning")
    for text in rule["annotations"].values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= grouped_by(rule["expr"])
    section = (REPOSITORY / "docs" / "monitoring.md").read_text().partition(f"### {name}\n")[2].split("\n#")[0]
    assert len(section.split()) > 15, f"docs/monitoring.md says nothing of {name}"


def test_no_explanation_is_left_of_an_alert_that_is_gone() -> None:
    assert re.findall(r"^### (Longshore\w+)$", (REPOSITORY / "docs" / "monitoring.md").read_text(), re.M) == [*ALERTS]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_looks_at_what_there_is(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
        assert used <= VARIABLES.keys()
        assert problems(target["expr"].replace("$__rate_interval", "5m")) == []
        by = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert by <= (grouped_by(target["expr"]) or OF_THE_TARGET)


def test_a_variable_of_the_dashboard_asks_for_a_label_there_is() -> None:
    asked = [each["query"]["query"] for each in VARIABLES.values() if each["type"] == "query"]
    assert len(asked) == 5
    for query in asked:
        expression, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert problems(expression) == []
        assert label in served()[re.match(r"\w+", expression).group()] | {"job"}  # type: ignore[union-attr]


def test_panels_do_not_overlap_and_have_names_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@cluster
def test_the_chart_lets_prometheus_find_every_replica(render: Render) -> None:
    rendered = render("metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.release=prometheus")
    service, monitor = rendered.one("Service", "longshore-metrics"), rendered.one("ServiceMonitor")
    pod = rendered.one("Deployment", "longshore")["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["publishNotReadyAddresses"] is True
    (port,) = service["spec"]["ports"]
    assert {each["name"]: each["containerPort"] for each in pod["spec"]["containers"][0]["ports"]}[
        port["targetPort"]
    ] == port["port"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    chosen = monitor["spec"]["selector"]["matchLabels"]
    found = [each for each in rendered.all("Service") if chosen.items() <= each["metadata"]["labels"].items()]
    assert found == [service], "a Service of the probes alone must not be scraped"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["honorLabels"]) == (port["name"], True)


@cluster
def test_the_chart_lets_prometheus_find_the_workers_that_serve_metrics_and_no_others(render: Render) -> None:
    rendered = render("metrics.workers.podMonitor.enabled=true", "metrics.workers.podMonitor.labels.release=prometheus")
    monitor = rendered.one("PodMonitor", "longshore-workers")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (relabeling,) = endpoint["relabelings"]
    assert relabeling == {
        "sourceLabels": ["__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", POOL_LABEL)],
        "targetLabel": "pool",
    }

    def scraped(template: dict[str, Any]) -> list[int]:
        """The ports of a pod that are asked."""
        if not monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items():
            return []
        ports = [port for container in template["spec"]["containers"] for port in container.get("ports", ())]
        return [port["containerPort"] for port in ports if port["name"] == endpoint["port"]]

    def worker(**spec: Any) -> dict[str, Any]:
        deployment = desired_worker_deployment(pool(**spec), broker(), replicas=3, secret_version=None)
        return dict(deployment["spec"]["template"])

    assert scraped(worker(app="shop.tasks:app")) == [HEALTH_PORT]
    assert scraped(worker(app=None)) == [], "nobody knows whether the image's own command serves metrics"
    assert scraped(rendered.one("Deployment", "longshore")["spec"]["template"]) == []


@cluster
def test_workers_are_looked_for_in_the_namespaces_that_are_served(render: Render) -> None:
    rendered = render("metrics.enabled=false", "metrics.workers.podMonitor.enabled=true", "watchNamespaces={shop,blog}")
    assert rendered.one("PodMonitor")["spec"]["namespaceSelector"] == {"matchNames": ["shop", "blog"]}


@cluster
def test_rules_and_dashboard_are_rendered_as_they_are_for_this_release(render: Render) -> None:
    rendered = render(
        "metrics.serviceMonitor.enabled=true",
        "metrics.prometheusRule.enabled=true",
        "metrics.dashboard.enabled=true",
        "metrics.dashboard.namespace=monitoring",
    )
    rules = rendered.one("PrometheusRule")["spec"]["groups"]
    assert rules == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text().replace("$JOB", "longshore-metrics"))
    board = rendered.one("ConfigMap", "longshore-dashboard")
    assert board["metadata"]["namespace"] == "monitoring"
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(board["data"]["longshore.json"]) == DASHBOARD


@cluster
def test_metrics_can_be_off_and_halves_are_refused(render: Render) -> None:
    rendered = render("metrics.enabled=false")
    assert [each["metadata"]["name"] for each in rendered.all("Service")] == ["longshore"]
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": "LONGSHORE_METRICS_ADDRESS", "value": ""} in container["env"]
    assert [port["name"] for port in container["ports"]] == ["health"]
    for half in ("metrics.prometheusRule.enabled=true", "metrics.enabled=false,metrics.dashboard.enabled=true"):
        with pytest.raises(ClusterError, match=r"metrics\.\w+\.enabled"):
            render(half)
