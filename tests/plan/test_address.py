"""A Broker's address, as its workers are told, and spelled for the operator, which runs in another namespace."""

from __future__ import annotations

from typing import Any

import pytest

from longshore.broker.base import RedisSettings
from longshore.broker.redis_url import redis_target
from longshore_operator.api.broker import Credential, SecretKeyRef
from longshore_operator.plan.address import access_for_operator, address_for_operator, redis_url
from plan.scenes import broker

SENTINEL = {"masterName": "main", "addresses": ["s1:26379", "[::1]:26379"]}
CLUSTER = {"addresses": ["n1:6379", "n2.data:6379"]}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("redis://redis:6379/0", "redis://redis.shop:6379/0", id="a Service of the Broker's namespace"),
        pytest.param("rediss://redis", "rediss://redis.shop", id="without port and database"),
        pytest.param("redis://worker@redis:6379/1", "redis://worker@redis.shop:6379/1", id="with a user"),
        pytest.param("redis://redis.data:6379/0", "redis://redis.data:6379/0", id="a Service of another namespace"),
        pytest.param("redis://r.example.com/0?a=b", "redis://r.example.com/0?a=b", id="a name of the internet"),
        pytest.param("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0", id="an address"),
        pytest.param("redis://[fd00::1]:6379/0", "redis://[fd00::1]:6379/0", id="an IPv6 address"),
        pytest.param(
            "redis-sentinel://s1:26379,s2.data,10.0.0.1:26379/0?master=main",
            "redis-sentinel://s1.shop:26379,s2.data,10.0.0.1:26379/0?master=main",
            id="sentinels",
        ),
        pytest.param("rediss-cluster://a,[fd00::1]:1,b:7", "rediss-cluster://a.shop,[fd00::1]:1,b.shop:7", id="nodes"),
        pytest.param("redis://localhost:6379/0", "redis://localhost:6379/0", id="this machine, in development"),
    ],
)
def test_a_short_name_is_of_the_brokers_own_namespace(url: str, expected: str) -> None:
    assert address_for_operator(url, "shop") == expected


@pytest.mark.parametrize(
    ("spec", "url", "mode"),
    [
        pytest.param({"url": "redis://r"}, "redis://r", "standalone", id="as it is written"),
        pytest.param({"url": "rediss://r:1/3", "database": 3, "tls": {}}, "rediss://r:1/3", "standalone", id="twice"),
        pytest.param({"url": "redis://r:1/", "database": 3}, "redis://r:1/3", "standalone", id="a database beside it"),
        pytest.param({"url": "redis://r", "database": 0}, "redis://r/0", "standalone", id="database 0"),
        pytest.param(
            {"url": None, "sentinel": SENTINEL, "database": 2},
            "redis-sentinel://s1:26379,[::1]:26379/2?master=main",
            "sentinel",
            id="sentinels",
        ),
        pytest.param(
            {"url": None, "sentinel": SENTINEL, "tls": {}},
            "rediss-sentinel://s1:26379,[::1]:26379/0?master=main",
            "sentinel",
            id="sentinels with TLS",
        ),
        pytest.param(
            {"url": None, "cluster": CLUSTER}, "redis-cluster://n1:6379,n2.data:6379", "cluster", id="a cluster"
        ),
        pytest.param(
            {"url": None, "cluster": CLUSTER, "database": 0, "tls": {}},
            "rediss-cluster://n1:6379,n2.data:6379",
            "cluster",
            id="a cluster with TLS",
        ),
    ],
)
def test_workers_are_told_one_url_whatever_the_redis_is(spec: dict[str, Any], url: str, mode: str) -> None:
    tried = broker(**spec)
    assert (redis_url(tried), tried.mode.value) == (url, mode)
    redis_target(RedisSettings(url=url))  # the runtime can read it


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        pytest.param({"url": "rediss://redis:6379/0"}, "redis", id="as it is written, though it is asked in full"),
        pytest.param({"url": "rediss://redis", "tls": {"serverName": "r.test"}}, "r.test", id="as it is given"),
        pytest.param({"url": None, "cluster": CLUSTER, "tls": {}}, None, id="each node its own"),
        pytest.param({"url": "redis://redis"}, None, id="no TLS"),
    ],
)
def test_operator_and_workers_hold_a_certificate_against_the_same_name(spec: dict[str, Any], name: str | None) -> None:
    access = access_for_operator(broker(**spec))
    assert (access.server_name, access.tls) == (name, "rediss" in access.url)


def test_every_secret_that_is_named_is_known_with_its_purpose_and_no_other() -> None:
    tried = broker(
        url=None,
        sentinel={**SENTINEL, "username": "watcher", "passwordSecretRef": {"name": "watch", "key": "pw"}},
        auth={"username": "shop", "passwordSecretRef": {"name": "redis"}},
        tls={"caSecretRef": {"name": "ca"}, "clientCertSecretRef": {"name": "cert"}, "insecureSkipVerify": False},
    )
    access = access_for_operator(tried)
    assert access.secrets == {
        Credential.PASSWORD: SecretKeyRef(name="redis", key="password"),
        Credential.SENTINEL_PASSWORD: SecretKeyRef(name="watch", key="pw"),
        Credential.AUTHORITIES: tried.spec.tls.ca_secret_ref if tried.spec.tls else None,
        Credential.CLIENT_CERTIFICATE: SecretKeyRef(name="cert", key="tls.crt"),
        Credential.CLIENT_KEY: SecretKeyRef(name="cert", key="tls.key"),
    }
    assert access.secrets[Credential.AUTHORITIES].key == "ca.crt"
    assert (access.username, access.sentinel_username) == ("shop", "watcher")
    assert broker().secrets == {}
