"""From a bare machine to an installed example: cluster, images, chart, manifests. Every step may be repeated."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.cluster import Cluster, run
from demo.errors import DemoError

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "shop"
CHART = REPOSITORY / "helm" / "longshore"
MANIFESTS = REPOSITORY / "dev" / "demo" / "manifests"

RELEASE = "longshore"
RELEASE_NAMESPACE = "longshore-system"
NAMESPACE = "shop"
PRODUCT_IMAGE = "longshore:dev"
# Dockerfile's folder, tag, build arguments: the workers, and a Redis for a cluster that can reach no registry.
IMAGES: tuple[tuple[Path, str, dict[str, str]], ...] = (
    (EXAMPLE, "shop:1.0", {"LONGSHORE_IMAGE": PRODUCT_IMAGE}),
    (EXAMPLE / "redis", "shop-redis:1.0", {}),
)


def data_folder() -> Path:
    """Where the local cluster keeps its files, and the demo its compiled producer."""
    return Path(os.environ.get("LONGSHORE_CLUSTER_DIR", REPOSITORY / ".cluster")).resolve()


async def local_cluster(*args: str | Path) -> None:
    """Run a command of the local cluster; it prints its own steps."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "localcluster", *(str(arg) for arg in args), cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "dev")},
    )  # fmt: skip
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    if code:
        raise DemoError(f"python -m localcluster {args[0]} failed, see above")


async def cluster_up() -> Cluster:
    """Bring the local cluster up, with the project's own image loaded."""
    await local_cluster("up")
    return Cluster(
        kubeconfig=data_folder() / "kubeconfig", kubectl_binary=_binary("kubectl"), helm_binary=_binary("helm")
    )


def _binary(name: str) -> Path:
    """Prefer the one that was compiled with the cluster; with kind there may only be the machine's own."""
    compiled = data_folder() / "bin" / name
    if compiled.exists():
        return compiled
    if found := shutil.which(name):
        return Path(found)
    raise DemoError(f"{name} is not installed")


async def build_images() -> None:
    """Build the example's images and load them into the cluster."""
    for folder, tag, build_args in IMAGES:
        words = [word for key, value in build_args.items() for word in ("--build-arg", f"{key}={value}")]
        await local_cluster("image", "--context", folder, "--tag", tag, *words)


async def build_producer() -> Path:
    """Compile the example's Go producer."""
    if not (go := shutil.which("go") or shutil.which("/usr/local/go/bin/go")):
        raise DemoError("the producer is a Go program, and go is not installed")
    binary = data_folder() / "demo" / "producer"
    binary.parent.mkdir(parents=True, exist_ok=True)
    await run(go, "build", "-C", EXAMPLE / "producer", "-p", "2", "-o", binary, ".", timeout_s=900)
    return binary


async def install_chart(cluster: Cluster) -> None:
    """Install the chart, or upgrade it, and wait until the operator is ready."""
    await restricted_namespace(cluster, RELEASE_NAMESPACE)
    await cluster.helm(
        "upgrade", "--install", RELEASE, CHART, "--namespace", RELEASE_NAMESPACE, "--wait", "--timeout=150s",
        "--set", "image.tag=dev",
        # The tag never changes, so a rebuilt image would otherwise not replace a running operator.
        "--set-string", f"podAnnotations.installed={int(time.time())}",
    )  # fmt: skip


async def apply_example(cluster: Cluster, namespace: str) -> None:
    """Apply the example to an empty namespace; what an earlier demo left there goes first."""
    await remove_example(cluster, namespace)
    await restricted_namespace(cluster, namespace)
    await cluster.kubectl("apply", "--namespace", namespace, "--kustomize", MANIFESTS)
    await cluster.kubectl("rollout", "status", "deployment/redis", "--namespace", namespace, "--timeout=90s")


async def remove_example(cluster: Cluster, namespace: str) -> None:
    """Delete the example's namespace and wait until it is gone."""
    await cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=90s")


async def restricted_namespace(cluster: Cluster, name: str) -> None:
    """Make a namespace in which the API server admits only pods of the `restricted` security standard."""
    manifest = f"""
        apiVersion: v1
        kind: Namespace
        metadata:
          name: {name}
          labels: {{pod-security.kubernetes.io/enforce: restricted}}
    """
    await cluster.kubectl("apply", "--filename", "-", stdin=manifest)


async def diagnose(cluster: Cluster, namespace: str) -> str:
    """Gather what a person would look at when the demo went wrong; never fails itself."""
    found = []
    for title, args in (
        ("objects", ("get", "longshore", "--all-namespaces")),
        ("pods", ("get", "pods", "--all-namespaces", "--output=wide")),
        ("events", ("get", "events", "--namespace", namespace, "--sort-by=.lastTimestamp")),
        ("operator", ("logs", f"deployment/{RELEASE}", "--namespace", RELEASE_NAMESPACE, "--tail=40")),
        ("scheduler", ("logs", "deployment/default-scheduler", "--namespace", namespace, "--tail=20")),
    ):
        try:
            text = await cluster.kubectl(*args, timeout_s=20)
        except DemoError as error:
            text = str(error)
        found.append(f"--- {title}\n" + "\n".join(text.strip().splitlines()[-40:]))
    return "\n".join(found)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print what begins, and how long it took."""
    print(f"· {title} …", flush=True)
    begun = time.monotonic()
    yield
    print(f"✓ {title} ({time.monotonic() - begun:.1f} s)", flush=True)
