"""Runs the command line as people do: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WORKER_ROOT = Path(__file__).parents[2] / "worker"


def environment(**variables: str) -> dict[str, str]:
    """The test's environment without our variables, and these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGSHORE_")}
    return kept | {"PYTHONPATH": str(WORKER_ROOT)} | variables


def longshore(*arguments: str, cwd: Path, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[str]:
    """The finished command."""
    done = subprocess.run(
        [sys.executable, "-m", "longshore", *arguments],
        cwd=cwd,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
