"""Record the load of a queue, for the simulation: once a second, until interrupted or for --seconds.

    python benchmarks/simulation/record.py --redis redis://localhost:6379/0 --queue mail --about "the shop's e-mails" \
        --seconds 900 >benchmarks/simulation/recorded/shop.csv

How many tasks came is what the queue grew by plus what was processed. How long one takes follows by Little's law from
how many run and how many end, so it is a mean over the whole record. Only reads.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
from datetime import UTC, datetime

from longshore import Inspector


async def record(redis: str, queue: str, seconds: int) -> None:
    """Write a line a second to standard output: what came since the last, what runs, what ended since the last."""
    lines = csv.writer(sys.stdout)
    lines.writerow(("second", "enqueued", "running", "ended"))
    before: tuple[int, int] | None = None
    async with Inspector(redis) as inspector:
        for second in range(seconds):
            found = (await inspector.snapshot([queue], now=datetime.now(UTC))).queues[queue]
            there = found.pending + found.active + found.scheduled + found.retry + found.aggregating
            if before is not None:
                ended = max(0, found.processed_today - before[1])
                lines.writerow((second, max(0, there - before[0] + ended), found.active, ended))
                sys.stdout.flush()
            before = there, found.processed_today
            await asyncio.sleep(1.0)


def main() -> None:
    """Take the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--about", required=True, help="one line: whose load it is; the first line of the file")
    parser.add_argument("--seconds", type=int, default=900)
    arguments = parser.parse_args()
    sys.stdout.write(f"# {arguments.about}\n")
    asyncio.run(record(arguments.redis, arguments.queue, arguments.seconds))


if __name__ == "__main__":
    main()
