"""The command line of the demo, what `make demo` and `make demo-down` call."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from rich.console import Console

from demo import installation
from demo.cluster import Cluster
from demo.display import display, summary
from demo.errors import DemoError
from demo.installation import step
from demo.story import Stage, play
from demo.verdict import judge


def main() -> int:
    """Run the demo; 0 only if every check of its summary passed."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "down"], default="run")
    parser.add_argument("--count", type=int, default=2000, help="tasks that the Go client enqueues (default: 2000)")
    parser.add_argument("--plain", action="store_true", help="a line every few seconds instead of the live view")
    given = parser.parse_args()
    if given.count < 1:
        parser.error("--count must be at least 1")
    try:
        if given.command == "down":
            asyncio.run(installation.local_cluster("down"))
            return 0
        return asyncio.run(_demo(given.count, plain=given.plain))
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; `make demo-down` removes what was made", file=sys.stderr)
        return 130


async def _demo(count: int, *, plain: bool) -> int:
    begun = time.monotonic()
    cluster = await installation.cluster_up()
    try:
        return await _on(cluster, count, plain=plain, begun=begun)
    except DemoError:
        print(await installation.diagnose(cluster, installation.NAMESPACE), file=sys.stderr)
        raise


async def _on(cluster: Cluster, count: int, *, plain: bool, begun: float) -> int:
    with step("build the example's images"):
        await installation.build_images()
    with step("compile the Go producer"):
        producer = await installation.build_producer()
    with step("install the chart"):
        await installation.install_chart(cluster)
    with step("apply the example"):
        await installation.apply_example(cluster, installation.NAMESPACE)
    with display(plain=plain) as show:
        stage = Stage(cluster=cluster, namespace=installation.NAMESPACE, producer=producer, count=count)
        evidence = await play(stage, show)
    checks = judge(evidence)
    # A file has no width; what is printed into it shall still be a table.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print()
    console.print(summary(checks))
    passed = all(check.passed for check in checks)
    console.print()
    print(await cluster.kubectl("get", "longshore", "--namespace", installation.NAMESPACE))
    print(
        f"{'All of it is true' if passed else 'NOT all of it is true'}; {time.monotonic() - begun:.0f} s in all. "
        f"The cluster stays up:\n\n  {_shell(cluster)} get longshore --namespace {installation.NAMESPACE}\n"
        "  make demo-down      removes everything"
    )
    return 0 if passed else 1


def _shell(cluster: Cluster) -> str:
    """Write the words that reach the cluster from the current folder."""
    here = Path.cwd()
    kubectl, kubeconfig = (
        path.relative_to(here) if path.is_relative_to(here) else path
        for path in (cluster.kubectl_binary, cluster.kubeconfig)
    )
    return f"{kubectl} --kubeconfig {kubeconfig}"


if __name__ == "__main__":
    sys.exit(main())
