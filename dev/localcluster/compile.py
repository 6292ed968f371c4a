"""The components, compiled once from the pinned Go module in `dev/kubernetes/`.

Each binary is kept in the cache under a key of everything that decides it: the module's files, the compiler and the
flags. Two callers never compile the same thing at once: the second waits for the first and finds it done.
"""

from __future__ import annotations

import hashlib
import os
import re
import selectors
import subprocess
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from localcluster import machine, paths
from localcluster.errors import ClusterError
from localcluster.locks import locked
from localcluster.steps import elapsed, say, step

MODULE = paths.REPOSITORY / "dev" / "kubernetes"

# How often to say how far the compile is, in seconds.
_PROGRESS_EVERY_S = 10


@dataclass(frozen=True, kw_only=True)
class Binary:
    """One binary to compile."""

    package: str  # Go package, relative to the module or by its full path
    names: tuple[str, ...]  # the names it is called by, as links in the bin folder
    stamped: bool = False  # carries Kubernetes' version; without one, clients cannot parse what the server reports


# In the order in which they are wanted: the control plane first, so that its tests can start while the rest compiles.
BINARIES = {
    "kube": Binary(
        package="./kube",
        names=(
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubelet",
            "kubectl",
        ),
        stamped=True,
    ),
    "etcd": Binary(package="go.etcd.io/etcd/server/v3", names=("etcd",)),
    "pause": Binary(package="./pause", names=("pause",)),
    "coredns": Binary(package="./coredns", names=("coredns",)),
    "helm": Binary(package="helm.sh/helm/v3/cmd/helm", names=("helm",)),
}
CONTROL_PLANE = ("kube", "etcd")
EVERYTHING = tuple(BINARIES)


def kubernetes_version() -> str:
    """Give the pinned version, such as v1.34.4."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError(f"{MODULE / 'go.mod'} requires no k8s.io/kubernetes")
    return found[1]


def ensure(names: tuple[str, ...]) -> Path:
    """Compile what is not compiled yet of the named binaries, and give the folder that holds them under their names.

    The first time takes minutes; afterwards it only looks. Raises MachineCannot without Go, ClusterError when the
    compiler fails.
    """
    folder = paths.cache() / "bin" / _key()
    if any(not (folder / name).exists() for name in names):
        machine.require(machine.missing_for_control_plane())
        with locked(paths.cache() / "compile.lock", "another run compiles the components"):
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                if not (folder / name).exists():
                    _compile(name, folder)
    _link(folder, names)
    return paths.binaries()


def _key() -> str:
    digest = hashlib.sha256()
    for file in sorted([MODULE / "go.mod", MODULE / "go.sum", *MODULE.rglob("*.go")]):
        digest.update(str(file.relative_to(MODULE)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _link(folder: Path, names: tuple[str, ...]) -> None:
    paths.binaries().mkdir(parents=True, exist_ok=True)
    for name in names:
        for called in BINARIES[name].names:
            link = paths.binaries() / called
            target = os.path.relpath(folder / name, paths.binaries())
            if link.is_symlink() and os.readlink(link) == target:
                continue
            # Replaced in one move: somebody else may be calling it right now.
            fresh = paths.binaries() / f".{called}.{os.getpid()}"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target)
            fresh.replace(link)


def _compile(name: str, folder: Path) -> None:
    binary = BINARIES[name]
    flags = "-s -w"
    if binary.stamped:
        version = kubernetes_version()
        major, minor, _ = version.removeprefix("v").split(".", 2)
        stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
        flags += "".join(f" -X k8s.io/component-base/version.{field}={value}" for field, value in stamps.items())
    with step(f"compile {name} ({binary.package})"):
        go = ["go", "-C", str(MODULE)]
        total = len(_run_go(name, [*go, "list", "-deps", binary.package], 0))
        unfinished = folder / f".{name}.unfinished"
        build = ["build", "-v", "-trimpath", "-p", "2", "-ldflags", flags, "-o", str(unfinished), binary.package]
        _run_go(name, [*go, *build], total)
        unfinished.replace(folder / name)


def _run_go(name: str, argv: list[str], total: int) -> list[str]:
    """Run the Go command, say every few seconds how far it is, and give the lines of its standard output.

    On standard error Go names each module it downloads and, told to, each of the `total` packages it compiles.
    """
    begun = said = time.monotonic()
    complaints: deque[str] = deque(maxlen=20)
    compiled = downloaded = 0
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            env={**os.environ, "CGO_ENABLED": "0"},
        ) as go,
        selectors.DefaultSelector() as selector,
    ):
        assert go.stderr is not None
        selector.register(go.stderr, selectors.EVENT_READ)
        open_end = b""
        try:
            while True:
                if selector.select(timeout=1.0):
                    chunk = os.read(go.stderr.fileno(), 65536)
                    if not chunk:
                        break
                    *lines, open_end = (open_end + chunk).split(b"\n")
                    complaints += [line.decode(errors="replace") for line in lines]
                    fetched = sum(line.startswith(b"go: downloading") for line in lines)
                    downloaded += fetched
                    compiled += len(lines) - fetched
                if time.monotonic() - said >= _PROGRESS_EVERY_S:
                    said = time.monotonic()
                    say(f"  {name}: {_progress(compiled, total, downloaded)}, {elapsed(said - begun)}")
        except BaseException:
            go.terminate()
            raise
        if go.wait() != 0:
            raise ClusterError(f"compiling {name} failed:\n" + "\n".join(complaints))
        output.seek(0)
        return output.read().splitlines()


def _progress(compiled: int, total: int, downloaded: int) -> str:
    if compiled:
        return f"{compiled} of at most {total} packages compiled"
    if downloaded:
        return f"{downloaded} modules downloaded"
    return "nothing to compile, reading the build cache and linking" if total else "reading the modules"
