"""Record the load of a queue, for the simulation: once a second, until interrupted or for --seconds.

    python benchmarks/simulation/record.py --redis redis://localhost:6379/0 --queue mail --about "the shop's e-mails" \
        --seconds 900 >benchmarks/simulation/recorded/shop.csv

How many tasks came is what the queue grew by plus what was processed; how long one takes is, by Little's law, the
number of those that run over the number that end in a second, on average over the last half minute. Only reads.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
from collections import deque
from datetime import UTC, datetime

from longshore import Inspector

SMOOTHED_OVER_S = 30


async def record(redis: str, queue: str, seconds: int) -> None:
    """Write a line a second to standard output."""
    lines = csv.writer(sys.stdout)
    lines.writerow(("second", "enqueued", "seconds_a_task"))
    active: deque[int] = deque(maxlen=SMOOTHED_OVER_S)
    ended: deque[int] = deque(maxlen=SMOOTHED_OVER_S)
    before: tuple[int, int] | None = None
    async with Inspector(redis) as inspector:
        for second in range(seconds):
            found = (await inspector.snapshot([queue], now=datetime.now(UTC))).queues[queue]
            processed = found.processed_today
            there = found.pending + found.active + found.scheduled + found.retry + found.aggregating
            if before is not None:
                active.append(found.active)
                ended.append(max(0, processed - before[1]))
                took = sum(active) / sum(ended) if sum(ended) and sum(active) else 1.0
                lines.writerow((second, max(0, there - before[0] + ended[-1]), f"{took:.3f}"))
                sys.stdout.flush()
            before = there, processed
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
