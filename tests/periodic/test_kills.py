"""The measurement of benchmarks/cron_kills.py, shorter: ticks go on, each once, while the scheduler is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_tick_becomes_exactly_one_task_while_the_scheduler_is_killed() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "cron_kills.py", "--minutes", "0.5", "--kills", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "worker")},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill 2" in done.stdout
    assert "every tick became exactly one task" in done.stdout
