"""Secrets of a Broker as people treat them, among thousands of others; and where their values never appear.

Proved with one operator on a real API server, whose audit log says what was read. How each bad Secret is told:
tests/handlers/test_secrets.py. A change that rolls pods once: tests/handlers/test_objects.py. With
LONGSHORE_OTHER_SECRETS=5000 there are so many others; the operator asks for none of them, so that fewer show as much.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import redis

from faults_operator.tenants import Tenants, two_tenants
from handlers.harness import KINDS, Manifest, broker, periodic_task, pool, queue
from handlers.waiting import eventually
from localcluster.access import Access
from longshore.testing import RedisServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
FIRST, SECOND = "pw-1-that-nobody-may-read", "pw-2-that-nobody-may-read"
OTHERS = int(os.environ.get("LONGSHORE_OTHER_SECRETS") or 50)


@pytest.fixture(scope="module")
def tenants(installed_definitions: Access, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    """One operator, and a namespace with many Secrets that nobody names."""
    with two_tenants(installed_definitions, tmp_path_factory.mktemp("tenants")) as tenants:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: make_other(tenants, n), range(OTHERS)))
        yield tenants


def make_other(tenants: Tenants, number: int) -> None:
    text = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": f"other-{number}"}, "stringData": {"a": "b"}}
    tenants.hostile.send(KINDS["Secret"].path(tenants.hostile.name), json.dumps(text))


def secret(**data: str) -> Manifest:
    return {"kind": "Secret", "metadata": {"name": "redis"}, "stringData": data}


def read_by_operator(tenants: Tenants) -> Counter[str]:
    """Verb and name of each request of the operator about Secrets."""
    found: Counter[str] = Counter()
    for log in Path(tenants.hostile.access.folder).glob("audit*.log"):
        for line in log.read_text().splitlines():
            if '"secrets"' not in line or f"{tenants.neighbour.name}:operator" not in line:
                continue
            entry = json.loads(line)
            if entry.get("stage") != "ResponseStarted":
                found[f"{entry['verb']} {entry['objectRef'].get('name', '')}"] += 1
    return found


def test_a_secret_may_be_spoilt_and_put_right_and_its_values_appear_nowhere(tenants: Tenants) -> None:
    hostile = tenants.hostile

    def template() -> str:
        deployment = hostile.get("Deployment", "crew-worker")
        return "" if deployment is None else json.dumps(deployment["spec"]["template"], sort_keys=True)

    def says(reason: str, words: str) -> None:
        eventually(lambda: hostile.condition("Broker", "default"), ("False", reason), within_s=40)
        eventually(lambda: hostile.message("Broker", "default"), lambda said: words in said)
        assert template() == running  # no pod is replaced by one that could not start

    with RedisServer("--requirepass", FIRST) as server, closing(redis.Redis(port=server.port, password=FIRST)) as admin:
        hostile.apply(secret(password=FIRST))
        hostile.apply(broker(server.url, auth={"passwordSecretRef": {"name": "redis", "key": "password"}}))
        hostile.apply(pool("crew", "mail"))
        hostile.apply(queue("mail"))
        hostile.apply(periodic_task("daily", "@daily"))
        eventually(lambda: hostile.condition("Broker", "default", "Reachable"), ("True", "RedisAnswers"))
        eventually(lambda: hostile.replicas("crew-worker"), 1)
        running = template()

        hostile.patch("Secret", "redis", {"data": {"password": ""}})
        says("SecretInvalid", "the value of password is empty")
        hostile.patch("Secret", "redis", {"data": {"password": "//79"}})
        says("SecretInvalid", "is not text")
        hostile.patch("Secret", "redis", {"data": {"password": None}})
        says("SecretNotFound", "has no key password")
        hostile.delete("Secret", "redis")
        says("SecretNotFound", "does not exist")
        tenants.unharmed()
        hostile.apply(secret(password=SECOND))
        eventually(lambda: hostile.condition("Broker", "default"), ("False", "BrokerUnreachable"), within_s=40)
        assert "invalid username-password pair" in hostile.message("Broker", "default")
        admin.config_set("requirepass", SECOND)
        eventually(lambda: hostile.condition("Broker", "default", "Reachable"), ("True", "RedisAnswers"), within_s=40)
        eventually(template, lambda now: now != running)

    # A server that knows no passwords quotes the one that it is given.
    with RedisServer("--rename-command", "AUTH", "", "--rename-command", "HELLO", "") as bare:
        hostile.apply(broker(bare.url, auth={"passwordSecretRef": {"name": "redis", "key": "password"}}))
        eventually(lambda: hostile.message("Broker", "default"), lambda said: "unknown command" in said, within_s=40)
        tenants.unharmed()

    shown = [json.dumps(hostile.list(kind)) for kind in KINDS if kind not in ("Secret", "ClusterRole")]
    shown += [tenants.operator.log, repr(sorted(tenants.metrics().series))]
    for value in (FIRST, SECOND):
        assert not any(value in text for text in shown)
    assert all(len(event["message"]) <= 1024 for event in hostile.list("Event"))


def test_only_the_secrets_that_are_named_are_read(tenants: Tenants) -> None:
    time.sleep(1)  # the audit log is written in batches
    asked = read_by_operator(tenants)
    assert set(asked) == {"get redis"}, asked
