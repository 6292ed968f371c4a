"""A machine within the machine: the namespaces in which the node runs.

What runs inside has its own process ids, mounts, network and host name, and its own /run, /var/lib and /var/log. So
containerd, the kubelet and kube-proxy may use their default places, write iptables rules and mount what they like: this
machine sees none of it. What the kubelet sets for the whole kernel is covered up, so that it cannot. And when the first
process inside ends, the kernel ends all others and takes mounts, bridge, rules and network along. That makes ending a
node, also one whose owner was killed, a single signal.

A pair of virtual network interfaces joins it to this machine; nothing leads further.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster.commands import run
from localcluster.errors import ClusterError
from localcluster.network import Network
from localcluster.processes import Process, ProcessFolder, children_of

# Hidden by mounts of the sandbox's own, so the data folder cannot lie in them.
_OWN = ("/run", "/var/lib", "/var/log", "/proc")

# Settings of the whole kernel that the kubelet insists on, below /proc/sys, with the values that it wants. Inside, a
# file with that value lies over each: the kubelet finds nothing to change, and this machine keeps its own.
TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}

# $1 the node's folder, $2 its name. An ignored SIGCHLD is inherited by `sleep`, and with it the kernel reaps the
# orphans that the first process of a namespace gets.
_FIRST_PROCESS = """
set -e
mount --make-rshared /
mount --types tmpfs --options mode=0755 tmpfs /run
mount --bind "$1/lib" /var/lib
mount --bind "$1/log" /var/log
(cd "$1/tunables" && find . -type f) | while read -r tunable; do
    mount --bind "$1/tunables/$tunable" "/proc/sys/$tunable"
done
hostname "$2"
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
# Packets between pods on the bridge pass by the Services' rules too, where the kernel can do that.
bridged=/proc/sys/net/bridge/bridge-nf-call-iptables
if [ -e $bridged ]; then echo 1 >$bridged; fi
: > "$1/sandbox-ready"
trap '' CHLD
exec sleep infinity
"""


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A running sandbox."""

    init: Process  # the first process inside, with its pid on this machine
    network: Network

    def inside(self, argv: Sequence[str | Path]) -> list[str | Path]:
        """Give the command line that runs a program inside."""
        joined = ("--mount", "--net", "--pid", "--uts", "--ipc")
        return ["nsenter", f"--target={self.init.pid}", *joined, "--", *argv]


def identity(folder: Path) -> str:
    """Give the short name that one data folder's node has among the machine's interfaces and control groups."""
    return "lsh" + hashlib.sha256(str(folder).encode()).hexdigest()[:8]


def start(folder: Path, processes: ProcessFolder, network: Network, *, host_name: str, tied: bool) -> Sandbox:
    """Make the namespaces and join their network to this machine's."""
    if any(folder.is_relative_to(own) for own in _OWN):
        raise ClusterError(
            f"LONGSHORE_CLUSTER_DIR lies under one of {', '.join(_OWN)}, where the node has its own folders"
        )
    ready = folder / "sandbox-ready"
    for own in ("lib", "log"):
        (folder / own).mkdir(parents=True, exist_ok=True)
    for tunable, value in TUNABLES.items():
        file = folder / "tunables" / tunable
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    private = ("--mount", "--propagation=private", "--net", "--pid", "--uts", "--ipc", "--fork", "--mount-proc")
    outer = processes.start(
        "sandbox",
        ["unshare", *private, "--kill-child=KILL", "sh", "-c", _FIRST_PROCESS, "sh", folder, host_name],
        tied=tied,
    )
    deadline = time.monotonic() + 30
    while not ready.exists():
        if not outer.running() or time.monotonic() > deadline:
            raise ClusterError(f"the node's namespaces could not be made; {processes.explain('sandbox')}")
        time.sleep(0.02)
    (first,) = children_of(outer.pid)
    sandbox = Sandbox(init=processes.adopt("sandbox-init", first), network=network)
    _join(sandbox, identity(folder))
    return sandbox


def _join(sandbox: Sandbox, interface: str) -> None:
    network = sandbox.network
    prefix = network.link.prefixlen
    pid = str(sandbox.init.pid)
    run(["ip", "link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", pid])
    run(["ip", "address", "add", f"{network.gateway}/{prefix}", "dev", interface])
    run(["ip", "link", "set", interface, "up"])
    run(sandbox.inside(["ip", "address", "add", f"{network.node}/{prefix}", "dev", "eth0"]))
    run(sandbox.inside(["ip", "link", "set", "eth0", "up"]))
    # This machine may forward packets for others; the node's shall go no further than to it. A Service's address needs
    # some route before kube-proxy's rules turn it into a pod's.
    run(sandbox.inside(["ip", "route", "add", "unreachable", "default"]))
    run(sandbox.inside(["ip", "route", "add", str(network.services), "dev", "eth0"]))
    for reachable in (network.pods, network.services):
        run(["ip", "route", "add", str(reachable), "via", str(network.node), "dev", interface])


def remove_interface(folder: Path) -> None:
    """Remove this machine's end of the pair, if a sandbox that just ended left it for a moment longer."""
    interface = identity(folder)
    if Path("/sys/class/net", interface).exists():
        try:
            run(["ip", "link", "delete", interface])
        except ClusterError:
            # The kernel was faster.
            if Path("/sys/class/net", interface).exists():
                raise
