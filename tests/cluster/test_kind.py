"""The path by kind, as far as it can be checked where there is no Docker: its configuration and its command lines.

The configuration is read with kind's own types, and the commands of the documentation are compared with it and with the
chart; whether kind then does what it says is left to machines that have it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from go_peer import build_program
from localcluster import compile as components
from localcluster import kind, paths

CHART = paths.REPOSITORY / "helm" / "longshore"

Read = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def kinds_reader(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Read a configuration as kind does."""
    program = build_program(Path(__file__).parent / "kindconfig", tmp_path_factory.mktemp("kind"))

    def read(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program], input=text, capture_output=True, text=True, timeout=60, check=False)

    return read


@pytest.mark.go
def test_kind_reads_the_configuration_as_one_node_of_the_compiled_minor_version(kinds_reader: Read) -> None:
    done = kinds_reader(kind.CONFIGURATION.read_text())
    assert done.returncode == 0, done.stderr
    cluster: dict[str, Any] = json.loads(done.stdout)
    assert (cluster["kind"], cluster["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    (node,) = cluster["nodes"]
    assert node["role"] == "control-plane"
    name, _, version = node["image"].partition(":")
    assert name == "kindest/node"
    assert version.split(".")[:2] == components.kubernetes_version().split(".")[:2]


@pytest.mark.go
def test_kind_refuses_a_field_that_it_does_not_know(kinds_reader: Read) -> None:
    done = kinds_reader(kind.CONFIGURATION.read_text() + "portMappings: []\n")
    assert done.returncode == 1
    assert "portMappings" in done.stderr


def test_the_documented_commands_fit_the_configuration_and_the_chart() -> None:
    section = (paths.REPOSITORY / "docs" / "install.md").read_text().partition("## On kind\n")[2].partition("\n## ")[0]
    commands = [shlex.split(line.strip()) for line in section.splitlines() if line.startswith("    ")]
    create, build, load, install = commands
    assert create == ["kind", "create", "cluster", "--config", kind.CONFIGURATION.name]
    # The image that the chart runs by default is the one that is built and loaded, and it is not pulled.
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    image = yaml.safe_load((CHART / "values.yaml").read_text())["image"]
    name = f"{image['repository']}:{image['tag'] or chart['appVersion']}"
    assert image["pullPolicy"] == "IfNotPresent"
    assert build == ["docker", "build", "--tag", name, "."]
    cluster = yaml.safe_load(kind.CONFIGURATION.read_text())
    assert load == ["kind", "load", "docker-image", name, "--name", cluster["name"]]
    assert install[:4] == ["helm", "install", "longshore", str(CHART.relative_to(paths.REPOSITORY))]
    assert "--set" not in install


def test_the_nodes_kubernetes_is_one_that_the_charts_accept() -> None:
    (node,) = yaml.safe_load(kind.CONFIGURATION.read_text())["nodes"]
    minor = int(node["image"].partition(":v1.")[2].partition(".")[0])
    for chart in (CHART, CHART.with_name("longshore-crds")):
        wanted = yaml.safe_load((chart / "Chart.yaml").read_text())["kubeVersion"]
        assert minor >= int(wanted.removeprefix(">=1.").partition(".")[0])


def test_the_cluster_is_made_from_the_configuration_with_its_kubeconfig_in_the_data_folder() -> None:
    assert kind.create_command() == [
        *("kind", "create", "cluster", f"--name={kind.name()}", f"--config={paths.REPOSITORY / 'kind-config.yaml'}"),
        *(f"--kubeconfig={paths.kubeconfig()}", "--wait=180s"),
    ]


def test_another_checkouts_cluster_and_one_that_is_called_longshore_are_never_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = kind.name()
    monkeypatch.setenv("LONGSHORE_CLUSTER_DIR", str(tmp_path))
    assert len({ours, kind.name(), "longshore"}) == 3


def test_the_cluster_is_deleted_by_name() -> None:
    assert kind.delete_command() == [
        *("kind", "delete", "cluster", f"--name={kind.name()}", f"--kubeconfig={paths.kubeconfig()}")
    ]


def test_an_image_is_built_by_docker_and_loaded_by_name() -> None:
    assert kind.build_command(Path("shop/Dockerfile"), Path("shop"), "shop:dev", {"IMAGE": "longshore:dev"}) == [
        *("docker", "build", "--file=shop/Dockerfile", "--tag=shop:dev", "--build-arg=IMAGE=longshore:dev", "shop")
    ]
    assert kind.load_command("shop:dev") == ["kind", "load", "docker-image", "shop:dev", f"--name={kind.name()}"]
