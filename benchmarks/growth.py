"""What a task costs as the queue grows: one thousand to one million waiting.

    python benchmarks/growth.py [--tasks 20000] [--rounds 3]

Three costs, each at both sizes: running a task that is the next of a long queue (worker process and Redis), and
enqueueing one more (producer process and Redis), as processor time, because that depends little on what else the
machine does; and removing a task from a long `active` list, which is what a worker's acknowledgement does for each of
its tasks. Sizes alternate, and the median of the rounds counts.

The waiting tasks are copies that Redis makes of one, so that a million of them take seconds to prepare.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

import redis
from figures import Figure, table
from processes import processor_time_s, worker

from longshore import Client, Task
from longshore.protocol import codec
from longshore.testing import RedisServer, new_message

SMALL, LARGE = 1_000, 1_000_000
BAR = 1.2

# KEYS: pending; ARGV: from, to, prefix of the tasks' keys, msg before the id, msg after it
_FILL = """
for n = ARGV[1], ARGV[2] do
  local id = string.format("00000000-0000-4000-8000-%012d", n)
  redis.call("HSET", ARGV[3] .. id, "msg", ARGV[4] .. id .. ARGV[5], "state", "pending", "pending_since", "1")
  redis.call("LPUSH", KEYS[1], id)
end
"""


def main() -> None:
    """Measure, print a table, exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    figures = measure(arguments.tasks, arguments.rounds)
    print(table(figures))
    sys.exit(not all(figure.ok for figure in figures))


def measure(tasks: int = 20_000, rounds: int = 3) -> list[Figure]:
    """Processor time a task, running and enqueueing, with few and with many waiting."""
    costs: dict[tuple[str, int], list[float]] = {}
    with RedisServer() as server:
        for number in range(rounds):
            for waiting in (SMALL, LARGE) if number % 2 == 0 else (LARGE, SMALL):
                costs.setdefault(("enqueueing", waiting), []).append(enqueueing_us(server, waiting, tasks // 2))
                costs.setdefault(("running", waiting), []).append(running_us(server, waiting, tasks))
    figures = []
    for what in ("running", "enqueueing"):
        few, many = (statistics.median(costs[what, waiting]) for waiting in (SMALL, LARGE))
        figures.append(
            Figure(
                name=f"processor time of {what} a task, {SMALL:,} → {LARGE:,} waiting",
                bar="flat within 20 %",
                figure=f"{few:.0f} → {many:.0f} µs ({many / few - 1:+.0%})",
                ok=many <= few * BAR,
            )
        )
    return figures


def running_us(server: RedisServer, waiting: int, tasks: int) -> float:
    """Of a worker and Redis for each task, when never fewer than ``waiting`` wait behind."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
        fill(client, waiting + tasks + tasks // 5)
        process = worker("--redis", server.url, "--concurrency", "100")
        try:
            first = done(client, tasks // 5)
            before_s = processor_time_s(process.pid) + processor_time_s(server.pid or 0)
            last = done(client, first + tasks)
            spent_s = processor_time_s(process.pid) + processor_time_s(server.pid or 0) - before_s
        finally:
            process.kill()  # the rest of a million is not to be run
            process.wait(timeout=30)
    return spent_s / (last - first) * 1e6


def enqueueing_us(server: RedisServer, waiting: int, tasks: int) -> float:
    """Of the producer and Redis for each task."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
        fill(client, waiting)
    before_s = time.process_time() + processor_time_s(server.pid or 0)
    asyncio.run(enqueue(server.url, tasks))
    return (time.process_time() + processor_time_s(server.pid or 0) - before_s) / tasks * 1e6


async def enqueue(url: str, tasks: int) -> None:
    async with Client(url) as client:
        for start in range(0, tasks, 500):
            await client.enqueue_many([Task("bench:noop", {"n": n}) for n in range(start, min(start + 500, tasks))])


def fill(client: redis.Redis, count: int) -> None:
    """So many no-op tasks, waiting in the default queue."""
    mark = "00000000-0000-4000-8000-000000000000"  # as long as an id
    before, after = codec.encode_task(new_message("bench:noop", id=mark)).split(mark.encode())
    client.sadd("asynq:queues", "default")
    script = client.register_script(_FILL)
    for start in range(0, count, 20_000):
        last = min(start + 20_000, count) - 1
        script(keys=["asynq:{default}:pending"], args=[start, last, "asynq:{default}:t:", before, after])


def done(client: redis.Redis, count: int) -> int:
    """How many tasks were done, once at least ``count`` were."""
    while (processed := int(client.get("asynq:{default}:processed") or 0)) < count:
        time.sleep(0.002)
    return processed


if __name__ == "__main__":
    main()
