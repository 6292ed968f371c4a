"""The application of the benchmarks."""

import asyncio
import os
import time
from pathlib import Path

import longshore

app = longshore.App()


@app.task("bench:noop")
async def noop(ctx: longshore.Context, payload: bytes) -> None:
    """Nothing, with what the Go server's handler is given: a context and the payload's bytes."""


@app.task("bench:stamp")
async def stamp(payload: bytes) -> None:
    """How long ago the time in the payload was, in nanoseconds, as a line of a file that the environment names."""
    note(time.time_ns() - int(payload))


def note(pickup_ns: int) -> None:
    with Path(os.environ["BENCH_PICKUPS"]).open("a") as pickups:
        print(pickup_ns, file=pickups)


@app.task("bench:hold")
async def hold(ctx: longshore.Context) -> None:
    """Say who runs it, then last as long as the header says."""
    write(ctx, "start")
    await asyncio.sleep(float(ctx.headers["seconds"]))
    write(ctx, "end")


def write(ctx: longshore.Context, event: str) -> None:
    """A line of the journal: event, task, process."""
    with Path(ctx.headers["journal"]).open("a") as journal:
        print(f"{event} {ctx.task_id} {os.getpid()}", file=journal)
