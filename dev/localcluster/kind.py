"""The same cluster by kind, where a Docker daemon and kind are there: the thin path.

kind brings the node, the control plane and the network; ours are only the configuration at the repository's root, the
image, and the kubeconfig's place. Its API server keeps no audit log for us.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from localcluster import compile as components
from localcluster import paths, sandbox
from localcluster.commands import run
from localcluster.steps import step

CONFIGURATION = paths.REPOSITORY / "kind-config.yaml"


@cache
def usable() -> bool:
    """Say whether kind is installed and a Docker daemon answers; a client alone is not enough."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False).returncode == 0


def name() -> str:
    """Give the cluster's name: this data folder's own, because whatever bears it may be deleted."""
    return f"longshore-{sandbox.identity(paths.cluster_folder())}"


def create_command() -> list[str]:
    return [
        *("kind", "create", "cluster", f"--name={name()}", f"--config={CONFIGURATION}"),
        *(f"--kubeconfig={paths.kubeconfig()}", "--wait=180s"),
    ]


def delete_command() -> list[str]:
    return ["kind", "delete", "cluster", f"--name={name()}", f"--kubeconfig={paths.kubeconfig()}"]


def build_command(dockerfile: Path, context: Path, tag: str, build_args: Mapping[str, str]) -> list[str]:
    arguments = [f"--build-arg={key}={value}" for key, value in build_args.items()]
    return ["docker", "build", f"--file={dockerfile}", f"--tag={tag}", *arguments, str(context)]


def load_command(tag: str) -> list[str]:
    return ["kind", "load", "docker-image", tag, f"--name={name()}"]


def running() -> bool:
    """Say whether the cluster exists and we have its kubeconfig."""
    return paths.kubeconfig().exists() and name() in run(["kind", "get", "clusters"]).split()


def up() -> None:
    """Create the cluster unless it is there; put kubectl and helm where the other path puts them."""
    _tools()
    if running():
        return
    with step(f"create the kind cluster {name()}"):
        # One without our kubeconfig is of no use: it was left by a run that was cut off.
        run(delete_command())
        run(create_command(), timeout_s=900)


def down() -> None:
    with step(f"delete the kind cluster {name()}"):
        run(delete_command())


def load(dockerfile: Path, context: Path, tag: str, build_args: Mapping[str, str]) -> None:
    """Build an image with Docker and load it into the node."""
    with step(f"build the image {tag} with docker"):
        run(build_command(dockerfile, context, tag, build_args), timeout_s=1800)
    if running():
        with step(f"load the image {tag} into the kind node"):
            run(load_command(tag), timeout_s=600)


def gateway() -> str:
    """Give this machine's address as the node and its pods see it."""
    form = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"
    return run(["docker", "inspect", "--format", form, f"{name()}-control-plane"]).strip()


def _tools() -> None:
    paths.binaries().mkdir(parents=True, exist_ok=True)
    for program, component in (("kubectl", "kube"), ("helm", "helm")):
        installed = shutil.which(program)
        if installed is None:
            components.ensure((component,))
        elif not (paths.binaries() / program).exists():
            (paths.binaries() / program).symlink_to(installed)
