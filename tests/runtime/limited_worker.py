"""A worker process for test_limits_together.py: python limited_worker.py REDIS_URL LOG. Notes what its handlers do."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta

from longshore import App, Server
from longshore.runtime.timing import Timing

app = App()
log = open(sys.argv[2], "a", buffering=1)  # noqa: SIM115  # as long as the process lives


def note(what: str, name: str) -> None:
    log.write(f"{time.time():.6f} {what} {name}\n")


@app.task("rated", rate_limit="60/s")
async def rated(name: str) -> None:
    note("rated", name)


@app.task("narrow", max_concurrency=4)
async def narrow(name: str) -> None:
    note("begin", name)
    await asyncio.sleep(0.05)
    note("end", name)


@app.task("free")
async def free(name: str) -> None:
    note("free", name)


# Leases as long as Asynq's would make a test of what a kill leaves behind take minutes.
SHORT = Timing(
    lease=timedelta(seconds=3),
    heartbeat=timedelta(milliseconds=500),
    permit_grace=timedelta(seconds=1),
    skew=timedelta(seconds=2),
    recover=timedelta(milliseconds=500),
    silence=timedelta(seconds=2),
    announce=timedelta(milliseconds=500),
    forward=timedelta(milliseconds=500),
    lines=timedelta(seconds=1),
)

if __name__ == "__main__":
    asyncio.run(Server(app, redis=sys.argv[1], concurrency=10, timing=SHORT).serve())
