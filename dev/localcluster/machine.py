"""What this machine can do, asked before anything is started.

Each question answers None, or the one line that says what is missing. A part that cannot run here is skipped by tests
with that line; in CI the same line is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from localcluster.errors import MachineCannot

# The oldest Go that the pinned Kubernetes accepts.
GO_AT_LEAST = (1, 24)


def missing_for_control_plane() -> str | None:
    """Say what keeps this machine from running etcd and the API server; None when nothing does."""
    if sys.platform != "linux":
        return f"the local control plane needs Linux, this is {sys.platform}"
    if (missing := _missing_go()) is not None:
        return missing
    for program, package in (("openssl", "openssl"), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            return f"the local control plane needs {program} (Debian package {package})"
    return None


def missing_for_node() -> str | None:
    """Say what keeps this machine from running pods; None when nothing does."""
    if os.geteuid() != 0:
        return "a local node needs root: run this as root"
    if (missing := missing_for_control_plane()) is not None:
        return missing
    if shutil.which("apt-get") is None and shutil.which("containerd") is None:
        return "a local node needs containerd, and there is no apt-get to install it with"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "true"], capture_output=True, text=True
    )
    if tried.returncode != 0:
        return f"a local node needs its own namespaces, and this machine refuses them: {tried.stderr.strip()}"
    return None


def require(missing: str | None) -> None:
    """Raise MachineCannot when something is missing."""
    if missing is not None:
        raise MachineCannot(missing)


def _missing_go() -> str | None:
    wanted = ".".join(map(str, GO_AT_LEAST))
    go = shutil.which("go")
    if go is None:
        return f"the local control plane is compiled with Go, and there is no go on the PATH (needs {wanted} or later)"
    words = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True).stdout.strip()
    numbers = words.removeprefix("go").split(".")[:2]
    if not all(number.isdigit() for number in numbers) or tuple(map(int, numbers)) < GO_AT_LEAST:
        found = words or "of unknown version"
        return f"the local control plane is compiled with Go {wanted} or later, and this is {found}"
    return None
