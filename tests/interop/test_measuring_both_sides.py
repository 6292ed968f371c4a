"""The speed of a worker, measured by the operator from what a Go server and one of ours leave in Redis.

Left out: which stretches count (tests/plan/test_throughput.py) and what follows from a speed (test_closed_loop.py).
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import IO

import pytest

from go_peer import GoPeer
from longshore import App, Client, Context, Inspector, Task
from longshore_operator.plan.load import pool_load
from longshore_operator.plan.throughput import Throughput, measure
from plan.scenes import scaled
from runtime.harness import serving

pytestmark = [pytest.mark.go, pytest.mark.one_server]

NAP_S = 0.1
SLOTS = 4


def next_line(output: IO[str]) -> str:
    """Empty at the end. The output may be closed with the peer before its end was read."""
    try:
        return output.readline()
    except ValueError:
        return ""


async def test_the_speed_of_workers_of_both_sides_is_what_they_end_at_full_load(
    go_peer: GoPeer, port: str, redis_url: str, client: Client
) -> None:
    app = App()
    ran_there = 0

    @app.task("nap")
    async def nap(ctx: Context) -> None:
        await asyncio.sleep(NAP_S)

    async def listen(output: IO[str]) -> None:
        nonlocal ran_there
        while line := await asyncio.to_thread(next_line, output):
            assert json.loads(line)["queue"] == "theirs"
            ran_there += 1

    pools = {name: scaled(name) for name in ("ours", "theirs")}
    known: dict[str, Throughput | None] = dict.fromkeys(pools)
    first: dict[str, tuple[datetime, int]] = {}
    for queue in pools:
        await client.enqueue_many([Task("nap", b"nap", queue=queue) for _ in range(1500)])
    with go_peer.server(port, queues="theirs", concurrency=SLOTS) as output:
        listener = asyncio.create_task(listen(output))
        async with serving(app, redis_url, queues={"ours": 1}, concurrency=SLOTS), Inspector(redis_url) as inspector:
            while not all(each is not None and each.rate for each in known.values()):
                now = datetime.now(UTC)
                snapshot = await inspector.snapshot(list(pools), now=now)
                # Both servers say that they run on this machine; what tells the pools apart are their queues.
                hosts = {each.info.host for each in snapshot.servers}
                for queue, pool in pools.items():
                    load = pool_load(pool, (), snapshot, staying=hosts, leaving=(), read_at=now)
                    known[queue] = measure(known[queue], load.work, "the same")
                    assert snapshot.queues[queue].pending, "the tasks did not last for a measurement"
                    if len(snapshot.servers) == 2:
                        first.setdefault(queue, (now, snapshot.queues[queue].processed_today))
                await asyncio.sleep(0.5)
    await listener
    for queue, measured in known.items():
        assert measured is not None
        assert measured.rate is not None
        assert measured.rate <= SLOTS / NAP_S * 1.05, queue
        ended = snapshot.queues[queue].processed_today - first[queue][1]
        assert measured.rate == pytest.approx(ended / (now - first[queue][0]).total_seconds(), rel=0.15), queue
    assert ran_there >= snapshot.queues["theirs"].processed_today
