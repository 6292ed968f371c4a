"""The decision is what its table says: tests/plan/decisions.yaml, which the reference page shows, is the specification.

A row's past is played through the decision itself, so nothing here knows what is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from longshore.protocol.snapshots import QueueSnapshot
from longshore_operator.api.durations import parse_duration
from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.plan.load import Load, Work, pool_load
from longshore_operator.plan.observed import PoolMemory
from longshore_operator.plan.replicas import Decision, decide_replicas
from plan.scenes import START, pool, reading, scaled, server

REPOSITORY = Path(__file__).parents[2]
TABLE = yaml.safe_load(Path(__file__).with_name("decisions.yaml").read_text())
ROWS = [pytest.param(row, id=f"{group['group']}: {row['case']}") for group in TABLE for row in group["cases"]]
Row = Mapping[str, Any]

_COUNT = re.compile(r"(?:dry run: would (?:go|stay) )?(?:[0-9]+ → )?([0-9]+): ")


def pool_of(row: Row) -> WorkerPool:
    """Fields with the value null are left out."""
    auto = {"maxReplicas": 30, "targetPerReplica": 40, **row.get("spec", {})}
    spec = {"autoscaling": {name: value for name, value in auto.items() if value is not None}, **row.get("pool", {})}
    return pool(**{name: value for name, value in spec.items() if value is not None})


def load_of(of: WorkerPool, poll: Mapping[str, Any], now: datetime) -> Load | None:
    """What pool_load makes of a Redis with such a queue and such workers; None when the poll failed."""
    if "failed" in poll:
        return None
    running, busy = poll.get("running", 0), poll.get("busy", 0)
    tasks = [running // busy + (number < running % busy) for number in range(busy)]
    queue = QueueSnapshot(
        name="mail",
        pending=poll.get("pending", 0),
        active=running + poll.get("unseen", 0),
        aggregating=poll.get("grouped", 0),
        due=poll.get("due", 0),
        due_within={parse_duration(ahead): count for ahead, count in poll.get("dueWithin", {}).items()},
        paused_at=START if poll.get("paused") else None,
        problem="a key is of another type" if poll.get("unreadable") else None,
    )
    workers = {f"pod-{number}": count for number, count in enumerate(tasks)}
    servers = [server(name, *[("mail", now)] * count) for name, count in workers.items()]
    weight = poll.get("otherWeight")
    sharing = () if weight is None else (scaled("other", queues=[{"name": "mail", "weight": weight}]),)
    snapshot = reading(queue, servers=servers, now=now).snapshot
    assert snapshot is not None
    return pool_load(of, sharing, snapshot, staying=workers, leaving=())


def with_measures(memory: PoolMemory, row: Row, now: datetime) -> PoolMemory:
    """As if the speed and the flow that the row gives had been measured until now."""
    assert memory.throughput is not None
    flow = row.get("flow")
    idle = Work(
        read_at=now,
        finished={},
        shares={},
        servers=frozenset(),
        replicas=0,
        slots=0,
        waiting_since=None,
        settled=True,
    )
    measured = replace(memory.throughput, rate=row["speed"], last=idle, flow_since=now, flow_before=flow)
    return replace(memory, throughput=measured)


def decide(row: Row) -> Decision:
    of = pool_of(row)
    now = datetime.fromisoformat(row["at"]).astimezone(UTC) if "at" in row else START
    since = parse_duration(row.get("for", "10m"))
    found = None if row.get("new") else row.get("replicas", 0)
    memory = None
    if since and not row.get("new"):
        # Ten minutes with nothing to tell of: held, as the count was, without a limit or a window of today's spec.
        memory = decide_replicas(pool(replicas=found).spec, None, found=found, memory=None, now=now - since).memory
    for poll in row.get("then", ()):
        then = now - parse_duration(poll["ago"])
        decision = decide_replicas(
            of.spec, load_of(of, poll, then), found=found, memory=memory, now=then, failures=poll.get("failed", 0)
        )
        memory, found = decision.memory, decision.replicas
    poll = row.get("now", {})
    if memory is not None and "speed" in row:
        memory = with_measures(memory, row, now)
    return decide_replicas(
        of.spec,
        load_of(of, poll, now),
        found=row.get("found", found),
        memory=memory,
        now=now,
        failures=poll.get("failed", 0),
        known_rate=row.get("speed"),
    )


@pytest.mark.parametrize("row", ROWS)
def test_the_decision_is_what_the_table_says(row: Row) -> None:
    decision = decide(row)
    assert decision.text == row["decides"]
    count = _COUNT.match(row["decides"])
    assert count is not None
    assert decision.wanted == int(count[1])
    assert decision.replicas == row.get("leaves", decision.wanted)
    assert decision.limit == row.get("limit")


def test_every_field_of_autoscaling_has_its_rows() -> None:
    definition = yaml.safe_load(next((REPOSITORY / "crds").glob("workerpools.*.yaml")).read_text())
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    named = str([row.get("spec") for group in TABLE for row in group["cases"]])
    for name in spec["properties"]["autoscaling"]["properties"]:
        assert f"'{name}'" in named, name


def test_a_row_has_no_key_that_nothing_reads() -> None:
    known = {"case", "pool", "spec", "replicas", "for", "new", "then", "at", "found", "speed", "flow", "now"}
    known |= {"decides", "leaves", "limit"}
    assert {key for group in TABLE for row in group["cases"] for key in row} == known


def test_no_row_is_there_twice() -> None:
    rows = [{**row, "case": None} for group in TABLE for row in group["cases"]]
    assert all(rows.count(row) == 1 for row in rows)
    assert len(rows) >= 60


def test_a_poll_that_is_planned_twice_is_decided_the_same() -> None:
    for group in TABLE:
        for row in group["cases"]:
            decision = decide(row)
            of = pool_of(row)
            now = datetime.fromisoformat(row["at"]).astimezone(UTC) if "at" in row else START
            again = decide_replicas(
                of.spec,
                load_of(of, row.get("now", {}), now),
                found=decision.replicas,
                memory=decision.memory,
                now=now + timedelta(milliseconds=1),
                failures=row.get("now", {}).get("failed", 0),
            )
            assert again.replicas == decision.replicas, row["case"]
