"""Resident memory of an idle worker process, started as the command line starts it.

python benchmarks/memory.py [--workers 3] [--seconds 8]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from figures import Figure, table
from processes import resident_bytes, worker

from longshore.testing import RedisServer

BAR_MB = 60.0


def main() -> None:
    """Measure, print a table, exit 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    figure = measure(arguments.workers, arguments.seconds)
    print(table([figure]))
    sys.exit(not figure.ok)


def measure(workers: int = 3, seconds: float = 8.0) -> Figure:
    """The median of so many processes, some seconds after their start: past the first beats and duties."""
    with RedisServer() as server:
        started = [worker("--redis", server.url) for _ in range(workers)]
        try:
            time.sleep(seconds)
            resident = [resident_bytes(process.pid) / 1e6 for process in started]
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(timeout=30)
    median = statistics.median(resident)
    return Figure(
        name="resident memory of an idle worker process",
        bar=f"≤ {BAR_MB:g} MB",
        figure=f"{median:.1f} MB",
        ok=median <= BAR_MB,
    )


if __name__ == "__main__":
    main()
