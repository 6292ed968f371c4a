"""Dramatiq's no-op task. ``python dramatiq_app.py N`` enqueues."""

import os
import sys

import dramatiq
from counter import from_environment
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS"]))
counter = from_environment()


@dramatiq.actor(actor_name="noop")
def noop(n: int) -> None:
    counter.count()


if __name__ == "__main__":
    for n in range(int(sys.argv[1])):
        noop.send(n)
