"""Debian packages, installed when missing and never started.

Debian starts a service when it installs one. Ours must not: the node runs its own containerd, in its own namespaces,
and tests start their own Redis. So a policy that says no is put in place for the length of the installation, unless the
machine has its own already.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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

# Locked meanwhile: the whole machine has one, so two checkouts take turns with the policy too.
_DATABASE = Path("/var/lib/dpkg")

_POLICY = Path("/usr/sbin/policy-rc.d")
_OURS = "# Put here by the local cluster of Longshore for one installation.\n"


def missing(wanted: dict[str, str]) -> list[str]:
    """Give the packages whose program or file is not there."""
    return [package for program, package in wanted.items() if not _present(program)]


def ensure(*tables: dict[str, str]) -> None:
    """Install what is missing of the given tables. Raises MachineCannot where that cannot be done."""
    if not (packages := [package for table in tables for package in missing(table)]):
        return
    install(packages)
    if still := [package for table in tables for package in missing(table)]:
        raise ClusterError(f"apt-get installed {', '.join(still)}, but what they should bring is not there")


def install(packages: list[str]) -> None:
    """Install packages. Raises MachineCannot without root or apt-get."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise MachineCannot(f"needs {', '.join(packages)}: install it, or run this as root where there is apt-get")
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    # An installation by somebody else is waited for.
    apt_get = ["apt-get", "--yes", "--quiet", "--option=DPkg::Lock::Timeout=300"]
    command = [*apt_get, "install", "--no-install-recommends", *packages]
    with (
        locked(_DATABASE, "another run installs packages"),
        step(f"install Debian packages: {', '.join(packages)}"),
        _no_service_starts(),
    ):
        try:
            run(command, env=quiet, timeout_s=900)
        except ClusterError:
            # Most often the package lists are missing (a container image) or old.
            run([*apt_get, "update"], env=quiet, timeout_s=600)
            run(command, env=quiet, timeout_s=900)


def _present(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program, path=_search_path()) is not None


def _search_path() -> str:
    # A plain user's PATH may lack the folders of system programs; root's own shells have them.
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@contextmanager
def _no_service_starts() -> Iterator[None]:
    if _POLICY.exists() and _OURS not in _POLICY.read_text():
        yield
        return
    # Ours may be there already, left by a run that was killed.
    _POLICY.write_text(f"#!/bin/sh\n{_OURS}exit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
