"""The path by kind, as far as it can be checked where there is no Docker: its configuration and its command lines.

The configuration is compared with the fields that kind's v1alpha4 knows; whether kind then does what it says is left
to machines that have it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from localcluster import compile as components
from localcluster import kind, paths

# Of https://kind.sigs.k8s.io/docs/user/configuration, what a cluster and a node may have.
CLUSTER_FIELDS = {
    *("kind", "apiVersion", "name", "nodes", "networking", "featureGates", "runtimeConfig"),
    *("kubeadmConfigPatches", "kubeadmConfigPatchesJSON6902", "containerdConfigPatches"),
    "containerdConfigPatchesJSON6902",
}
NODE_FIELDS = {
    *("role", "image", "labels", "extraMounts", "extraPortMappings"),
    *("kubeadmConfigPatches", "kubeadmConfigPatchesJSON6902"),
}


def test_the_configuration_is_one_node_of_the_same_minor_version_as_the_compiled_one() -> None:
    configuration = yaml.safe_load(kind.CONFIGURATION.read_text())
    assert configuration["kind"] == "Cluster"
    assert configuration["apiVersion"] == "kind.x-k8s.io/v1alpha4"
    assert configuration.keys() <= CLUSTER_FIELDS
    (node,) = configuration["nodes"]
    assert node.keys() <= NODE_FIELDS
    assert node["role"] == "control-plane"
    name, _, version = node["image"].partition(":")
    assert name == "kindest/node"
    assert version.split(".")[:2] == components.kubernetes_version().split(".")[:2]


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
