"""Starting, remembering and stopping exactly our own processes.

A started process is remembered in a small file with its pid *and* the moment it started, because pids come round again:
a process is only ever signalled when both still agree. It begins when that file is written, and not at all if whoever
starts it is killed before: so there is none that nobody remembers. Each one gets its own session, so Ctrl-C in a
terminal does not reach it.

A process may be *tied* to its owner: then the kernel kills it when the owner dies, however the owner dies. Tests tie
everything; `make cluster` ties nothing, because the cluster must outlive the command. The kernel ties to the thread
that starts the process, so tied processes must be started from the owner's main thread.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from localcluster.errors import ClusterError

# What a child waits for on its standard input; the end of input means that nobody is there to say it.
_BEGIN = b"begin\n"
_WHEN_TOLD = 'read -r begin && exec "$@" </dev/null'
# An owner that died before the kernel was asked to watch it is not noticed any more: then the process does not begin.
_UNLESS_ORPHANED = f'test "$PPID" = "$0" && {_WHEN_TOLD}'

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of ours, as remembered on disk."""

    name: str  # what it is, and the stem of its pid and log files
    pid: int
    started: int  # clock ticks since boot, field 22 of /proc/PID/stat
    boot: str  # the boot these ticks count from

    def running(self) -> bool:
        """Say whether this very process still runs. A zombie does not: it holds nothing but its exit code."""
        if self.boot != _boot_id():
            return False
        try:
            fields = _stat(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        # A killed process is a zombie as soon as its first thread ends, while others may still hold its ports.
        ended = fields.state in "ZX" and fields.threads <= 1
        return fields.started == self.started and not ended

    def stop(self, *, grace_s: float) -> None:
        """Ask it to end, and after `grace_s` seconds end it. Returns once it is gone; harmless when it already was."""
        self._signal(signal.SIGTERM if grace_s > 0 else signal.SIGKILL)
        killed_at = time.monotonic() + grace_s
        while self.running():
            self._reap()
            if time.monotonic() > killed_at:
                self._signal(signal.SIGKILL)
            time.sleep(0.02)
        self._reap()

    def _signal(self, number: signal.Signals) -> None:
        if self.running():
            with suppress(ProcessLookupError):
                if number == signal.SIGKILL and os.getpgid(self.pid) == self.pid:
                    # A killed process cannot end its own children, so its whole group goes.
                    os.killpg(self.pid, number)
                else:
                    os.kill(self.pid, number)

    def _reap(self) -> None:
        # Only our own children can be reaped; others have another parent that does it.
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)


class ProcessFolder:
    """The processes of one cluster: `pids/NAME.json` and `logs/NAME.log` under its folder."""

    def __init__(self, folder: Path) -> None:
        self._pids = folder / "pids"
        self._logs = folder / "logs"

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def start(self, name: str, argv: Sequence[str | Path], *, tied: bool) -> Process:
        """Start a process with its output in its log file, and remember it."""
        self._pids.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        words = [str(word) for word in argv]
        if shutil.which(words[0]) is None:
            raise ClusterError(f"{words[0]} is not installed (needed for {name})")
        gate = ["sh", "-c", _WHEN_TOLD, "sh"]
        if tied:
            gate = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _UNLESS_ORPHANED, str(os.getpid())]
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                [*gate, *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _disown(child)
        assert child.stdin is not None
        with suppress(BrokenPipeError), child.stdin:
            process = self.adopt(name, child.pid)
            child.stdin.write(_BEGIN)
        return process

    def adopt(self, name: str, pid: int) -> Process:
        """Remember a process that one of ours started."""
        process = Process(name=name, pid=pid, started=_stat(pid).started, boot=_boot_id())
        (self._pids / f"{name}.json").write_text(json.dumps(asdict(process)))
        return process

    def all(self) -> list[Process]:
        """Give the remembered processes, oldest first, running or not."""
        records = sorted(self._pids.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        processes = []
        for record in records:
            try:
                processes.append(Process(**json.loads(record.read_text())))
            except (ValueError, TypeError):
                continue  # Written half when its owner was killed; a tied process is gone with that owner.
        return processes

    def stop_all(self, *, grace_s: float) -> None:
        """Stop what was started last first, and forget it."""
        for process in reversed(self.all()):
            process.stop(grace_s=grace_s)
            (self._pids / f"{process.name}.json").unlink(missing_ok=True)

    def explain(self, name: str, lines: int = 15) -> str:
        """Give the end of a log, for an error message."""
        log = self.log(name)
        if not log.exists():
            return f"{name} wrote no log"
        tail = log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"the end of {log}:", *tail])


def _disown(child: subprocess.Popen[bytes]) -> None:
    # The process is followed by its record, not by this object; without this, Python warns when the object goes.
    child.returncode = 0


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()


@dataclass(frozen=True, kw_only=True)
class _Stat:
    """What we read of /proc/PID/stat."""

    state: str  # one letter
    parent: int  # pid
    threads: int
    started: int  # clock ticks since boot


def _stat(pid: int) -> _Stat:
    # The second field is the program's name in parentheses and may hold spaces and parentheses itself.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return _Stat(state=fields[0], parent=int(fields[1]), threads=int(fields[17]), started=int(fields[19]))


def children_of(pid: int) -> list[int]:
    """Give the pids whose parent is `pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):
            if _stat(int(entry.name)).parent == pid:
                found.append(int(entry.name))
    return found
