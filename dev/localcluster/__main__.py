"""The command line: `PYTHONPATH=dev python -m localcluster …`, what the make targets call."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from localcluster import cluster, kind, machine, packages, paths
from localcluster import compile as components
from localcluster.errors import ClusterError, MachineCannot
from localcluster.steps import elapsed, say


def main() -> int:
    """Run one command; gives the exit code. A failure is its message and 1, not a traceback."""
    parser = argparse.ArgumentParser(prog="localcluster", description="A real Kubernetes on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the cluster up, with the product's image built and loaded")
    up.add_argument("--no-image", action="store_true", help="leave the product's image out")
    up.set_defaults(run=_up)
    commands.add_parser("down", help="remove the cluster; what was compiled stays").set_defaults(run=_down)
    commands.add_parser("status", help="say what runs").set_defaults(run=_status)
    commands.add_parser("kubeconfig", help="print the kubeconfig's path").set_defaults(run=_kubeconfig)
    build = commands.add_parser("build", help="compile the components; the first time takes minutes")
    build.add_argument("only", nargs="*", metavar="NAME", help=f"only these of {', '.join(components.BINARIES)}")
    build.set_defaults(run=_build)
    image = commands.add_parser("image", help="build an image, and load it if the cluster is up")
    image.add_argument("--file", type=Path, help="Dockerfile; default: the one in the context")
    image.add_argument("--context", type=Path, default=Path(), help="folder to build from; default: this one")
    image.add_argument("--tag", required=True, help="name, as in docker build --tag")
    image.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE", help="may be repeated")
    image.set_defaults(run=_image)
    install = commands.add_parser("install", help="install Debian packages without starting their services")
    install.add_argument("packages", nargs="+", metavar="PACKAGE")
    install.set_defaults(run=_install)
    check = commands.add_parser("check", help="say whether this machine can run a part; exit code 3 if not")
    check.add_argument("part", choices=["control-plane", "node"])
    check.set_defaults(run=_check)
    given = parser.parse_args()
    try:
        given.run(given)
    except MachineCannot as error:
        say(f"error: {error}")
        return 3
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


def _up(given: argparse.Namespace) -> None:
    begun = time.monotonic()
    with cluster.held():
        access = cluster.up(with_image=not given.no_image)
    say(
        f"""
The cluster is up ({elapsed(time.monotonic() - begun)}). To use it:
  export KUBECONFIG={access.kubeconfig} PATH={paths.binaries()}:$PATH
  kubectl get nodes
`make cluster-status` says what runs, `make cluster-down` removes it."""
    )


def _down(given: argparse.Namespace) -> None:
    with cluster.held():
        cluster.down()
    say("The cluster is down; what was compiled and built stays in the cache.")


def _status(given: argparse.Namespace) -> None:
    print("\n".join(cluster.status()))


def _kubeconfig(given: argparse.Namespace) -> None:
    print(paths.kubeconfig())


def _build(given: argparse.Namespace) -> None:
    if unknown := set(given.only) - set(components.BINARIES):
        raise ClusterError(f"no component {', '.join(sorted(unknown))}; one of: {', '.join(components.BINARIES)}")
    components.ensure(tuple(given.only) or components.EVERYTHING)


def _image(given: argparse.Namespace) -> None:
    pairs = [pair.partition("=") for pair in given.build_arg]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ClusterError(f"--build-arg {wrong[0]} has no value; write {wrong[0]}=VALUE")
    dockerfile = given.file or given.context / "Dockerfile"
    if not dockerfile.is_file():
        raise ClusterError(f"there is no {dockerfile}; name the Dockerfile with --file")
    cluster.image(dockerfile, given.context, given.tag, {key: value for key, _, value in pairs})


def _install(given: argparse.Namespace) -> None:
    packages.install(given.packages)


def _check(given: argparse.Namespace) -> None:
    if given.part == "control-plane":
        machine.require(machine.missing_for_control_plane())
    elif not kind.usable():
        machine.require(machine.missing_for_node())


if __name__ == "__main__":
    sys.exit(main())
