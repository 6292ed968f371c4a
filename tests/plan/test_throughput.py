"""What the speed of a pool's workers is measured from: two polls of counters and heartbeats, in any language.

Left out: what the decision makes of it (test_decisions.py) and whether both come to rest (test_closed_loop.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from longshore.protocol.snapshots import BrokerSnapshot, QueueSnapshot, ServerSnapshot
from longshore_operator.plan.load import Work, pool_load
from longshore_operator.plan.throughput import Throughput, measure, worked
from plan.scenes import at, reading, scaled, server

POOL = scaled(queues=[{"name": "mail", "weight": 3}, {"name": "bulk", "weight": 1}])


def worker(host: str, queues: dict[str, int], *, concurrency: int = 4, status: str = "active") -> ServerSnapshot:
    idle = server(host)
    return replace(idle, info=replace(idle.info, queues=queues, concurrency=concurrency, status=status))


def work(snapshot: BrokerSnapshot, now: datetime, *hosts: str, settled: bool = True) -> Work:
    load = pool_load(POOL, (), snapshot, staying=hosts, leaving=(), read_at=now, settled=settled)
    assert load.work is not None
    return load.work


def poll(
    second: float, ended: int, *, hosts: tuple[str, ...] = ("a", "b"), since: float | None = -1, **more: bool
) -> Work:
    """Two workers of four slots each for one queue; ``since``: of the oldest waiting task, None: none waits."""
    waiting = None if since is None else at(since)
    queue = QueueSnapshot(name="mail", pending=9, oldest_pending_at=waiting, processed_today=ended)
    found = reading(queue, servers=[worker(host, {"mail": 1}) for host in hosts]).snapshot
    assert found is not None
    return work(found, at(second), *hosts, **more)


def measured(*polls: Work, rate: float | None = None) -> Throughput:
    known = measure(None, polls[0], "shop:1.0", rate=rate)
    for each in polls[1:]:
        known = measure(known, each, "shop:1.0")
    return known


def test_the_speed_of_one_worker_is_what_all_end_at_full_load_by_their_number() -> None:
    known = measured(*(poll(second, 20 * second) for second in range(30)))
    assert known.rate == pytest.approx(10)


def test_it_is_not_known_before_ten_seconds_and_two_rounds_of_tasks() -> None:
    assert measured(*(poll(second, 20 * second) for second in range(9))).rate is None
    slow = [poll(10 * second, second // 2) for second in range(31)]  # fifteen tasks in five minutes, of eight at once
    assert measured(*slow).rate is None
    assert measured(*slow, poll(320, 16)).rate is not None


@pytest.mark.parametrize(
    "different",
    [
        pytest.param({"since": None}, id="nothing waits"),
        pytest.param({"since": 14.5}, id="the oldest waiting task came meanwhile"),
        pytest.param({"hosts": ("a",)}, id="a worker has gone"),
        pytest.param({"hosts": ("a", "b", "c")}, id="a worker has come"),
        pytest.param({"settled": False}, id="a roll-out is under way"),
    ],
)
def test_a_stretch_that_was_not_all_work_of_the_same_workers_does_not_count(different: dict[str, object]) -> None:
    steady = [poll(second, 20 * second) for second in range(15)]
    known = measured(*steady)
    after = measure(known, poll(15, 281, **different), "shop:1.0")  # type: ignore[arg-type]
    assert (after.rate, after.tasks, after.seconds) == (known.rate, known.tasks, known.seconds)
    assert after.flow_tasks == known.flow_tasks + 1


def test_the_same_poll_twice_and_a_poll_that_failed_change_nothing() -> None:
    known = measured(*(poll(second, 20 * second) for second in range(15)))
    assert measure(known, poll(14, 280), "shop:1.0") == known
    assert measure(known, None, "shop:1.0") == known


def test_counters_that_begin_anew_at_midnight_are_no_measurement() -> None:
    known = measured(*(poll(second, 20 * second) for second in range(15)))
    after = measure(known, poll(15, 3), "shop:1.0")
    assert (after.rate, after.flow_tasks) == (known.rate, known.flow_tasks)
    assert measure(after, poll(16, 23), "shop:1.0").rate == pytest.approx(10)


def test_a_new_speed_replaces_an_old_one_within_minutes() -> None:
    known = measured(*(poll(second, 20 * second) for second in range(300)))
    for second in range(300, 600):
        known = measure(known, poll(second, 6000 + 10 * (second - 300)), "shop:1.0")
    assert known.rate == pytest.approx(5, rel=0.05)


def test_other_workers_have_another_speed() -> None:
    known = measured(*(poll(second, 20 * second) for second in range(15)))
    after = measure(known, poll(15, 300), "shop:1.1")
    assert (after.rate, after.seconds) == (None, 2)
    assert after.flow_tasks == known.flow_tasks + 20


def test_the_speed_an_earlier_process_measured_holds_until_there_is_a_newer_one() -> None:
    polls = [poll(second, 20 * second) for second in range(15)]
    assert measured(*polls[:5], rate=3.0).rate == 3.0
    assert measured(*polls, rate=3.0).rate == pytest.approx(10)


def test_the_flow_is_what_ended_in_the_last_half_minute_at_whatever_load() -> None:
    known = measured(*(poll(second, 12 * second, since=None) for second in range(30)))
    assert known.flow is None
    for second in range(30, 100):
        known = measure(known, poll(second, 12 * second, since=None), "shop:1.0")
        assert known.flow == pytest.approx(12, rel=0.02)
    for second in range(100, 161):
        known = measure(known, poll(second, 1188, since=None), "shop:1.0")
    assert known.flow == 0


def test_a_task_that_no_poll_has_seen_is_work_all_the_same() -> None:
    known = measured(poll(0, 5, since=None))
    assert not worked(known, poll(1, 5, since=None))
    assert worked(known, poll(1, 6, since=None))
    assert not worked(known, poll(1, 0, since=None))


def test_what_ends_in_a_queue_is_shared_by_the_slots_that_serve_it() -> None:
    queues = [QueueSnapshot(name=name, processed_today=ended) for name, ended in (("mail", 100), ("bulk", 40))]
    servers = [
        worker("ours", {"mail": 3, "bulk": 1}, concurrency=8),  # 6 slots for mail, 2 for bulk
        worker("theirs", {"mail": 1}, concurrency=6),
        worker("elsewhere", {"bulk": 1}, concurrency=6),
        worker("stopping", {"mail": 1}, concurrency=50, status="stopped"),
    ]
    snapshot = reading(*queues, servers=servers).snapshot
    assert snapshot is not None
    found = work(snapshot, at(0), "ours", "stopping")
    assert found.shares == {"mail": 0.5, "bulk": 0.25}
    assert found.finished == {"mail": 100, "bulk": 40}
    assert (found.replicas, found.slots, found.servers) == (1, 8, {"id-ours"})


def test_of_several_queues_one_that_is_never_empty_keeps_the_workers_busy() -> None:
    queues = [
        QueueSnapshot(name="mail", pending=1, oldest_pending_at=at(-5), paused_at=at(-9)),
        QueueSnapshot(name="bulk", pending=1, oldest_pending_at=at(-2)),
    ]
    snapshot = reading(*queues, servers=[worker("a", {"mail": 3, "bulk": 1})]).snapshot
    assert snapshot is not None
    assert work(snapshot, at(0), "a").waiting_since == at(-2)


def test_two_processes_in_one_pod_are_one_replica() -> None:
    one, other = worker("a", {"mail": 1}), worker("a", {"mail": 1})
    other = replace(other, info=replace(other.info, server_id="second"))
    snapshot = reading(QueueSnapshot(name="mail"), servers=[one, other]).snapshot
    assert snapshot is not None
    found = work(snapshot, at(0), "a")
    assert (found.replicas, found.slots, len(found.servers)) == (1, 8, 2)
