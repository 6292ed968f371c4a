"""Worker processes to measure, and what the system tells of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def worker(*options: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start ``longshore worker`` as people do, with few words. The caller ends it."""
    command = [sys.executable, "-m", "longshore", "worker", "noop_app:app", "--log-level", "warning", *options]
    paths = {"PYTHONPATH": str(HERE.parent / "worker")}
    return subprocess.Popen(command, cwd=HERE, env={**os.environ, **paths, **environment})


def go_program(package: str, directory: Path) -> Path:
    """Build one of the Go programs beside this file into a directory."""
    target = directory / (Path(package).name or "server")
    subprocess.run(["go", "build", "-o", str(target), f"./{package}"], cwd=HERE / "go", check=True)
    return target


def processor_time_s(pid: int) -> float:
    """What a process has used so far, of itself and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """The memory of a process that is resident now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
