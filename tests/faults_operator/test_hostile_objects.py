"""Objects made to do harm: none of them slows or breaks what belongs to others, and each is answered for.

Proved in two namespaces of one operator, on a real API server. What the schema refuses is in tests/api/test_rules.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis

from faults_operator.scene import enqueue
from faults_operator.tenants import Tenants, two_tenants
from handlers.harness import KINDS, Refused, broker, periodic_task, pool, queue
from handlers.waiting import eventually, stays
from localcluster.access import Access
from longshore_operator.plan.names import BROKER_LABEL, POOL_LABEL

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
    for depth in (101, 8000):
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


def test_a_template_takes_over_nothing_and_one_too_large_is_told_of(tenants: Tenants) -> None:
    hostile = tenants.hostile
    container = {"name": "worker", "image": "i"}
    for label in (POOL_LABEL, BROKER_LABEL, "app.kubernetes.io/managed-by"):
        with pytest.raises(Refused, match="which select the pods; choose other labels"):
            hostile.apply(pool("thief", "q", template={"metadata": {"labels": {label: "steady"}}}))
    references = [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": True}]
    metadata = {
        "name": "steady-worker",
        "namespace": "kube-system",
        "labels": {"mine": "kept"},
        "ownerReferences": references,
    }
    hostile.apply(pool("thief", "q", template={"metadata": metadata, "spec": {"containers": [container]}}))
    # 2 KiB below what etcd takes: the pool is stored, its Deployment is larger
    huge = {"containers": [{**container, "args": ["x" * (1_572_864 - 2048)]}]}
    hostile.apply(pool("huge", "q", template={"spec": huge}))
    deployment = eventually(lambda: hostile.get("Deployment", "thief-worker"), lambda found: found is not None)
    assert deployment is not None
    assert deployment["metadata"]["namespace"] == hostile.name
    assert [each["name"] for each in deployment["metadata"]["ownerReferences"]] == ["thief"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert (labels[POOL_LABEL], labels["mine"]) == ("thief", "kept")
    assert labels.items() >= deployment["spec"]["selector"]["matchLabels"].items()
    assert deployment["spec"]["selector"]["matchLabels"][POOL_LABEL] == "thief"
    # there is no room for a status either
    events = eventually(lambda: hostile.events("huge", "InvalidTemplate"), lambda found: found != [])
    assert "too large" in events[0]["message"]
    asked = writes(tenants)
    stays(lambda: hostile.get("Deployment", "huge-worker"), None, for_s=4)
    assert writes(tenants) - asked <= 4
    tenants.unharmed()
    for name in ("thief", "huge"):
        hostile.delete("WorkerPool", name)


def writes(tenants: Tenants) -> float:
    """Requests ever that were to change something of a child."""
    family = next(each for each in tenants.metrics().families if each.name == "longshore_operator_api_requests")
    return sum(
        sample.value
        for sample in family.samples
        if sample.labels.get("verb") in ("create", "patch", "update") and sample.labels["resource"] == "deployments"
    )


def test_a_status_full_of_lies_is_put_right(tenants: Tenants) -> None:
    hostile = tenants.hostile
    hostile.apply(pool("liar", "lies", autoscaling={"maxReplicas": 5}))
    hostile.apply(queue("lies"))
    hostile.apply(periodic_task("liar", "@daily"))
    eventually(lambda: hostile.condition("WorkerPool", "liar"), ("True", "ScaledToZero"))
    eventually(lambda: hostile.condition("Queue", "lies"), ("True", "OK"))
    condition = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "Lie",
        "message": "x" * 4096,
        "lastTransitionTime": "9999-12-31T23:59:59Z",
    }
    numbers = {"replicas": 10**6, "desiredReplicas": 10**6, "backlog": 10**9, "lastScaleTime": "9999-12-31T23:59:59Z"}
    lies = {
        ("WorkerPool", "liar"): {**numbers, "decision": "\u202e", "selector": "a=b"},
        ("Queue", "lies"): {"pending": 10**9, "paused": True, "latencySeconds": 10**9},
        ("PeriodicTask", "liar"): {"lastTick": "9999-12-31T23:59:59Z", "nextTick": "0001-01-01T00:00:00Z"},
        ("Broker", "default"): {"queues": 10**9, "address": "elsewhere"},
    }
    for (kind, name), lie in lies.items():
        hostile.patch(kind, name, {"status": {**lie, "conditions": [condition]}}, subresource="status")
    for kind, name in lies:
        eventually(
            lambda kind=kind, name=name: hostile.condition(kind, name),
            lambda ready: ready is not None and ready[1] != "Lie",
        )
    status = eventually(
        lambda: (hostile.get("WorkerPool", "liar") or {})["status"], lambda status: status["desiredReplicas"] == 0
    )
    assert status["selector"] != "a=b"
    assert hostile.replicas("liar-worker") == 0
    eventually(lambda: (hostile.get("Queue", "lies") or {})["status"]["pending"], 0)
    eventually(lambda: (hostile.get("Broker", "default") or {})["status"]["queues"], lambda count: count < 10)
    tenants.unharmed()
    hostile.delete("PeriodicTask", "liar")


def test_everything_at_its_limit_works(tenants: Tenants) -> None:
    hostile = tenants.hostile
    longest = "n" * 47
    names = [f"{'队' * 100}-{number}" for number in range(32)]
    hostile.apply(queue(longest, queueName=names[0]))
    crew = pool(longest, autoscaling={"maxReplicas": 3, "targetPerReplica": 1})
    crew["spec"]["queues"] = [{"name": name, "weight": 1000} for name in names]
    crew["metadata"]["annotations"] = {f"a{number}": "é" * 65_000 for number in range(2)}
    hostile.apply(crew)
    filler = "y" * (16 * 1024 - len('{"k":""}'))
    task = {"type": "t", "queue": names[1], "headers": {"hü": "ü" * 500}, "payload": {"k": filler}}
    hostile.apply(periodic_task(longest, "0 5 * * *", timeZone="America/Argentina/ComodRivadavia", task=task))
    eventually(lambda: hostile.condition("WorkerPool", longest), ("True", "ScaledToZero"))
    asyncio.run(enqueue(tenants.redis.url, names[31], 2))
    eventually(lambda: hostile.replicas(f"{longest}-worker"), 2)
    eventually(lambda: hostile.condition("Queue", longest), ("True", "OK"))
    eventually(lambda: hostile.condition("PeriodicTask", longest), ("True", "OK"))

    task["payload"] = {"k": filler + "y"}
    hostile.apply(periodic_task("too-long", "@daily", task=task))
    with pytest.raises(Refused, match="must be an IANA time zone"):
        hostile.apply(periodic_task("nowhere", "@daily", timeZone="Europe/Zürich"))
    hostile.apply(periodic_task("nowhere", "@daily", timeZone="Europe/Zuerich"))
    hostile.apply(periodic_task("never", "0 0 30 2 *"))
    eventually(lambda: hostile.condition("PeriodicTask", "too-long"), ("False", "InvalidTask"))
    assert "16385 bytes, at most 16384" in hostile.message("PeriodicTask", "too-long")
    eventually(lambda: hostile.condition("PeriodicTask", "nowhere"), ("False", "InvalidTimeZone"))
    eventually(lambda: hostile.condition("PeriodicTask", "never"), ("False", "NeverFires"))
    for name, payload in (("twice", '{"a":1,"a":2}'), ("digits", f'{{"a":{"9" * 400}}}'), ("big", '{"a":1e308}')):
        with contextlib.suppress(Refused):
            send_periodic(tenants, name, payload)
    for payload in ('{"a":NaN}', '{"a":Infinity}', '{"a":1e999}', "[1]", '"text"'):
        with pytest.raises(Refused):
            send_periodic(tenants, "refused", payload)
    tenants.unharmed()


def test_a_thousand_schedules_of_one_tenant_are_handed_over(tenants: Tenants) -> None:
    hostile = tenants.hostile
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: send_periodic(tenants, f"many-{n}", f'{{"n":{n}}}'), range(1000)))
    tenants.unharmed()
    with closing(redis.Redis(port=tenants.redis.port)) as admin:
        key = f"longshore:periodic:{hostile.name}/default"
        eventually(lambda: admin.hlen(key), lambda count: count >= 1000, within_s=60)
        tenants.unharmed()
        # what others write beside them is repaired, and what cannot be read disturbs nobody
        admin.hset(key, mapping={"many-1": "[" * 100_000, "x\n{}": b"\xff"})
        admin.set(f"longshore:scheduler:{hostile.name}/default", b"\xff" * 1000)
        admin.sadd("asynq:queues", "{", "}{", "a\nb", "q" * 65_536, b"\xff\xfe")
        for name in ("asynq:{{}:pending", "asynq:{a\nb}:pending", "asynq:{}:pending"):
            admin.lpush(name, b"\xff")
        servers = {f"asynq:servers:{{{host}:1:x}}": time.time() + 600 for host in ("\n", "💣", "a" * 65_536)}
        admin.zadd("asynq:servers", servers)
        for number, name in enumerate(servers):
            admin.set(name, bytes([number]) * 65_536, ex=600)
        eventually(lambda: admin.hget(key, "many-1"), lambda entry: entry != b"[" * 100_000)
        eventually(lambda: admin.hexists(key, "x\n{}"), False)
    tenants.unharmed()
    assert tenants.neighbour.condition("Broker", "default") == ("True", "OK")
