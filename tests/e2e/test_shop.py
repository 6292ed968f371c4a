"""The demo's story on a real node, smaller: chart, operator, scheduler and workers in pods; the Go client enqueues.

Proved, by the demo's own verdict on evidence of this run: every task ran exactly once, pools went from zero to workers
and back, no busy worker was killed, each tick fired once. Everything runs under the restricted security standard, and
the operator with the rights of the chart's roles alone.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from demo import installation
from demo.cluster import Cluster
from demo.display import PlainDisplay
from demo.errors import DemoError
from demo.story import Stage, play
from demo.verdict import judge
from localcluster import paths
from localcluster.cluster import NodeAccess

pytestmark = pytest.mark.node

TASKS = 300


@pytest.fixture
async def cluster(node_cluster: NodeAccess) -> AsyncIterator[Cluster]:
    """Install the chart, for the length of a test."""
    binaries = paths.binaries()
    access = Cluster(
        kubeconfig=node_cluster.kubeconfig, kubectl_binary=binaries / "kubectl", helm_binary=binaries / "helm"
    )
    definitions_before = await access.kubectl("get", "crd", "--output=name")
    releases_before = await access.helm("list", "--short", "--namespace", installation.RELEASE_NAMESPACE)
    await installation.install_chart(access)
    yield access
    if installation.RELEASE in releases_before.split():
        return  # the demo's, on a cluster that was up already
    await access.helm("uninstall", installation.RELEASE, "--namespace", installation.RELEASE_NAMESPACE)
    if "longshore.dev" not in definitions_before:
        await access.kubectl("delete", "--filename", str(installation.REPOSITORY / "crds"))
        await access.kubectl("delete", "namespace", installation.RELEASE_NAMESPACE, "--wait=false")


@pytest.fixture
async def namespace(cluster: Cluster) -> AsyncIterator[str]:
    """Give a namespace for the shop; it goes while the operator still runs, which lets its Broker go."""
    name = f"shop-{secrets.token_hex(4)}"
    yield name
    await installation.remove_example(cluster, name)


@pytest.mark.timeout(600, func_only=True)
async def test_a_burst_from_go_runs_once_and_pools_return_to_zero(
    node_cluster: NodeAccess, cluster: Cluster, namespace: str
) -> None:
    for folder, tag, build_args in installation.IMAGES:
        node_cluster.load_image(folder / "Dockerfile", folder, tag, build_args)
    producer = await installation.build_producer()
    try:
        await installation.apply_example(cluster, namespace)
        stage = Stage(cluster=cluster, namespace=namespace, producer=producer, count=TASKS, ticks=2)
        with PlainDisplay() as show:
            evidence = await play(stage, show)
    except DemoError:
        print(await installation.diagnose(cluster, namespace))
        raise
    assert len(evidence.enqueued) == TASKS
    assert [check for check in judge(evidence) if not check.passed] == []
