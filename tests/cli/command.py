"""Runs the command line as people do, a process of its own, and waits for what it does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def until(condition: Callable[[], Any]) -> Any:
    """Wait until it holds; its value."""
    give_up_at = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < give_up_at, "the condition did not come true within 30 s"
        time.sleep(0.02)
    return value
