"""The operator on each kind of Redis: sentinels that fail over, a cluster that loses a master, TLS with an ACL user.

Proved on real ones, with the operator as a process. Left out: the connections themselves (tests/topologies), and what
each unread part means (tests/plan/test_partly_unreachable.py).
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
import redis

from handlers.harness import Manifest, Namespace, OperatorProcess, pool, queue
from handlers.waiting import eventually, stays
from localcluster import certificates
from localcluster.certificates import Certificates
from longshore import Client, RedisSettings, Task
from longshore.protocol import keys
from longshore.testing import RedisCluster, RedisSentinel, RedisServer
from longshore.testing.redis_server import free_port
from topologies.roles import rights

pytestmark = pytest.mark.cluster

AUTOSCALING = {
    "maxReplicas": 20,
    "targetPerReplica": 10,
    "scaleDown": {"stabilization": "1s"},
    "zeroAfter": "1s",
}


def a_broker(**spec: Any) -> Manifest:
    return {"kind": "Broker", "metadata": {"name": "default"}, "spec": spec}


def secret(name: str, **texts: str) -> Manifest:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": data}


def enqueue(settings: RedisSettings, count: int, *names: str) -> None:
    async def run() -> None:
        async with Client(settings) as client:
            await client.enqueue_many([Task("t", {}, queue=name) for name in names for _ in range(count)])

    asyncio.run(run())


def container(namespace: Namespace) -> dict[str, Any]:
    deployment = namespace.get("Deployment", "crew-worker") or {}
    found: dict[str, Any]
    [found] = deployment["spec"]["template"]["spec"]["containers"]
    return found


def environment(namespace: Namespace) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(namespace)["env"]}


def generation(namespace: Namespace) -> int:
    """How often the Deployment's spec was changed."""
    number: int = (namespace.get("Deployment", "crew-worker") or {})["metadata"]["generation"]
    return number


def test_counts_are_held_over_a_failover_and_follow_the_new_master(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    servers = ("--requirepass", "data", "--masterauth", "data")
    with RedisSentinel(*servers, sentinel_password="watch") as redises:
        namespace.apply(secret("redis", password="data"))
        sentinel = {
            "masterName": redises.master_name,
            "addresses": [f"127.0.0.1:{each.port}" for each in redises.sentinels],
            "passwordSecretRef": {"name": "sentinels", "key": "pw"},
        }
        namespace.apply(a_broker(sentinel=sentinel, auth={"passwordSecretRef": {"name": "redis"}}))
        namespace.apply(pool("crew", "mail", autoscaling=AUTOSCALING))
        eventually(lambda: namespace.condition("Broker", "default"), ("False", "SecretNotFound"))
        assert "Secret sentinels does not exist" in namespace.message("Broker", "default")
        namespace.apply(secret("sentinels", pw="watch"))
        eventually(lambda: namespace.condition("Broker", "default"), ("True", "OK"))
        status = (namespace.get("Broker", "default") or {})["status"]
        assert (status["mode"], status["address"].endswith("?master=longshore")) == ("sentinel", True)

        settings = RedisSettings(url=redises.url, password="data", sentinel_password="watch")
        enqueue(settings, 50, "mail")
        eventually(lambda: namespace.replicas("crew-worker"), 5)
        assert environment(namespace)["LONGSHORE_REDIS_SENTINEL_PASSWORD"]["secretKeyRef"]["name"] == "sentinels"
        before = generation(namespace)
        old = redises.master
        old.stop()
        redises.wait_for_master(other_than=old)
        assert generation(namespace) == before
        enqueue(settings, 50, "mail")
        eventually(lambda: namespace.replicas("crew-worker"), 10)
        eventually(lambda: namespace.condition("Broker", "default"), ("True", "OK"))
        assert generation(namespace) == before + 1  # from 5 to 10, and to nothing between


def test_a_lost_master_of_a_cluster_keeps_its_own_queues_only(namespace: Namespace, operator: OperatorProcess) -> None:
    with RedisCluster("--cluster-require-full-coverage", "no") as cluster:
        gone = cluster.owner(keys.pending("a"))
        other = next(
            name
            for name in ("b", "c", "d", "e")
            if cluster.owner(keys.pending(name)) not in (gone, cluster.owner(keys.SERVERS))
        )
        namespace.apply(a_broker(cluster={"addresses": [f"127.0.0.1:{each.port}" for each in cluster.masters]}))
        for name, served in (("crew", "a"), ("others", other)):
            namespace.apply(pool(name, served, autoscaling=AUTOSCALING))
            namespace.apply(queue(served))
        enqueue(RedisSettings(url=cluster.url), 30, "a", other)
        eventually(lambda: namespace.replicas("crew-worker"), 3)
        eventually(lambda: (namespace.get("Queue", "a") or {}).get("status", {}).get("pending"), 30)
        assert (namespace.get("Broker", "default") or {})["status"]["mode"] == "cluster"
        gone.stop()
        eventually(lambda: namespace.condition("Broker", "default", "Reachable"), ("False", "PartlyUnreachable"))
        eventually(lambda: namespace.condition("Queue", "a"), ("False", "BrokerUnreachable"))
        assert (namespace.get("Queue", "a") or {})["status"]["pending"] == 30
        enqueue(RedisSettings(url=cluster.url), 30, other)
        eventually(lambda: namespace.replicas("others-worker"), 6)
        eventually(lambda: namespace.condition("WorkerPool", "crew", "ScalingActive"), ("False", "BrokerUnreachable"))
        assert namespace.replicas("crew-worker") == 3
        assert namespace.condition("Queue", other) == ("True", "OK")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("own"), addresses=["10.9.9.9"], names=["redis.test"])


