"""The one cluster of a checkout: up, down, status.

Up does what is missing and no more, so calling it again is quick. What a killed run left is cleared first. Whoever
brings it up or down, or runs tests on it, holds the cluster's lock meanwhile.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from localcluster import cgroups, control_plane, images, kind, machine, network, node, packages, paths, sandbox
from localcluster import compile as components
from localcluster.access import Access
from localcluster.errors import ClusterError
from localcluster.locks import FileLock
from localcluster.network import Network
from localcluster.processes import ProcessFolder
from localcluster.sandbox import Sandbox
from localcluster.steps import step

# Seconds that a cluster whose processes all run may take to say that its node is Ready.
_ANSWERS_WITHIN_S = 60


@dataclass(frozen=True, kw_only=True)
class NodeAccess(Access):
    """Access to the cluster with a node."""

    gateway: str  # this machine's address as pods see it: where a server for pods to reach may listen

    def load_image(self, dockerfile: Path, context: Path, tag: str, build_args: dict[str, str] | None = None) -> None:
        """Build an image and load it into the node under this tag."""
        image(dockerfile, context, tag, build_args)


def lock() -> FileLock:
    """Give the cluster's lock, not yet taken."""
    return FileLock(paths.data_folder() / "cluster.lock")


@contextmanager
def held() -> Iterator[None]:
    """Hold the cluster's lock for the length of a block, waiting for it if need be."""
    ours = lock()
    ours.acquire("another run brings the cluster up or down, or tests on it")
    try:
        yield
    finally:
        ours.release()


def up(*, tied: bool = False, with_image: bool = True) -> NodeAccess:
    """Bring the cluster up as far as it is not, with the product's image loaded; the caller holds the lock.

    `tied` ends it with this process. Raises MachineCannot or ClusterError; nothing of a start that failed is left.
    """
    if kind.usable():
        kind.up()
        if with_image:
            image(paths.REPOSITORY / "Dockerfile", paths.REPOSITORY, images.PRODUCT)
        return _kind_access()
    machine.require(machine.missing_for_node())
    packages.ensure(packages.FOR_THE_NODE, packages.FOR_IMAGES)
    components.ensure(components.EVERYTHING)
    access = running()
    if access is None:
        clear()
        try:
            access = _start(tied=tied)
        except ClusterError as error:
            kept = _keep_logs()
            clear()
            raise ClusterError(f"{error}\nevery log of this start is in {kept}") from error
        except BaseException:
            clear()
            raise
    if with_image:
        image(paths.REPOSITORY / "Dockerfile", paths.REPOSITORY, images.PRODUCT)
    return access


def down() -> None:
    """Remove all of the cluster but the cache; the caller holds the lock. Harmless when it is not up."""
    if kind.usable():
        kind.down()
    clear()


def clear() -> None:
    """End and remove what there is of a cluster, in whatever state it was left."""
    folder = paths.cluster_folder()
    processes = ProcessFolder(folder)
    # With the sandbox goes everything inside. Its first process is waited for: it ends last of all.
    for name in ("sandbox", "sandbox-init"):
        for process in processes.all():
            if process.name == name:
                process.stop(grace_s=0)
    processes.stop_all(grace_s=0)
    cgroups.remove(sandbox.identity(folder))
    sandbox.remove_interface(folder)
    shutil.rmtree(folder, ignore_errors=True)
    paths.kubeconfig().unlink(missing_ok=True)


def _keep_logs() -> Path:
    kept = paths.failed_start()
    shutil.rmtree(kept, ignore_errors=True)
    with suppress(FileNotFoundError):
        shutil.copytree(paths.cluster_folder() / "logs", kept)
    return kept


