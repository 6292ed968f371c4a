"""What a worker says of itself at /metrics.

Proved: each end of an attempt is counted once, under its queue and type; what runs, how long it takes, how late the
loop is; every family of the table is served with the labels it claims; types are bounded; without the extra there is
one clear line and no counting. The processes of a supervisor: tests/cli/test_processes.py. Left out: what
prometheus_client says of any process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import timedelta
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from longshore import App, Client, Context, RetryLater, Server, SkipRetry, Task
from longshore.metrics.reading import WorkerReading
from longshore.metrics.worker import BUILD_INFO, FAMILIES
from longshore.protocol import keys
from longshore.runtime import measures
from runtime.harness import QUICK, ask, holding, quick, serving, until

LOCAL = ("127.0.0.1", 0)
Labels = tuple[tuple[str, str], ...]


async def scrape(server: Server) -> dict[str, dict[Labels, float]]:
    """Samples by name and labels."""
    status, text = await ask(server.health_port, "GET /metrics")
    assert status == 200, text
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def of(queue: str, task_type: str) -> Labels:
    return (("queue", queue), ("type", task_type))


def ending() -> App:
    """An application with a handler for each way an attempt ends."""
    app = App()

    @app.task("well")
    async def well() -> None: ...

    @app.task("kept", retention=60)
    async def kept() -> str:
        return "a result"

    @app.task("badly")
    async def badly() -> None:
        raise ValueError("on purpose")

    @app.task("later")
    async def later() -> None:
        raise RetryLater("closed", after=3600, counts=False)

    @app.task("for good")
    async def for_good() -> None:
        raise SkipRetry("on purpose")

    return app


async def test_each_end_of_an_attempt_is_counted_once(redis_url: str, redis_client: redis.Redis) -> None:
    app = ending()

    @app.task("stolen")
    async def stolen(ctx: Context) -> None:
        redis_client.lrem(keys.active("default"), 0, ctx.task_id)
        redis_client.zrem(keys.lease("default"), ctx.task_id)

    kinds = ["well", "kept", "badly", "later", "for good", "stolen", "unknown"]
    async with (
        Client(redis_url) as producer,
        serving(app, redis_url, queues={"default": 2, "low": 1}, health_address=LOCAL) as server,
    ):
        await producer.enqueue_many([*(Task(kind) for kind in kinds), *(Task("well", queue="low") for _ in range(3))])
        await until(lambda: (now := server.reading()) and sum(sum(one[2:8]) for one in now.tasks) == len(kinds) + 3)
        found = await scrape(server)

    def counted(name: str) -> dict[Labels, float]:
        return {labels: value for labels, value in found[f"longshore_worker_{name}"].items() if value}

    once = {kind: {of("default", kind): 1.0} for kind in kinds}
    assert counted("tasks_processed_total") == (
        once["well"] | once["kept"] | once["badly"] | once["for good"] | once["unknown"] | {of("low", "well"): 3.0}
    )
    assert counted("tasks_failed_total") == once["badly"] | once["for good"] | once["unknown"]
    assert counted("tasks_retried_total") == once["badly"] | once["later"] | once["unknown"]
    assert counted("tasks_archived_total") == once["for good"]
    assert counted("leases_lost_total") == once["stolen"]
    assert counted("tasks_requeued_total") == {}
    # What was lost is nobody's to measure, and of an unknown type no handler was begun.
    assert counted("task_duration_seconds_count") == (
        once["well"] | once["kept"] | once["badly"] | once["later"] | once["for good"] | {of("low", "well"): 3.0}
    )
    assert found["longshore_worker_tasks_in_flight"] == {(("queue", "default"),): 0.0, (("queue", "low"),): 0.0}


async def test_every_family_of_the_table_is_served_with_its_labels(redis_url: str) -> None:
    async with Client(redis_url) as producer, serving(ending(), redis_url, health_address=LOCAL) as server:
        await producer.enqueue("well")
        await until(lambda: (now := server.reading()) and now.tasks)
        _, text = await ask(server.health_port, "GET /metrics")
    served = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            family.documentation,
            {name for sample in family.samples for name in sample.labels} - {"le"},
        )
        for family in text_string_to_metric_families(text)
        if family.name.startswith("longshore_worker_")
    }
    assert served == {family.name: (family.type, family.help, set(family.labels)) for family in FAMILIES}
    assert BUILD_INFO.name in served
    assert "process_resident_memory_bytes" in text


async def test_what_runs_takes_slots_and_what_a_stop_puts_back_is_no_attempt(redis_url: str) -> None:
    app, _ = holding()
    async with Client(redis_url) as producer:
        server = Server(app, redis=redis_url, concurrency=3, shutdown_timeout=0, timing=QUICK, health_address=LOCAL)
        async with server:
            await producer.enqueue_many([Task("hold") for _ in range(5)])
            await until(lambda: server.running == 3)
            found = await scrape(server)
            assert found["longshore_worker_slots"] == {(): 3.0}
            assert found["longshore_worker_slots_busy"] == {(): 3.0}
            assert found["longshore_worker_tasks_in_flight"] == {(("queue", "default"),): 3.0}
        reading = server.reading()
    assert reading is not None
    (counts,) = reading.tasks
    assert (counts.type, counts.requeued, sum(counts[2:6]), counts.lost) == ("hold", 3, 0, 0)
    assert sum(counts.durations) == 0
    assert WorkerReading.of(json.loads(json.dumps(reading.fields()))) == reading


async def test_a_duration_lies_between_the_bounds_it_took(redis_url: str) -> None:
    app, release = holding()
    async with Client(redis_url) as producer, serving(app, redis_url, health_address=LOCAL) as server:
        await producer.enqueue("hold")
        await until(lambda: server.running == 1)
        await asyncio.sleep(0.06)
        release.set()
        await until(lambda: (now := server.reading()) and now.tasks)
        found = await scrape(server)
    took = found["longshore_worker_task_duration_seconds_sum"][of("default", "hold")]
    assert took > 0.05
    for labels, count in found["longshore_worker_task_duration_seconds_bucket"].items():
        bound = float(dict(labels)["le"])
        assert count == (1.0 if took <= bound else 0.0), bound


async def test_a_handler_that_blocks_makes_the_event_loop_late(redis_url: str) -> None:
    app = App()

    @app.task("block")
    async def block() -> None:
        time.sleep(0.5)  # noqa: ASYNC251  # what nobody should do

    timing = quick(loop_blocked=timedelta(seconds=0.4))
    async with Client(redis_url) as producer, serving(app, redis_url, timing=timing, health_address=LOCAL) as server:
        await producer.enqueue("block")
        await until(lambda: (now := server.reading()) and now.lag_s > 0.35, "the lag")


async def test_types_beyond_the_first_hundred_are_counted_together(redis_url: str) -> None:
    app = App()
    app.task("job:")(lambda: None)  # a prefix: types may carry ids
    many = measures.MOST_TYPES + 50
    async with (
        Client(redis_url) as producer,
        serving(app, redis_url, queues={"default": 1, "low": 1}, health_address=LOCAL) as server,
    ):
        await producer.enqueue_many([Task(f"job:{n}") for n in range(many)])
        await until(lambda: (now := server.reading()) and sum(one.done for one in now.tasks) == many)
        await producer.enqueue("job:new", queue="low")
        await until(lambda: (now := server.reading()) and sum(one.done for one in now.tasks) == many + 1)
        processed = (await scrape(server))["longshore_worker_tasks_processed_total"]
    assert len({dict(labels)["type"] for labels in processed}) == measures.MOST_TYPES + 1
    assert processed[of("default", measures.OTHER)] == 50
    assert processed[of("low", measures.OTHER)] == 1
    assert sum(processed.values()) == many + 1


async def test_without_the_extra_a_line_says_what_to_install_and_all_else_goes_on(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)  # as if it were not installed
    done: list[Any] = []
    app = App()
    app.task("note")(lambda: done.append(1))
    async with Client(redis_url) as producer, serving(app, redis_url, health_address=LOCAL) as server:
        await producer.enqueue("note")
        await until(lambda: done)
        assert await ask(server.health_port, "GET /metrics") == (
            404,
            "no metrics: they need prometheus-client; pip install 'longshore[metrics]'",
        )
        assert await ask(server.health_port, "GET /livez") == (200, "ok")
        assert server.reading() is None


async def test_a_server_without_a_health_address_counts_nothing(redis_url: str) -> None:
    async with serving(App(), redis_url) as server:
        assert server.reading() is None
