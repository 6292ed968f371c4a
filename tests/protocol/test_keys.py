"""Every key of Asynq's as its own library builds it (vectors.json), and ours beside them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from longshore.protocol import keys

_DAY = date(2024, 2, 29)
_OURS = {
    "queues": keys.QUEUES,
    "servers": keys.SERVERS,
    "workers_of_all": keys.WORKERS,
    "schedulers": keys.SCHEDULERS,
    "cancel_channel": keys.CANCEL_CHANNEL,
    "task": keys.task("low", "id1"),
    "pending": keys.pending("low"),
    "active": keys.active("low"),
    "lease": keys.lease("low"),
    "scheduled": keys.scheduled("low"),
    "retry": keys.retry("low"),
    "archived": keys.archived("low"),
    "completed": keys.completed("low"),
    "paused": keys.paused("low"),
    "processed_total": keys.processed_total("low"),
    "failed_total": keys.failed_total("low"),
    "processed": keys.processed("low", _DAY),
    "failed": keys.failed("low", _DAY),
    "groups": keys.groups("low"),
    "group": keys.group("low", "g1"),
    "server": keys.server("pod-1", 17, "s1"),
    "workers": keys.workers("pod-1", 17, "s1"),
    "scheduler": keys.scheduler("pod-1:17:s1"),
    "scheduler_history": keys.scheduler_history("e1"),
    "unique, payload absent": keys.unique("default", "email:send", None),
    "unique, payload empty": keys.unique("default", "email:send", b""),
    "unique": keys.unique("default", "email:send", b'{"to":1}'),
}
_GO = {row["name"]: row["key"] for row in json.loads((Path(__file__).parent / "vectors.json").read_text())["keys"]}


@pytest.mark.parametrize("name", _GO)
def test_a_key_is_the_one_asynq_uses(name: str) -> None:
    assert _OURS[name] == _GO[name]


def test_a_servers_workers_key_follows_from_its_own() -> None:
    assert keys.workers_of(keys.server("pod-1", 17, "s1")) == keys.workers("pod-1", 17, "s1")


def test_prefixes_and_names_agree() -> None:
    assert keys.task_prefix("q") + "id" == keys.task("q", "id")
    assert keys.group_prefix("q") + "g" == keys.group("q", "g")
    assert keys.pending("q").startswith(keys.queue_prefix("q"))


def test_keys_of_our_own_lie_beside_what_they_belong_to() -> None:
    assert keys.tick_record("low", "ns:b:report") == "longshore:{low}:periodic:ns:b:report"
    assert keys.periodic_entries("ns/b") == "longshore:periodic:ns/b"
    assert keys.scheduler_lease("ns/b") == "longshore:scheduler:ns/b"