def running() -> NodeAccess | None:
    """Give access to the cluster if all of it runs and its node is Ready; None otherwise."""
    if kind.usable():
        return _kind_access() if kind.running() else None
    folder = paths.cluster_folder()
    processes = ProcessFolder(folder).all()
    if not processes or not all(process.running() for process in processes):
        return None
    try:
        access = _access(folder, Network(whole=IPv4Network(json.loads((folder / "network.json").read_text()))))
    except (OSError, ValueError):
        return None
    # A busy machine answers late; a cluster that somebody works with must not be taken for a broken one.
    deadline = time.monotonic() + _ANSWERS_WITHIN_S
    while access.kubeconfig.exists() and time.monotonic() < deadline:
        if node.ready(access):
            return access
        time.sleep(1)
    return None


def image(dockerfile: Path, context: Path, tag: str, build_args: dict[str, str] | None = None) -> None:
    """Build an image; where the cluster runs, load it into the node under this tag."""
    if kind.usable():
        kind.load(dockerfile, context, tag, build_args or {})
        return
    packages.ensure(packages.FOR_THE_NODE, packages.FOR_IMAGES)
    folder = paths.cluster_folder()
    with images.lock():
        built = images.build(dockerfile.resolve(), context.resolve(), tag, build_args)
        box = _sandbox(folder)
        if box is None or node.has_image(box, built):
            return
        with step(f"load the image {tag} into the node"):
            node.import_image(box, built)


def _sandbox(folder: Path) -> Sandbox | None:
    for process in ProcessFolder(folder).all():
        if process.name == "sandbox-init" and process.running():
            whole = IPv4Network(json.loads((folder / "network.json").read_text()))
            return Sandbox(init=process, network=Network(whole=whole))
    return None


def _start(*, tied: bool) -> NodeAccess:
    folder = paths.cluster_folder()
    folder.mkdir(parents=True)
    processes = ProcessFolder(folder)
    with images.lock():
        pause = images.build_pause(node.PAUSE_IMAGE)
    with step("start the node's namespaces and containerd"):
        with network.free_network() as chosen:
            (folder / "network.json").write_text(json.dumps(str(chosen.whole)))
            box = sandbox.start(folder, processes, chosen, host_name=node.NAME, tied=tied)
        node.start_containerd(folder, box, processes)
        node.import_image(box, pause)
    with step("start etcd, kube-apiserver, kube-controller-manager"):
        reach = control_plane.Reach(address=str(chosen.gateway), services=chosen.services, for_pods=True)
        plane = control_plane.start(folder, paths.binaries(), reach, tied=tied, node=node.NAME)
    shutil.copy2(plane.admin, paths.kubeconfig())
    access = _access(folder, chosen)
    with step("start kube-scheduler, kubelet, kube-proxy, CoreDNS; wait for the node"):
        node.start(folder, paths.binaries(), box, plane, access, processes, tied=tied)
    return access


def _access(folder: Path, chosen: Network) -> NodeAccess:
    return NodeAccess(
        kubeconfig=paths.kubeconfig(), audit_log=folder / "audit.log", folder=folder, gateway=str(chosen.gateway)
    )


def _kind_access() -> NodeAccess:
    folder = paths.cluster_folder()
    return NodeAccess(
        kubeconfig=paths.kubeconfig(), audit_log=folder / "audit.log", folder=folder, gateway=kind.gateway()
    )


def status() -> list[str]:
    """Give lines for a person: what runs, what does not, where to look."""
    if kind.usable():
        return [f"kind cluster {kind.name()}: {'running' if kind.running() else 'not running'}"]
    folder = paths.cluster_folder()
    processes = ProcessFolder(folder).all()
    if not processes:
        return ["the cluster is not up; `make cluster` brings it up"]
    lines = [
        f"{process.name:<24} {'running' if process.running() else 'ended':<8} {folder / 'logs' / process.name}.log"
        for process in processes
        if process.name != "sandbox-init"
    ]
    access = running()
    if access is None:
        return [*lines, "the cluster is not healthy; `make cluster` starts it anew"]
    lines.append(f"node Ready; this machine is {access.gateway} to its pods")
    lines.append(f"kubeconfig {access.kubeconfig}")
    return lines
