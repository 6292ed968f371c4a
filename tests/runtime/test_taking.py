"""How tasks are taken: within the free slots, by priority, woken instead of polling, paused queues left alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import redis

from longshore import App, Client, Context, Task
from longshore.protocol import keys
from runtime.harness import quick, serving, state, until

NEVER = timedelta(hours=1)


async def test_no_more_tasks_are_taken_than_there_are_slots(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    release = asyncio.Event()
    running = 0

    @app.task("hold")
    async def hold() -> None:
        nonlocal running
        running += 1
        await release.wait()
        running -= 1

    async with Client(redis_url) as producer:
        await producer.enqueue_many([Task("hold") for _ in range(20)])
        async with serving(app, redis_url, concurrency=3):
            await until(lambda: running == 3)
            await asyncio.sleep(0.3)
            assert running == 3
            assert redis_client.llen(keys.active("default")) == 3
            assert redis_client.llen(keys.pending("default")) == 17
            release.set()
            await until(lambda: not redis_client.exists(keys.pending("default"), keys.active("default")))


async def test_tasks_of_a_queue_begin_in_the_order_they_came(redis_url: str) -> None:
    app = App()
    seen: list[int] = []

    @app.task("n")
    async def n(payload: int) -> None:
        seen.append(payload)

    async with Client(redis_url) as producer:
        await producer.enqueue_many([Task("n", number) for number in range(50)])
        async with serving(app, redis_url, concurrency=1):
            await until(lambda: len(seen) == 50)
    assert seen == list(range(50))


async def test_strict_priority_empties_the_higher_queue_first(redis_url: str) -> None:
    app = App()
    seen: list[str] = []

    @app.task("q")
    async def q(ctx: Context) -> None:
        seen.append(ctx.queue)

    async with Client(redis_url) as producer:
        for queue in ("low", "high"):
            await producer.enqueue_many([Task("q") for _ in range(20)], queue=queue)
        async with serving(app, redis_url, concurrency=2, queues={"low": 1, "high": 2}, strict_priority=True):
            await until(lambda: len(seen) == 40)
    assert seen == ["high"] * 20 + ["low"] * 20


async def test_weights_share_the_slots_and_starve_nobody(redis_url: str) -> None:
    app = App()
    seen: list[str] = []

    @app.task("q")
    async def q(ctx: Context) -> None:
        seen.append(ctx.queue)

    async with Client(redis_url) as producer:
        for queue in ("a", "b"):
            await producer.enqueue_many([Task("q") for _ in range(600)], queue=queue)
        async with serving(app, redis_url, concurrency=1, queues={"a": 3, "b": 1}):
            await until(lambda: len(seen) >= 600)
    share = Counter(seen[:600])
    assert 0.65 < share["a"] / 600 < 0.85


async def test_an_idle_server_is_woken_by_a_push_without_polling(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    seen: list[int] = []

    @app.task("n")
    async def n(payload: int) -> None:
        seen.append(payload)

    timing = quick(poll=NEVER, park=timedelta(seconds=20))
    async with Client(redis_url) as producer, serving(app, redis_url, timing=timing, queues={"a": 1, "b": 1}):
        await until(lambda: redis_client.info("clients")["blocked_clients"] == 2, "parking on both queues")

        def dequeues() -> int:
            # each reads the list's tail, as each acknowledgement does of the active list
            return int(redis_client.info("commandstats")["cmdstat_lrange"]["calls"])

        before = dequeues()
        for number in range(5):
            await producer.enqueue("n", number, queue="ab"[number % 2])
            await until(lambda count=number + 1: len(seen) == count)
        # one that finds the task; the queue is parked on again without another
        await until(lambda: not redis_client.exists(keys.active("a"), keys.active("b")))
        assert dequeues() - before == 5 + 5
    assert sorted(seen) == list(range(5))


async def test_a_paused_queue_is_left_alone_and_served_again_after(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("n")(lambda: None)
    redis_client.set(keys.paused("default"), 1)
    async with Client(redis_url) as producer:
        task_id = (await producer.enqueue("n")).message.id
        async with serving(app, redis_url):
            await asyncio.sleep(0.5)
            assert state(redis_client, task_id) == "pending"
            assert redis_client.info("clients")["blocked_clients"] == 0
            calls = redis_client.info("commandstats")["cmdstat_evalsha"]["calls"]
            await asyncio.sleep(0.5)
            # polled, not spun on: with these periods some 15 script calls in half a second, hundreds in a spin
            assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] - calls < 100
            redis_client.delete(keys.paused("default"))
            await until(lambda: state(redis_client, task_id) is None)


async def test_a_queue_paused_while_parked_on_does_not_run_its_next_task(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    app.task("n")(lambda: None)
    async with Client(redis_url) as producer, serving(app, redis_url):
        await until(lambda: redis_client.info("clients")["blocked_clients"] == 1)
        redis_client.set(keys.paused("default"), 1)
        task_id = (await producer.enqueue("n")).message.id
        await asyncio.sleep(0.3)
        assert state(redis_client, task_id) == "pending"
        redis_client.delete(keys.paused("default"))
        await until(lambda: state(redis_client, task_id) is None)


async def test_beyond_the_parking_limit_queues_are_polled(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    seen: list[str] = []

    @app.task("q")
    async def q(ctx: Context) -> None:
        seen.append(ctx.queue)

    queues = {f"q{n}": 1 for n in range(5)}
    async with Client(redis_url) as producer, serving(app, redis_url, timing=quick(parking_limit=2), queues=queues):
        await until(lambda: redis_client.info("clients")["blocked_clients"] == 2)
        for queue in queues:
            await producer.enqueue("q", queue=queue)
        await until(lambda: sorted(seen) == sorted(queues))
        assert redis_client.info("clients")["blocked_clients"] <= 2


async def test_a_queue_that_redis_refuses_does_not_stop_the_others(redis_url: str, redis_client: redis.Redis) -> None:
    app = App()
    app.task("n")(lambda: None)
    redis_client.set(keys.pending("broken"), "a string")
    async with Client(redis_url) as producer, serving(app, redis_url, queues={"broken": 9, "default": 1}):
        task_id = (await producer.enqueue("n")).message.id
        await until(lambda: state(redis_client, task_id) is None)
        redis_client.delete(keys.pending("broken"))
        other_id = (await producer.enqueue("n", queue="broken")).message.id
        await until(lambda: state(redis_client, other_id, "broken") is None)


async def test_a_redis_that_takes_no_outcomes_does_not_make_a_worker_collect_tasks_without_end(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    ran: Counter[int] = Counter()

    @app.task("n")
    async def n(payload: int) -> None:
        ran[payload] += 1

    async with Client(redis_url) as producer:
        await producer.enqueue_many([Task("n", number, retention=60) for number in range(50)])
    redis_client.set(keys.completed("default"), "not a set")
    async with serving(app, redis_url, concurrency=2):
        await until(lambda: len(ran) > 2)
        await asyncio.sleep(1)
        # four times the slots may wait to be written, and the slots themselves
        assert redis_client.llen(keys.active("default")) == len(ran) <= 2 * (4 + 1) + 1
        redis_client.delete(keys.completed("default"))
        await until(lambda: not redis_client.exists(keys.pending("default"), keys.active("default")))
    assert ran == dict.fromkeys(range(50), 1)
    assert redis_client.zcard(keys.completed("default")) == 50


async def test_a_busy_server_writes_outcomes_and_takes_tasks_in_one_round_trip(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = App()
    ran = 0

    @app.task("noop")
    async def noop() -> None:
        nonlocal ran
        ran += 1

    async with Client(redis_url) as producer:
        await producer.enqueue_many([Task("noop") for _ in range(2000)])
    redis_client.config_resetstat()
    timing = quick(heartbeat=NEVER, announce_gap=NEVER, recover=NEVER, forward=NEVER, clean=NEVER, sync=NEVER)
    async with serving(app, redis_url, timing=timing, concurrency=20):
        await until(lambda: ran == 2000)
        reads = redis_client.info("stats")["total_reads_processed"]
        dequeues = redis_client.info("commandstats")["cmdstat_zadd"]["calls"]  # one in each, of the leases
    assert dequeues >= 2000 / 20
    assert reads < 1.5 * dequeues  # two for each, were they apart