def client_secret(of: Certificates) -> Manifest:
    texts = {"tls.crt": of.kubelet_client.read_text(), "tls.key": of.kubelet_client_key.read_text()}
    return secret("client", **texts)


def test_tls_with_a_client_certificate_and_a_user_with_the_documented_rights(
    namespace: Namespace, operator: OperatorProcess, own: Certificates, tmp_path: Path
) -> None:
    foreign = certificates.make(tmp_path / "foreign", addresses=["10.9.9.9"], names=["redis.test"])
    port = free_port()
    files = {"cert-file": own.server, "key-file": own.server_key, "ca-cert-file": own.authority}
    arguments = [word for name, path in files.items() for word in (f"--tls-{name}", str(path))]
    with RedisServer("--tls-port", str(port), *arguments) as server, redis.Redis(port=server.port) as admin:
        rules = " ".join(rights("inspector")).split()
        admin.execute_command("ACL", "SETUSER", "operator", "on", ">pw", "+select", *rules)
        admin.execute_command("ACL", "SETUSER", "default", "resetpass", "on", ">admin", "~*", "&*", "+@all")
        namespace.apply(secret("redis", password="pw"))
        namespace.apply(secret("authority", **{"ca.crt": own.authority.read_text()}))
        namespace.apply(client_secret(foreign))
        tls = {
            "caSecretRef": {"name": "authority"},
            "clientCertSecretRef": {"name": "client"},
            "serverName": "redis.test",
        }
        auth = {"username": "operator", "passwordSecretRef": {"name": "redis"}}
        url = f"rediss://127.0.0.1:{port}"
        namespace.apply(a_broker(url=url, database=1, auth=auth, tls=tls))
        namespace.apply(pool("crew", "mail"))
        namespace.apply(queue("mail", paused=True))
        eventually(lambda: namespace.condition("Broker", "default"), ("False", "BrokerUnreachable"))
        eventually(lambda: namespace.get("Deployment", "crew-worker"), bool)
        assert environment(namespace)["LONGSHORE_REDIS_URL"] == f"{url}/1"
        assert environment(namespace)["LONGSHORE_REDIS_TLS_SERVER_NAME"] == "redis.test"

        before = generation(namespace)
        namespace.apply(client_secret(own))
        eventually(lambda: namespace.condition("Broker", "default"), ("True", "OK"), within_s=60)
        eventually(lambda: namespace.condition("Queue", "mail", "Paused"), ("True", "PausedBySpec"))
        eventually(lambda: generation(namespace), before + 1)

        # Of a Secret that cannot be used any more the pods that run need nothing.
        namespace.apply(secret("authority", **{"ca.crt": ""}))
        eventually(lambda: namespace.condition("Broker", "default"), ("False", "SecretInvalid"), within_s=60)
        assert "Secret authority: the value of ca.crt is empty" in namespace.message("Broker", "default")
        stays(lambda: generation(namespace), before + 1, for_s=3)
        # A new template waits for it, and the count does not.
        namespace.apply(pool("crew", "mail", image="shop:2", replicas=2))
        eventually(lambda: namespace.replicas("crew-worker"), 2)
        assert container(namespace)["image"] == "shop:1"
        namespace.apply(secret("authority", **{"ca.crt": own.authority.read_text()}))
        eventually(lambda: container(namespace)["image"], "shop:2")
        assert generation(namespace) == before + 3
        assert "PRIVATE KEY" not in operator.log
