"""Our queue metrics beside those of Asynq's own exporter (x/metrics), on one Redis: the same series and values."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from go_peer import build_program
from longshore import Inspector
from longshore.metrics.queues import QueueReading, queue_families
from longshore.protocol import codec, keys
from longshore.testing import new_message, queue_content, seed_keyspace

pytestmark = [pytest.mark.go, pytest.mark.one_server]

NOW = datetime.now(UTC)
NOW_S = codec.unix_seconds(NOW)


class OneAnswer(CollectorRegistry):
    """Families as they are."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> list[Metric]:  # type: ignore[override]
        return self._families


def seed(server: redis.Redis) -> None:
    """Two queues: one with tasks in every state, paused, with a past; and one that is empty."""

    def message(name: str, n: int = 0) -> object:
        return new_message(id=f"{name}{n}", queue="mail", payload=b"x" * 500)

    content = queue_content(
        "mail",
        pending=[message("p", n) for n in range(3)],  # type: ignore[misc]
        pending_since_ns=codec.unix_nanoseconds(NOW - timedelta(minutes=2)),
        active=[(message("a"), NOW_S + 30)],  # type: ignore[list-item]
        scheduled=[(message("s", n), NOW_S + 100 + n) for n in range(2)],  # type: ignore[misc]
        retry=[(message("r", n), NOW_S + 100 + n) for n in range(4)],  # type: ignore[misc]
        archived=[(message("d", n), n) for n in range(5)],  # type: ignore[misc]
        completed=[(message("c", n), NOW_S + 1000) for n in range(6)],  # type: ignore[misc]
        groups={"g": [(message("g", n), NOW_S) for n in range(2)]},  # type: ignore[misc]
    )
    day = NOW.date()
    counters = {
        keys.processed_total("mail"): b"1234",
        keys.failed_total("mail"): b"56",
        keys.processed("mail", day): b"12",
        keys.failed("mail", day): b"3",
        keys.paused("mail"): str(NOW_S).encode(),
    }
    seed_keyspace(server, content | counters | {keys.QUEUES: {b"mail", b"idle"}})


async def test_series_types_and_values_are_those_of_asynqs_exporter(
    tmp_path: Path, port: str, inspector: Inspector, redis_client: redis.Redis
) -> None:
    seed(redis_client)
    program = build_program(Path(__file__).parent / "exporter", tmp_path)
    command = [str(program), port]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=True)
    theirs = {family.name: family for family in text_string_to_metric_families(done.stdout)}

    queues = await inspector.queues()
    memory = await inspector.memory_usages([queue.name for queue in queues])
    now = datetime.now(UTC)
    readings = [QueueReading(snapshot=each, read_at=now, memory_bytes=memory[each.name]) for each in queues]
    text = generate_latest(OneAnswer(queue_families(readings))).decode()
    ours = {family.name: family for family in text_string_to_metric_families(text)}

    assert ours.keys() == theirs.keys()
    for name, family in theirs.items():
        assert (ours[name].type, ours[name].documentation) == (family.type, family.documentation)
        wanted = {(sample.name, *sample.labels.items()): sample.value for sample in family.samples}
        found = {(sample.name, *sample.labels.items()): sample.value for sample in ours[name].samples}
        if name == "asynq_queue_latency_seconds":
            assert found == pytest.approx(wanted, abs=60)
        elif name == "asynq_queue_memory_usage_approx_bytes":
            assert found == pytest.approx(wanted, rel=0.1)
        else:
            assert found == wanted
    assert max(sample.value for sample in theirs["asynq_tasks_processed"].samples) == 1234
