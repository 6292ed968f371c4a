"""Worker processes to measure, and what the system tells of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def worker(*options: str, app: str = "noop_app:app") -> subprocess.Popen[bytes]:
    """Start ``longshore worker`` as people do, with few words. The caller ends it."""
    command = [sys.executable, "-m", "longshore", "worker", app, "--log-level", "warning", *options]
    return subprocess.Popen(command, cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE.parent / "worker")})


def processor_time_s(pid: int) -> float:
    """What a process has used so far, of itself and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """The memory of a process that is resident now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
