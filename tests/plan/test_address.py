"""A Broker's address, spelled for the operator, which runs in another namespace than the workers."""

from __future__ import annotations

import pytest

from longshore_operator.plan.address import address_for_operator


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
