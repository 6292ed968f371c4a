"""Async handlers that block the event loop, though they should not: what is done about it, and what is said."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from datetime import timedelta

import pytest
import redis

from longshore import App, Client, Task
from longshore.protocol import keys
from runtime.harness import counters, quick, serving, until


async def test_leases_are_extended_between_handlers_that_block_one_after_the_other(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight taken together block for longer than a lease in all, none of them for a third of it."""
    app = App()
    ran: Counter[int] = Counter()

    @app.task("block")
    async def block(payload: int) -> None:
        ran[payload] += 1
        time.sleep(0.6)  # noqa: ASYNC251  # what it should not do

    async with Client(redis_url) as producer:
        await producer.enqueue_many([Task("block", number) for number in range(8)])
    timing = quick(lease=timedelta(seconds=3), heartbeat=timedelta(milliseconds=300))
    async with serving(app, redis_url, concurrency=16, timing=timing):
        await until(lambda: not redis_client.exists(keys.pending("default"), keys.active("default")))
    assert ran == dict.fromkeys(range(8), 1)
    assert counters(redis_client) == (8, 0)
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert not {"lease_lost", "outcome_too_late"} & set(actions)


async def test_a_handler_that_blocks_for_long_is_told_with_its_line_while_it_blocks(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    told_meanwhile: list[bool] = []

    def told() -> list[logging.LogRecord]:
        return [record for record in caplog.records if getattr(record, "action", "") == "loop_blocked"]

    def library() -> None:
        give_up_at = time.monotonic() + 20
        while not told() and time.monotonic() < give_up_at:
            time.sleep(0.05)

    @app.task("block")
    async def block() -> None:
        library()
        told_meanwhile.append(bool(told()))

    async with Client(redis_url) as producer:
        await producer.enqueue("block")
    async with serving(app, redis_url, timing=quick(loop_blocked=timedelta(milliseconds=400))):
        await until(lambda: told_meanwhile)
        await asyncio.sleep(1)
    assert told_meanwhile == [True]
    [record] = told()
    assert re.fullmatch(rf"{__file__}:\d+ in block, which is at {__file__}:\d+ in library", record.where)
    assert record.seconds >= 0.4
