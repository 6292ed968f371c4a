"""Control planes of test sessions: each in a folder of its own, swept away when its owner is gone.

A session holds a lock on its folder for as long as it lives. The lock ends with the session, so a folder whose lock is
free belongs to nobody: whoever comes next stops what is left of it and removes it.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster import audit, control_plane, machine, paths
from localcluster import compile as components
from localcluster.access import Access
from localcluster.locks import FileLock
from localcluster.processes import ProcessFolder


@contextmanager
def control_plane_instance() -> Iterator[Access]:
    """Run a control plane for the length of a block; it ends with this process in any case.

    Raises MachineCannot when this machine cannot. Call it from the main thread (see `processes`).
    """
    machine.require(machine.missing_for_control_plane())
    binaries = components.ensure(components.CONTROL_PLANE)
    sweep()
    folder = paths.control_planes() / secrets.token_hex(4)
    lock = FileLock(folder.with_suffix(".lock"))
    lock.acquire("the folder of a new control plane")
    try:
        folder.mkdir()
        plane = control_plane.start(folder, binaries, control_plane.loopback(), tied=True)
        yield Access(kubeconfig=plane.admin, audit_log=plane.audit_log, folder=folder)
    finally:
        audit.leave_summary(folder)
        _remove(folder)
        lock.release()


def sweep() -> int:
    """Remove what sessions that died left behind; gives how many there were."""
    swept = 0
    for lock_file in sorted(paths.control_planes().glob("*.lock")):
        lock = FileLock(lock_file)
        if lock.try_acquire():
            _remove(lock_file.with_suffix(""))
            lock.release()
            swept += 1
    return swept


def _remove(folder: Path) -> None:
    # The lock file goes first while it is still held, so no other sweep takes it up between.
    ProcessFolder(folder).stop_all(grace_s=0)
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".lock").unlink(missing_ok=True)
