"""What every fault test has: a seed, a Redis of its own, a journal, and a line that tells what happened."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from random import Random, SystemRandom

import pytest
import redis

from faults.invariants import violations
from faults.journal import Journal, Story, journalled_logs
from faults.load import Load
from longshore.testing import RedisServer

Conclude = Callable[..., Story]


@pytest.fixture
def random(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Random:
    """Seeded; the seed is told when the test fails. LONGSHORE_FAULT_SEED repeats one."""
    seed = int(os.environ.get("LONGSHORE_FAULT_SEED") or SystemRandom().randrange(2**32))
    request.node.add_report_section("setup", "seed", f"LONGSHORE_FAULT_SEED={seed}")
    return Random(seed)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that writes everything to its file before it answers, and may be killed."""
    with RedisServer("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction") as server:
        yield server


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal")
    with journalled_logs(journal):
        yield journal
    journal.close()


@pytest.fixture
def conclude(
    request: pytest.FixtureRequest, journal: Journal, record_property: Callable[[str, object], None]
) -> Conclude:
    """Check every invariant, and have a line printed in the summary."""

    def conclude(port: int, load: Load, *, killed: Collection[int] = (), **facts: object) -> Story:
        story = journal.read()
        with redis.Redis(port=port) as client:
            problems = violations(
                client, promises=load.promises, acknowledged=load.acknowledged, story=story, killed=killed
            )
        facts = {
            "acknowledged": len(load.acknowledged),
            "calls failed": load.refused,
            "attempts": sum(story.runs.values()),
            "recovered": sum(story.recovered.values()),
            "repeated": sum(story.repeated.values()),
            **facts,
        }
        record_property("told", f"{request.node.name}: " + ", ".join(f"{n} {what}" for what, n in facts.items()))
        assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:40])
        return story

    return conclude
