"""Names and addresses of the local cluster, by value."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from localcluster import images, sandbox
from localcluster.network import Network


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        pytest.param("longshore:dev", "docker.io/library/longshore:dev", id="a short name is Docker's library"),
        pytest.param("longshore", "docker.io/library/longshore:latest", id="no version is the latest"),
        pytest.param("shop/web:1", "docker.io/shop/web:1", id="a folder is not a registry"),
        pytest.param("localhost/pause:1", "localhost/pause:1", id="localhost is a registry"),
        pytest.param("registry:5000/web", "registry:5000/web:latest", id="a port is not a version"),
        pytest.param("ghcr.io/shop/web:1", "ghcr.io/shop/web:1", id="a dot makes a registry"),
    ],
)
def test_an_image_gets_the_name_that_kubernetes_gives_it(tag: str, name: str) -> None:
    assert images.full_name(tag) == name


def test_the_networks_of_a_cluster_do_not_overlap_and_lie_in_one() -> None:
    network = Network(whole=IPv4Network("10.244.0.0/16"))
    assert (str(network.gateway), str(network.node)) == ("10.244.0.1", "10.244.0.2")
    parts = [network.link, network.pods, network.services]
    assert [str(part) for part in parts] == ["10.244.0.0/30", "10.244.1.0/24", "10.244.128.0/17"]
    assert all(part.subnet_of(network.whole) for part in parts)


def test_an_interface_name_fits_the_kernels_fifteen_characters_and_differs_by_folder() -> None:
    first, second = sandbox.identity(Path("/a/cluster")), sandbox.identity(Path("/b/cluster"))
    assert first != second
    assert len(first) <= 15
