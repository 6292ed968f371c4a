"""Celery's no-op task. ``python celery_app.py N`` enqueues."""

import os
import sys

from celery import Celery
from counter import from_environment

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "100")),
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)
counter = from_environment()


@app.task(name="noop")
def noop(n: int) -> None:
    counter.count()


if __name__ == "__main__":
    with app.producer_pool.acquire() as producer:
        for n in range(int(sys.argv[1])):
            noop.apply_async((n,), producer=producer)
