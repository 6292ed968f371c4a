"""The operator's picture of the cluster.

Proved: what each newer state changes, that an older one changes nothing, and that every index follows. Left out: where
the states come from.
"""

from __future__ import annotations

from typing import Any

import pytest

from longshore_operator.cluster.resources import BROKERS, PODS, QUEUES, WORKER_POOLS
from longshore_operator.observe.view import Change, Key, View


def queue(version: int, **changes: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "apiVersion": "longshore.dev/v1alpha1",
        "kind": "Queue",
        "metadata": {"namespace": "n", "name": "mail", "uid": "u1", "resourceVersion": str(version), "generation": 1},
        "spec": {"brokerRef": "default"},
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = manifest
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return manifest


READY = {"conditions": [{"type": "Ready", "status": "True", "reason": "QueueRead"}]}


@pytest.mark.parametrize(
    ("newer", "change"),
    [
        pytest.param(queue(5), Change.NOTHING, id="the same version again"),
        pytest.param(queue(4, spec__paused=True), Change.NOTHING, id="an older version that comes late"),
        pytest.param(queue(6), Change.STATUS, id="a newer version with nothing else new"),
        pytest.param(queue(6, status={"pending": 3}), Change.STATUS, id="a number in its status"),
        pytest.param(queue(6, status=READY), Change.CONDITIONS, id="a condition"),
        pytest.param(queue(6, spec__paused=True), Change.OBJECT, id="its spec"),
        pytest.param(queue(6, metadata__labels={"a": "b"}), Change.OBJECT, id="a label"),
        pytest.param(queue(6, metadata__deletionTimestamp="2026-01-01T00:00:00Z"), Change.OBJECT, id="its deletion"),
        pytest.param(queue(6, metadata__uid="u2"), Change.OBJECT, id="another object of the same name"),
        pytest.param(queue(10), Change.STATUS, id="ten comes after five, not before it"),
    ],
)
def test_a_newer_state_changes(newer: dict[str, Any], change: Change) -> None:
    view = View()
    assert view.put(QUEUES, queue(5)) is Change.OBJECT
    assert view.put(QUEUES, newer) is change


def test_users_of_a_broker_are_all_that_refer_to_it_until_they_go() -> None:
    view = View()
    view.put(QUEUES, queue(1))
    pool = {
        "metadata": {"namespace": "n", "name": "crew", "uid": "u3", "resourceVersion": "2"},
        "spec": {"brokerRef": "default", "queues": [{"name": "mail"}]},
    }
    view.put(WORKER_POOLS, pool)
    both = [Key(kind="Queue", namespace="n", name="mail"), Key(kind="WorkerPool", namespace="n", name="crew")]
    assert view.users("n", "default") == both
    assert view.users("other", "default") == []
    assert [each.name for each in view.pools_of("n", "default")] == ["crew"]
    assert view.remove(QUEUES, "n", "mail", uid="u1")
    assert view.users("n", "default") == both[1:]


def test_queues_and_pools_are_found_by_the_name_of_a_queue_and_follow_its_change() -> None:
    view = View()

    def pool(version: int, *names: str) -> dict[str, Any]:
        return {
            "metadata": {"namespace": "n", "name": "crew", "uid": "u3", "resourceVersion": str(version)},
            "spec": {"queues": [{"name": name} for name in names]},
        }

    def found(*names: str) -> list[str]:
        objects = [*view.queues_named("n", "default", names), *view.pools_serving("n", "default", names)]
        return [each.ref for each in objects]

    view.put(QUEUES, queue(1))
    view.put(WORKER_POOLS, pool(2, "mail", "image"))
    assert found("mail") == ["Queue/mail", "WorkerPool/crew"]
    assert found("mail", "image") == ["Queue/mail", "WorkerPool/crew"]
    assert view.pools_serving("n", "other", ["mail"]) == view.pools_serving("m", "default", ["mail"]) == []
    view.put(WORKER_POOLS, pool(3, "report"))
    assert found("mail") == ["Queue/mail"]
    assert found("report") == ["WorkerPool/crew"]
    assert view.remove(WORKER_POOLS, "n", "crew")
    assert view.remove(QUEUES, "n", "mail")
    assert found("mail", "image", "report") == []


def test_an_object_that_was_replaced_is_not_removed_by_the_end_of_the_one_before_it() -> None:
    view = View()
    view.put(QUEUES, queue(6, metadata__uid="u2"))
    assert not view.remove(QUEUES, "n", "mail", uid="u1")
    assert view.queue("n", "mail") is not None


def test_pods_are_found_by_their_pool_and_follow_a_change_of_the_label() -> None:
    view = View()

    def pod(version: int, pool: str) -> dict[str, Any]:
        return {
            "metadata": {
                "namespace": "n",
                "name": "p",
                "uid": "u",
                "resourceVersion": str(version),
                "labels": {"longshore.dev/pool": pool},
            }
        }

    view.put(PODS, pod(1, "a"))
    assert [each["metadata"]["name"] for each in view.pods_of_pool("n", "a")] == ["p"]
    view.put(PODS, pod(2, "b"))
    assert view.pods_of_pool("n", "a") == []
    assert len(view.pods_of_pool("n", "b")) == 1
    view.remove(PODS, "n", "p")
    assert view.pods_of_pool("n", "b") == []


def test_an_object_that_cannot_be_read_is_known_as_such_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    view = View()
    broken = {"metadata": {"namespace": "n", "name": "b", "uid": "u", "resourceVersion": "1"}, "spec": {"url": 7}}
    view.put(BROKERS, broken)
    view.put(QUEUES, queue(2))
    key = Key(kind="Broker", namespace="n", name="b")
    assert view.broker("n", "b") is None
    assert "spec.url" in str(view.unreadable(key))
    assert "cannot be read" in caplog.text
    view.put(
        BROKERS, {**broken, "metadata": {**broken["metadata"], "resourceVersion": "3"}, "spec": {"url": "redis://r"}}
    )
    assert view.broker("n", "b") is not None
    assert view.unreadable(key) is None
