"""The application of the benchmarks."""

import asyncio
import os
from pathlib import Path

import longshore

app = longshore.App()


@app.task("bench:noop")
async def noop(payload: dict[str, int]) -> None:
    """Nothing."""


@app.task("bench:hold")
async def hold(ctx: longshore.Context) -> None:
    """Say who runs it, then last as long as the header says."""
    with Path(ctx.headers["journal"]).open("a") as journal:
        print(f"start {ctx.task_id} {os.getpid()}", file=journal)
    await asyncio.sleep(float(ctx.headers["seconds"]))
    with Path(ctx.headers["journal"]).open("a") as journal:
        print(f"end {ctx.task_id} {os.getpid()}", file=journal)
