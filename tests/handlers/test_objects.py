"""What people count on (the eight behaviours of the API), on a real API server and a real Redis.

Proved, with the operator as a process that has only the rights of rbac.py: any order of creation; a Secret that is
missing or changes; a Redis that is down at the start or under load; a template the API server refuses; a Deployment of
our name that is not ours; edits put back; the deletion of a Broker in use and of a pool without an operator; what rolls
pods and what does not. Left out: what the plan decides in detail (tests/plan), and pods that run (tests/e2e).
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
import redis

from handlers.harness import (
    Namespace,
    OperatorProcess,
    Refused,
    broker,
    periodic_task,
    pool,
    queue,
    running_operator,
)
from handlers.waiting import eventually, stays
from longshore import Client, Task
from longshore.testing import RedisServer

pytestmark = pytest.mark.cluster


def enqueue(url: str, count: int, name: str = "mail") -> None:
    async def run() -> None:
        async with Client(url) as client:
            await client.enqueue_many([Task("t", {}, queue=name) for _ in range(count)])

    asyncio.run(run())


def secret(password: str) -> dict[str, Any]:
    return {
        "kind": "Secret",
        "metadata": {"name": "redis"},
        "data": {"password": base64.b64encode(password.encode()).decode()},
    }


def worker_container(namespace: Namespace, name: str) -> dict[str, Any]:
    deployment = namespace.get("Deployment", name)
    assert deployment is not None
    container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def test_objects_may_come_in_any_order(namespace: Namespace, operator: OperatorProcess, redis_url: str) -> None:
    namespace.apply(pool("crew", "mail"))
    namespace.apply(queue("mail"))
    namespace.apply(periodic_task("nightly", "0 3 * * *"))
    for kind, name in (("WorkerPool", "crew"), ("Queue", "mail"), ("PeriodicTask", "nightly")):
        eventually(lambda kind=kind, name=name: namespace.condition(kind, name), ("False", "BrokerNotFound"))
        assert "Broker default" in namespace.message(kind, name)
    assert namespace.list("Deployment") == []

    namespace.apply(broker(redis_url))
    eventually(lambda: namespace.condition("Queue", "mail"), ("True", "OK"))
    eventually(lambda: namespace.replicas("crew-worker"), 1)
    eventually(lambda: namespace.condition("PeriodicTask", "nightly"), ("True", "OK"))
    eventually(lambda: namespace.replicas("default-scheduler"), 1)
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("False", "WorkersStarting"))
    with redis.Redis.from_url(redis_url) as client:
        assert list(client.hgetall(f"longshore:periodic:{namespace.name}/default")) == [b"nightly"]
    # each transition is one Event
    (event,) = namespace.events("crew", "BrokerNotFound")
    assert (event["type"], event.get("count", 1)) == ("Warning", 1)


def test_a_secret_may_come_late_and_a_change_rolls_pods_once(namespace: Namespace, operator: OperatorProcess) -> None:
    with RedisServer("--requirepass", "first") as server:
        reference = {"passwordSecretRef": {"name": "redis", "key": "password"}}
        namespace.apply(broker(server.url, auth=reference))
        namespace.apply(pool("crew", "mail"))
        eventually(lambda: namespace.condition("Broker", "default"), ("False", "SecretNotFound"))
        assert "Secret redis" in namespace.message("Broker", "default")
        assert namespace.replicas("crew-worker") is None

        namespace.apply(secret("first"))
        eventually(lambda: namespace.condition("Broker", "default"), ("True", "OK"))
        eventually(lambda: namespace.replicas("crew-worker"), 1)
        environment = {each["name"]: each for each in worker_container(namespace, "crew-worker")["env"]}
        assert environment["LONGSHORE_REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "redis"

        with redis.Redis(port=server.port, password="first") as client:
            client.config_set("requirepass", "second")
            client.client_kill_filter(_type="normal", skipme=True)
        before = namespace.get("Deployment", "crew-worker")
        assert before is not None
        namespace.apply(secret("second"))
        changed = eventually(
            lambda: namespace.get("Deployment", "crew-worker"),
            lambda now: now is not None and now["metadata"]["generation"] > before["metadata"]["generation"],
            within_s=60,
        )
        assert changed is not None
        eventually(lambda: namespace.condition("Broker", "default"), ("True", "OK"))
        stays(
            lambda: (namespace.get("Deployment", "crew-worker") or {})["metadata"]["generation"],
            before["metadata"]["generation"] + 1,
            for_s=5,
        )


def test_a_redis_that_is_down_at_the_start_is_used_when_it_comes(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    with RedisServer() as server:
        server.stop()
        namespace.apply(broker(server.url))
        namespace.apply(pool("crew", "mail", replicas=2))
        eventually(lambda: namespace.condition("Broker", "default", "Reachable"), ("False", "BrokerUnreachable"))
        server.start()
        eventually(lambda: namespace.condition("Broker", "default", "Reachable"), ("True", "RedisAnswers"))
        eventually(lambda: namespace.replicas("crew-worker"), 2)


def test_replicas_are_held_while_redis_is_away(namespace: Namespace, operator: OperatorProcess) -> None:
    autoscaling = {"maxReplicas": 10, "scaleDown": {"stabilization": "1s"}, "zeroAfter": "1s"}
    with RedisServer() as server:
        namespace.apply(broker(server.url))
        namespace.apply(pool("crew", "mail", concurrency=10, autoscaling=autoscaling))
        eventually(lambda: namespace.replicas("crew-worker"), 0)
        enqueue(server.url, 100)
        eventually(lambda: namespace.replicas("crew-worker"), 5)
        server.freeze()
        eventually(lambda: namespace.condition("Broker", "default", "Reachable"), ("False", "BrokerUnreachable"))
        eventually(lambda: namespace.condition("WorkerPool", "crew"), ("False", "BrokerUnreachable"))
        stays(lambda: namespace.replicas("crew-worker"), 5, for_s=5)
        # an edit of the count is not followed either: the operator owns it
        namespace.patch("Deployment", "crew-worker", {"spec": {"replicas": 1}})
        eventually(lambda: namespace.replicas("crew-worker"), 5)
        server.stop()
        stays(lambda: namespace.replicas("crew-worker"), 5, for_s=3)
        server.start()  # empty
        eventually(lambda: namespace.condition("Broker", "default", "Reachable"), ("True", "RedisAnswers"))
        eventually(lambda: namespace.replicas("crew-worker"), 0)


def test_a_burst_scales_up_and_its_end_scales_to_zero(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    autoscaling = {"maxReplicas": 7, "targetPerReplica": 10, "scaleDown": {"stabilization": "2s"}, "zeroAfter": "2s"}
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", autoscaling=autoscaling))
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("True", "ScaledToZero"))
    enqueue(redis_url, 500)
    eventually(lambda: namespace.replicas("crew-worker"), 7)
    status = eventually(
        lambda: (namespace.get("WorkerPool", "crew") or {})["status"], lambda now: now["desiredReplicas"] == 7
    )
    assert "0 → 7" in status["decision"]
    assert "maxReplicas" in status["decision"]
    assert namespace.condition("WorkerPool", "crew", "ScalingLimited") == ("True", "MaxReplicas")
    with redis.Redis.from_url(redis_url) as client:
        client.delete("asynq:{mail}:pending")
    eventually(lambda: namespace.replicas("crew-worker"), 0)


def test_a_template_that_the_api_server_refuses_is_told_and_the_last_good_one_stays(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", image="shop:1"))
    eventually(lambda: namespace.replicas("crew-worker"), 1)

    bad = {"spec": {"containers": [{"name": "worker", "imagePullPolicy": "Sometimes"}]}}
    namespace.apply(pool("crew", "mail", image="shop:2", template=bad))
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("False", "InvalidTemplate"))
    assert "imagePullPolicy" in namespace.message("WorkerPool", "crew")
    assert worker_container(namespace, "crew-worker")["image"] == "shop:1"
    # its count still follows
    namespace.apply(pool("crew", "mail", image="shop:2", template=bad, replicas=3))
    eventually(lambda: namespace.replicas("crew-worker"), 3)
    assert worker_container(namespace, "crew-worker")["image"] == "shop:1"
    assert namespace.condition("WorkerPool", "crew") == ("False", "InvalidTemplate")
    (event,) = namespace.events("crew", "InvalidTemplate")
    assert event.get("count", 1) == 1

    namespace.apply(pool("crew", "mail", image="shop:2", replicas=3))
    eventually(lambda: worker_container(namespace, "crew-worker")["image"], "shop:2")
    eventually(lambda: namespace.condition("WorkerPool", "crew"), lambda now: now != ("False", "InvalidTemplate"))
    assert namespace.replicas("crew-worker") == 3


def test_an_unknown_field_in_a_template_is_refused_not_dropped(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", template={"spec": {"terminationGracePeriod": 5}}))
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("False", "InvalidTemplate"))
    assert "terminationGracePeriod" in namespace.message("WorkerPool", "crew")
    assert namespace.list("Deployment") == []


def test_a_deployment_of_our_name_that_is_not_ours_is_left_alone(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    labels = {"app": "theirs"}
    theirs = {
        "kind": "Deployment",
        "metadata": {"name": "crew-worker"},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    }
    before = namespace.apply(theirs)
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail"))
    eventually(lambda: namespace.condition("WorkerPool", "crew"), ("False", "NameConflict"))
    assert "crew-worker" in namespace.message("WorkerPool", "crew")
    after = namespace.get("Deployment", "crew-worker")
    assert after is not None
    assert (after["spec"], after["metadata"].get("labels")) == (before["spec"], before["metadata"].get("labels"))

    namespace.delete("Deployment", "crew-worker")
    eventually(
        lambda: (namespace.get("Deployment", "crew-worker") or {"metadata": {}})["metadata"].get("labels", {}),
        lambda now: now.get("longshore.dev/pool") == "crew",
        within_s=60,
    )


def test_edits_of_our_fields_are_put_back_and_what_others_add_stays(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", replicas=2))
    eventually(lambda: namespace.replicas("crew-worker"), 2)
    namespace.patch(
        "Deployment",
        "crew-worker",
        {
            "metadata": {"labels": {"team": "a", "longshore.dev/pool": "edited"}, "annotations": {"note": "b"}},
            "spec": {"replicas": 9, "minReadySeconds": 7},
        },
        manager="kubectl-edit",
    )
    eventually(lambda: namespace.replicas("crew-worker"), 2)
    now = eventually(
        lambda: namespace.get("Deployment", "crew-worker") or {},
        lambda now: now["metadata"]["labels"]["longshore.dev/pool"] == "crew",
    )
    assert now["metadata"]["labels"]["team"] == "a"
    assert now["metadata"]["annotations"]["note"] == "b"
    assert now["spec"]["minReadySeconds"] == 7
    event = eventually(lambda: namespace.events("crew", "EditUndone"), lambda found: len(found) == 1)[0]
    assert "kubectl-edit" in event["message"]
    stays(lambda: len(namespace.events("crew", "EditUndone")), 1, for_s=3)


def test_a_deployment_that_somebody_deletes_is_made_again(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail"))
    eventually(lambda: namespace.replicas("crew-worker"), 1)
    first = (namespace.get("Deployment", "crew-worker") or {})["metadata"]["uid"]
    namespace.delete("Deployment", "crew-worker")
    eventually(
        lambda: (namespace.get("Deployment", "crew-worker") or {"metadata": {"uid": first}})["metadata"]["uid"],
        lambda uid: uid != first,
    )


def test_a_deployment_whose_label_was_taken_is_found_and_gets_it_back(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail"))
    eventually(lambda: namespace.replicas("crew-worker"), 1)
    first = (namespace.get("Deployment", "crew-worker") or {})["metadata"]["uid"]
    namespace.patch("Deployment", "crew-worker", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "helm"}}})
    now = eventually(
        lambda: namespace.get("Deployment", "crew-worker") or {},
        lambda now: now["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "longshore",
    )
    assert now["metadata"]["uid"] == first


def test_a_broker_in_use_waits_to_be_deleted_and_goes_with_its_last_user(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(queue("mail"))
    namespace.apply(pool("crew", "mail"))
    eventually(lambda: namespace.condition("Queue", "mail"), ("True", "OK"))
    eventually(
        lambda: (namespace.get("Broker", "default") or {})["metadata"].get("finalizers"), ["longshore.dev/in-use"]
    )
    namespace.delete("Broker", "default")
    eventually(lambda: namespace.condition("Broker", "default", "InUse"), ("True", "StillUsed"))
    assert "Queue/mail, WorkerPool/crew" in namespace.message("Broker", "default", "InUse")
    namespace.delete("Queue", "mail")
    eventually(lambda: namespace.message("Broker", "default", "InUse"), lambda now: "Queue/mail" not in now)
    assert namespace.get("Broker", "default") is not None
    namespace.delete("WorkerPool", "crew")
    eventually(lambda: namespace.get("Broker", "default"), None)


def test_a_broker_that_nobody_uses_has_no_finalizer(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    eventually(lambda: namespace.condition("Broker", "default"), ("True", "OK"))
    assert "finalizers" not in (namespace.get("Broker", "default") or {})["metadata"]
    operator.stop()
    namespace.delete("Broker", "default")
    eventually(lambda: namespace.get("Broker", "default"), None)


def test_a_pool_can_be_deleted_while_no_operator_runs(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", replicas=2, disruption={}))
    eventually(lambda: len(namespace.list("Pod")), 2)
    eventually(lambda: len(namespace.list("PodDisruptionBudget")), 1)
    operator.kill()
    namespace.delete("WorkerPool", "crew")
    eventually(lambda: namespace.get("WorkerPool", "crew"), None)
    eventually(lambda: namespace.get("Deployment", "crew-worker"), None, within_s=60)
    eventually(lambda: namespace.list("Pod"), [], within_s=60)
    eventually(lambda: namespace.list("PodDisruptionBudget"), [], within_s=60)


def test_a_change_of_the_count_rolls_no_pod_and_a_change_of_the_image_leaves_the_count(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    def template() -> Any:
        return (namespace.get("Deployment", "crew-worker") or {})["spec"]["template"]

    namespace.apply(broker(redis_url))
    namespace.apply(pool("crew", "mail", replicas=2))
    pods = {each["metadata"]["name"] for each in eventually(lambda: namespace.list("Pod"), lambda now: len(now) == 2)}
    before = template()
    namespace.patch("WorkerPool", "crew", {"spec": {"replicas": 4}})
    eventually(lambda: namespace.replicas("crew-worker"), 4)
    now = {each["metadata"]["name"] for each in eventually(lambda: namespace.list("Pod"), lambda now: len(now) == 4)}
    assert pods < now
    assert template() == before

    namespace.patch("WorkerPool", "crew", {"spec": {"image": "shop:2"}})
    eventually(lambda: worker_container(namespace, "crew-worker")["image"], "shop:2")
    stays(lambda: namespace.replicas("crew-worker"), 4, for_s=2)


def test_a_restarted_operator_adopts_the_count_that_it_finds(
    namespace: Namespace, tmp_path: Path, redis_url: str
) -> None:
    autoscaling = {"maxReplicas": 9, "targetPerReplica": 10, "scaleDown": {"stabilization": "300s"}}
    with running_operator(namespace, tmp_path) as operator:
        namespace.apply(broker(redis_url))
        namespace.apply(pool("crew", "mail", autoscaling=autoscaling))
        enqueue(redis_url, 60)
        eventually(lambda: namespace.replicas("crew-worker"), 6)
        operator.kill()
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        # the one that vanished still holds the Lease for 15 s
        operator.start()
        eventually(lambda: operator.log.count("leading"), 2, within_s=60)
        # The first one may have vanished before it reported anything.
        eventually(lambda: (namespace.get("WorkerPool", "crew") or {}).get("status", {}).get("backlog"), 0)
        stays(lambda: namespace.replicas("crew-worker"), 6, for_s=5)


def test_queues_are_paused_by_their_spec_and_told_apart_when_two_name_one(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(queue("mail"))
    eventually(lambda: namespace.condition("Queue", "mail"), ("True", "OK"))
    namespace.apply(queue("post", queueName="mail"))
    eventually(lambda: namespace.condition("Queue", "post"), ("False", "Conflict"))
    assert "Queue/mail" in namespace.message("Queue", "post")
    enqueue(redis_url, 3)
    eventually(lambda: (namespace.get("Queue", "mail") or {})["status"].get("pending"), 3)

    with redis.Redis.from_url(redis_url) as client:
        namespace.apply(queue("mail", paused=True))
        eventually(lambda: client.exists("asynq:{mail}:paused"), 1)
        eventually(lambda: namespace.condition("Queue", "mail", "Paused"), lambda now: now and now[0] == "True")
        client.delete("asynq:{mail}:paused")  # by hand
        eventually(lambda: client.exists("asynq:{mail}:paused"), 1)
        eventually(lambda: len(namespace.events("mail", "PauseRestored")), 1)
        namespace.apply(queue("mail", paused=False))
        eventually(lambda: client.exists("asynq:{mail}:paused"), 0)

        namespace.delete("Queue", "mail")
        eventually(lambda: namespace.condition("Queue", "post"), ("True", "OK"))

        client.delete("asynq:{mail}:pending")
        client.set("asynq:{mail}:pending", "no list")
        eventually(lambda: namespace.condition("Queue", "post"), ("False", "WrongType"))
        assert "pending" not in (namespace.get("Queue", "post") or {})["status"]


def test_periodic_entries_are_repaired_and_a_bad_one_harms_no_other(
    namespace: Namespace, operator: OperatorProcess, redis_url: str
) -> None:
    namespace.apply(broker(redis_url))
    namespace.apply(periodic_task("good", "*/5 * * * *"))
    namespace.apply(periodic_task("bad", "61 * * * *"))
    namespace.apply(periodic_task("lost", "0 3 * * *", timeZone="Mars/Olympus"))
    key = f"longshore:periodic:{namespace.name}/default"
    with redis.Redis.from_url(redis_url) as client:
        eventually(lambda: list(client.hkeys(key)), [b"good"])
        eventually(lambda: namespace.condition("PeriodicTask", "good"), ("True", "OK"))
        eventually(lambda: namespace.condition("PeriodicTask", "bad"), ("False", "InvalidSchedule"))
        assert "61" in namespace.message("PeriodicTask", "bad")
        eventually(lambda: namespace.condition("PeriodicTask", "lost"), lambda now: now and now[0] == "False")
        assert "Mars/Olympus" in namespace.message("PeriodicTask", "lost")
        before = client.hget(key, "good")
        client.delete(key)
        eventually(lambda: client.hget(key, "good"), lambda now: now is not None)
        client.hset(key, "stranger", "{}")
        eventually(lambda: list(client.hkeys(key)), [b"good"])
        assert before is not None
        namespace.delete("PeriodicTask", "good")
        eventually(lambda: client.exists(key), 0)
        namespace.delete("PeriodicTask", "bad")
        namespace.delete("PeriodicTask", "lost")
        eventually(lambda: namespace.get("Deployment", "default-scheduler"), None)


def test_what_the_schema_refuses_never_reaches_the_operator(namespace: Namespace, operator: OperatorProcess) -> None:
    with pytest.raises(Refused, match="password"):
        namespace.apply(broker("redis://:secret@r:6379/0"))
