"""Upgrades of the definitions on a real API server: what is new arrives, what people declared stays.

Three ways lead to a newer definition: with the operator's chart, which contains the definitions' own; from the first
layout, in which they were templates of the operator's chart; and with the definitions' chart alone, once it has taken
them over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from chart.rendered import CHART, CRDS_CHART
from handlers.waiting import eventually
from localcluster.access import Access
from localcluster.errors import ClusterError
from localcluster.fixtures import a_control_plane

pytestmark = pytest.mark.cluster

NAMESPACE = "longshore-upgrade-test"
KINDS = ("brokers", "queues", "workerpools", "periodictasks")


@pytest.fixture(scope="module")
def access() -> Iterator[Access]:
    """Give a control plane of this module's own: definitions belong to a whole cluster."""
    with a_control_plane() as access:
        access.kubectl("create", "namespace", NAMESPACE)
        yield access


@pytest.fixture
def cluster(access: Access) -> Iterator[Access]:
    """Give that control plane without any release and definition."""
    yield access
    for release in access.helm("list", "--short", "--namespace", NAMESPACE).split():
        access.helm("uninstall", release, "--namespace", NAMESPACE, "--wait")
    access.kubectl("delete", "crd", "--all", "--timeout=60s")


def with_a_new_field(chart: Path, files: str) -> Path:
    """Let a chart's definition of Queue have one field more, as a later version may."""
    path = chart / files / "queues.longshore.dev.yaml"
    definition = yaml.safe_load(path.read_text())
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["newField"] = {"type": "string", "description": "Came with the upgrade."}
    path.write_text(yaml.safe_dump(definition))
    return chart


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Give the operator's chart of a later version."""
    return with_a_new_field(Path(shutil.copytree(CHART, tmp_path / "newer")), "charts/longshore-crds/files")


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Give the operator's chart in its first layout: the definitions are templates of its own."""
    chart = Path(shutil.copytree(CHART, tmp_path / "flat"))
    shutil.move(chart / "charts/longshore-crds/files", chart / "definitions")
    definitions = (chart / "charts/longshore-crds/templates/definitions.yaml").read_text()
    definitions = definitions.replace(".Values.keep", ".Values.crds.keep").replace("files/*", "definitions/*")
    (chart / "templates/crds.yaml").write_text(definitions)
    shutil.rmtree(chart / "charts")
    declared = yaml.safe_load((chart / "Chart.yaml").read_text())
    del declared["dependencies"]
    (chart / "Chart.yaml").write_text(yaml.safe_dump(declared))
    return chart


def install(cluster: Access, release: str, chart: Path, *more: str) -> None:
    cluster.helm("install", release, chart, "--namespace", NAMESPACE, *more)
    wait_for_definitions(cluster)


def upgrade(cluster: Access, release: str, chart: Path, *more: str) -> None:
    cluster.helm("upgrade", release, chart, "--namespace", NAMESPACE, "--reset-then-reuse-values", *more)
    wait_for_definitions(cluster)


def wait_for_definitions(cluster: Access) -> None:
    for kind in KINDS:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{kind}.longshore.dev", "--timeout=30s")


def declare(cluster: Access, **spec: str) -> str:
    """Declare a Queue, with fields that are unknown refused; gives its uid."""
    queue = {
        "apiVersion": "longshore.dev/v1alpha1",
        "kind": "Queue",
        "metadata": {"name": "critical", "namespace": NAMESPACE},
        "spec": spec,
    }
    cluster.kubectl("apply", "--validate=strict", "--filename=-", input=json.dumps(queue))
    return uid(cluster)


def uid(cluster: Access) -> str:
    return cluster.kubectl("get", "queues.longshore.dev/critical", "-n", NAMESPACE, "--output=jsonpath={.metadata.uid}")


def spec(cluster: Access) -> str:
    return cluster.kubectl("get", "queues.longshore.dev/critical", "-n", NAMESPACE, "--output=jsonpath={.spec}")


def owner(cluster: Access) -> str:
    """Give the release that a definition belongs to."""
    path = "{.metadata.annotations.meta\\.helm\\.sh/release-name}"
    return cluster.kubectl("get", "crd", "queues.longshore.dev", f"--output=jsonpath={path}")


def test_an_upgrade_brings_new_fields_and_loses_no_object(cluster: Access, newer: Path) -> None:
    install(cluster, "longshore", CHART)
    before = declare(cluster, queueName="critical")
    with pytest.raises(ClusterError, match="unknown field"):
        declare(cluster, queueName="critical", newField="x")
    upgrade(cluster, "longshore", newer)
    assert declare(cluster, queueName="critical", newField="x") == before
    cluster.helm("rollback", "longshore", "1", "--namespace", NAMESPACE)
    assert uid(cluster) == before
    eventually(lambda: "newField" in spec(cluster), False)
    upgrade(cluster, "longshore", newer)
    eventually(lambda: "newField" in spec(cluster), True)  # nobody has written it meanwhile


def test_an_upgrade_from_the_first_layout_keeps_definitions_and_objects(
    cluster: Access, flat: Path, newer: Path
) -> None:
    install(cluster, "longshore", flat)
    before = declare(cluster, queueName="critical")
    upgrade(cluster, "longshore", newer)
    assert declare(cluster, queueName="critical", newField="x") == before
    assert owner(cluster) == "longshore"


def test_definitions_move_to_a_release_of_their_own_and_are_upgraded_there(cluster: Access, tmp_path: Path) -> None:
    install(cluster, "longshore", CHART)
    before = declare(cluster, queueName="critical")
    upgrade(cluster, "longshore", CHART, "--set", "crds.install=false")
    assert uid(cluster) == before
    install(cluster, "longshore-crds", CRDS_CHART, "--take-ownership")
    assert (uid(cluster), owner(cluster)) == (before, "longshore-crds")
    newer = with_a_new_field(Path(shutil.copytree(CRDS_CHART, tmp_path / "newer-crds")), "files")
    upgrade(cluster, "longshore-crds", newer)
    assert declare(cluster, queueName="critical", newField="x") == before


def test_uninstalling_keeps_what_people_declared_and_installing_finds_it_again(cluster: Access) -> None:
    install(cluster, "longshore", CHART)
    before = declare(cluster, queueName="critical")
    cluster.helm("uninstall", "longshore", "--namespace", NAMESPACE)
    assert uid(cluster) == before
    install(cluster, "longshore", CHART)
    assert uid(cluster) == before


def test_the_example_broker_comes_with_the_definitions_or_after_them(cluster: Access) -> None:
    example = ("--set", "exampleBroker.enabled=true")
    with pytest.raises(ClusterError, match=r"exampleBroker\.enabled: the definitions are not installed yet"):
        install(cluster, "longshore", CHART, *example)
    install(cluster, "longshore", CHART)
    upgrade(cluster, "longshore", CHART, *example, "--set", "exampleBroker.passwordSecret.name=redis")
    declared = json.loads(cluster.kubectl("get", "brokers/default", "-n", NAMESPACE, "--output=jsonpath={.spec}"))
    assert declared["url"] == "redis://redis:6379/0"
    assert declared["auth"] == {"passwordSecretRef": {"name": "redis", "key": "password"}}
    cluster.helm("uninstall", "longshore", "--namespace", NAMESPACE)
    assert "default" in cluster.kubectl("get", "brokers", "-n", NAMESPACE)
