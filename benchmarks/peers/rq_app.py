"""RQ's no-op task. ``python rq_app.py N`` enqueues."""

import os
import sys

from counter import from_environment
from redis import Redis
from rq import Queue

counter = from_environment()


def noop(n: int) -> None:
    counter.count()


if __name__ == "__main__":
    import rq_app  # the task's function by the name that workers find it under

    queue = Queue("default", connection=Redis.from_url(os.environ["BENCH_REDIS"]))
    jobs = [Queue.prepare_data(rq_app.noop, (n,), result_ttl=0) for n in range(int(sys.argv[1]))]
    for start in range(0, len(jobs), 1000):
        queue.enqueue_many(jobs[start : start + 1000])
