"""The control groups of the node's pods: one subtree with our own name in every hierarchy of the machine.

Both versions are served: with cgroup v1 each controller is a hierarchy of its own, with v2 there is one. Control groups
outlive processes and namespaces, so they are the one thing of the node that must be removed by hand.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from localcluster.errors import ClusterError

_ROOT = Path("/sys/fs/cgroup")
# What a pod's limits and the kubelet's own accounting need of cgroup v2.
_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")


def create(name: str) -> None:
    """Make the subtree in every hierarchy; harmless where it is there."""
    for hierarchy, version in _hierarchies():
        group = hierarchy / name
        if version == "cgroup2":
            for controller in _CONTROLLERS:
                # A controller that is absent or still claimed by a v1 hierarchy cannot be handed down.
                with suppress(OSError):
                    (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # A fresh v1 cpuset allows no processor at all.
            if version == "cgroup" and (group / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def remove(name: str, within_s: float = 20) -> None:
    """End what still runs in the subtree and remove it from every hierarchy; harmless where it is not there."""
    deadline = time.monotonic() + within_s
    for hierarchy, _ in _hierarchies():
        group = hierarchy / name
        while group.exists():
            _empty(group)
            if group.exists() and time.monotonic() > deadline:
                raise ClusterError(f"the control group {group} could not be removed: something in it does not end")
            time.sleep(0.05)


def _empty(group: Path) -> None:
    # Deepest first: only an empty group can be removed.
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            for pid in (Path(folder) / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):
            os.rmdir(folder)


def _hierarchies() -> list[tuple[Path, str]]:
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mount_point, kind = before.split()[4], after.split()[0]
        if kind in {"cgroup", "cgroup2"} and Path(mount_point).is_relative_to(_ROOT):
            found.append((Path(mount_point), kind))
    return found
