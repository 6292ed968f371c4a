"""Debian packages that the node needs, installed when missing and never started.

Debian starts a service when it installs one. Ours must not: the node runs its own containerd, in its own namespaces.
So a policy that says no is put in place for the length of the installation, unless the machine has its own already.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster import paths
from localcluster.commands import run
from localcluster.errors import ClusterError, MachineCannot
from localcluster.locks import locked
from localcluster.steps import step

# Program (or file) to the package that brings it: what is there already is left alone.
FOR_THE_NODE = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "mount": "mount",
    "nsenter": "util-linux",
}
FOR_IMAGES = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}

_POLICY = Path("/usr/sbin/policy-rc.d")


def missing(wanted: dict[str, str]) -> list[str]:
    """Give the packages whose program or file is not there."""
    return [package for program, package in wanted.items() if not _present(program)]


def ensure(*tables: dict[str, str]) -> None:
    """Install what is missing of the given tables."""
    packages = [package for table in tables for package in missing(table)]
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise MachineCannot(f"needs the packages {', '.join(packages)}, and there is no apt-get to install them with")
    with locked(paths.data_folder() / "packages.lock", "another run installs packages"):
        _install(packages)
    if still := [package for table in tables for package in missing(table)]:
        raise ClusterError(f"apt-get installed {', '.join(still)}, but what they should bring is not there")


def _install(packages: list[str]) -> None:
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with step(f"install Debian packages: {', '.join(packages)}"), _no_service_starts():
        install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
        try:
            run(install, env=quiet, timeout_s=900)
        except ClusterError:
            # Most often the package lists are missing (a container image) or old.
            run(["apt-get", "update", "--quiet"], env=quiet, timeout_s=600)
            run(install, env=quiet, timeout_s=900)


def _present(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program, path=_search_path()) is not None


def _search_path() -> str:
    # A plain user's PATH may lack the folders of system programs; root's own shells have them.
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@contextmanager
def _no_service_starts() -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\n# Put here by the local cluster of Longshore for one installation.\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
