"""A web service that answers first and works afterwards: it enqueues tasks and runs them, in one process.

uvicorn service:api
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

import longshore

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")

# -- the tasks ---------------------------------------------------------------------------------------------------------


class Report(BaseModel):
    customer: str = Field(min_length=1)
    rows: int = Field(gt=0, le=1000)


@dataclass
class Services:
    """What the handlers share; a real service would have its database here."""

    prices: dict[str, int]


tasks = longshore.App(retry=longshore.RetryPolicy(delay=2, max_delay=60, give_up_for=(KeyError,)))


@tasks.lifespan
async def services() -> AsyncIterator[Services]:
    yield Services(prices={"ada": 3, "grace": 5})


@tasks.task("report:make", queue="reports", max_retry=5, timeout=60, retention=3600, unique_for=60)
async def make_report(ctx: longshore.Context[Services], report: Report) -> dict[str, Any]:
    price = ctx.state.prices[report.customer]  # an unknown customer is a KeyError: no retry will help
    await asyncio.sleep(0.01 * report.rows)
    return {"customer": report.customer, "total": report.rows * price}


@tasks.on_error
async def tell_somebody(failed: longshore.FailedAttempt, decision: longshore.RetryDecision) -> None:
    print(f"{failed.type} {failed.task_id}: {failed.error!r}; {decision.action.value}")  # or to Sentry


# -- the web service ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def own_lifespan(api: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """The web service's own; it is entered before the tasks are run and left after the last has ended."""
    async with longshore.Inspector(REDIS) as inspector:
        yield {"inspector": inspector}


api = FastAPI(
    lifespan=longshore.lifespan(
        tasks, redis=REDIS, inner=own_lifespan, queues={"reports": 1}, concurrency=50, shutdown_timeout=20
    )
)


def _client(request: Request) -> longshore.Client:
    client: longshore.Client = request.state.longshore
    return client


Tasks = Annotated[longshore.Client, Depends(_client)]


@api.post("/reports", status_code=202)
async def order_report(report: Report, client: Tasks) -> dict[str, str]:
    try:
        task = await client.enqueue("report:make", report)
    except longshore.DuplicateTask:
        raise HTTPException(409, "this report is being made") from None
    except longshore.BrokerUnavailable:
        raise HTTPException(503, "try again later") from None
    return {"id": task.id}


@api.get("/reports/{report_id}")
async def look_at_report(report_id: str, request: Request) -> dict[str, Any]:
    try:
        task = await request.state.inspector.task("reports", report_id)
    except longshore.NotFound:
        raise HTTPException(404, "no such report, or it was made long ago") from None
    answer: dict[str, Any] = {"state": task.state.value}
    if task.result is not None:
        answer["result"] = json.loads(task.result)
    if task.message.error:
        answer["error"] = task.message.error
    return answer
