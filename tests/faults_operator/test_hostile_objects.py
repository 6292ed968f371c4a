"""Objects made to do harm: none of them slows or breaks what belongs to others, and each is answered for.

Proved in two namespaces of one operator, on a real API server. What the schema refuses is in tests/api/test_rules.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults_operator.tenants import Tenants, two_tenants
from handlers.harness import KINDS, broker
from handlers.waiting import eventually
from localcluster.access import Access

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def tenants(installed_definitions: Access, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    """One operator for the whole file: what one test does to it, the next ones feel."""
    with two_tenants(installed_definitions, tmp_path_factory.mktemp("tenants")) as tenants:
        tenants.hostile.apply(broker(tenants.redis.url))
        eventually(lambda: tenants.hostile.condition("Broker", "default"), ("True", "OK"))
        yield tenants


def nested(depth: int) -> str:
    """JSON of an object as deep as this."""
    return '{"a":' * depth + "1" + "}" * depth


def send(tenants: Tenants, kind: str, name: str, spec: str) -> None:
    """Make an object of which the spec is given as JSON text."""
    text = f'{{"apiVersion":"longshore.dev/v1alpha1","kind":"{kind}","metadata":{{"name":"{name}"}},"spec":{spec}}}'
    tenants.hostile.send(KINDS[kind].path(tenants.hostile.name), text)


def send_periodic(tenants: Tenants, name: str, payload: str) -> None:
    send(tenants, "PeriodicTask", name, f'{{"schedule":"@every 1h","task":{{"type":"t","payload":{payload}}}}}')


def test_what_is_nested_too_deep_is_refused_in_words_and_blinds_nobody(tenants: Tenants) -> None:
    hostile = tenants.hostile
    send_periodic(tenants, "deep-100", nested(100))
    eventually(lambda: hostile.condition("PeriodicTask", "deep-100", "Suspended"), ("False", "NotSuspended"))
    for depth in (101, 880, 8000):
        name, container = f"deep-{depth}", '{"name":"worker","image":"i"}'
        send_periodic(tenants, name, nested(depth))
        template = f'{{"spec":{{"containers":[{container}],"x":{nested(depth)}}}}}'
        send(tenants, "WorkerPool", name, f'{{"queues":[{{"name":"q"}}],"template":{template}}}')
        for kind, field in (("PeriodicTask", "spec.task.payload"), ("WorkerPool", "spec.template")):
            eventually(lambda kind=kind, name=name: hostile.condition(kind, name), ("False", "InvalidSpec"))
            assert hostile.message(kind, name).startswith(f"{field}: nested deeper than 100 levels")
        tenants.unharmed()
    # and when all is listed anew
    tenants.operator.stop()
    tenants.operator.start()
    eventually(lambda: tenants.operator.log.count("leading"), 2, within_s=60)
    tenants.unharmed()
    for kind in ("PeriodicTask", "WorkerPool"):
        hostile.delete(kind, "deep-8000")
        eventually(lambda kind=kind: hostile.get(kind, "deep-8000"), None)
    tenants.unharmed()
