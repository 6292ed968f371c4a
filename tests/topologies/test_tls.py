"""TLS: certificates of a CA of one's own, the client's own certificate, and what is told of wrong ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from localcluster import certificates
from localcluster.certificates import Certificates
from longshore import BrokerUnavailable, Client, Inspector, RedisSettings
from longshore.broker.redis_url import redis_target
from longshore.testing import RedisCluster, RedisServer


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("own"), addresses=["127.0.0.1"], names=["redis.test"])


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("foreign"), addresses=["127.0.0.1"], names=["redis.test"])


def _arguments(own: Certificates) -> tuple[str, ...]:
    files = {"cert-file": own.server, "key-file": own.server_key, "ca-cert-file": own.authority}
    return tuple(word for name, path in files.items() for word in (f"--tls-{name}", str(path)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def port(own: Certificates) -> Iterator[int]:
    """Of a Redis that wants to see each client's certificate."""
    port = _free_port()
    with RedisServer("--tls-port", str(port), *_arguments(own)):
        yield port


async def _ping(url: str) -> None:
    async with Client(RedisSettings(url=url)) as client:
        await client.ping()


def _client(of: Certificates) -> str:
    return f"ssl_certfile={of.kubelet_client}&ssl_keyfile={of.kubelet_client_key}"


async def test_a_client_with_a_certificate_of_the_same_authority_is_let_in(port: int, own: Certificates) -> None:
    await _ping(f"rediss://127.0.0.1:{port}?ssl_ca_certs={own.authority}&{_client(own)}")


async def test_a_server_of_another_authority_is_refused_with_the_reason(
    port: int, own: Certificates, foreign: Certificates
) -> None:
    with pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{port}.*certificate verify failed"):
        await _ping(f"rediss://127.0.0.1:{port}?ssl_ca_certs={foreign.authority}&{_client(own)}")


async def test_a_server_of_another_name_is_refused_with_the_reason(port: int, own: Certificates) -> None:
    with pytest.raises(BrokerUnavailable, match="certificate is not valid for 'localhost'"):
        await _ping(f"rediss://localhost:{port}?ssl_ca_certs={own.authority}&{_client(own)}")
    await _ping(f"rediss://localhost:{port}?ssl_ca_certs={own.authority}&{_client(own)}&ssl_check_hostname=false")


@pytest.mark.parametrize("with_a_foreign_one", [False, True])
async def test_a_client_without_a_good_certificate_is_refused_with_the_reason(
    with_a_foreign_one: bool, port: int, own: Certificates, foreign: Certificates
) -> None:
    shown = f"&{_client(foreign)}" if with_a_foreign_one else ""
    with pytest.raises(BrokerUnavailable, match=r"(?i)certificate|unknown ca|connection|closed"):
        await _ping(f"rediss://127.0.0.1:{port}?ssl_ca_certs={own.authority}{shown}")


async def test_a_missing_file_is_told_of(port: int) -> None:
    with pytest.raises((BrokerUnavailable, ValueError), match=r"(?i)no such file|TLS options"):
        await _ping(f"rediss://127.0.0.1:{port}?ssl_ca_certs=/nowhere/ca.crt")


async def test_a_plain_connection_to_a_tls_port_and_the_reverse_are_told_of(own: Certificates, port: int) -> None:
    with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}"):
        await _ping(f"redis://127.0.0.1:{port}")
    with RedisServer() as plain, pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{plain.port}"):
        await _ping(f"rediss://127.0.0.1:{plain.port}?ssl_ca_certs={own.authority}")


async def test_a_cluster_is_spoken_to_with_tls_on_every_node(own: Certificates) -> None:
    # with which the nodes speak to each other
    as_client = (
        "--tls-client-cert-file",
        str(own.kubelet_client),
        "--tls-client-key-file",
        str(own.kubelet_client_key),
    )
    with RedisCluster(tls=(*_arguments(own), *as_client)) as cluster:
        url = f"{cluster.url}?ssl_ca_certs={own.authority}&{_client(own)}"
        async with Client(url) as client, Inspector(url) as inspector:
            for queue in ("a", "b", "c", "d"):
                await client.enqueue("work", queue=queue)
            assert [queue.pending for queue in await inspector.queues()] == [1, 1, 1, 1]


def test_sentinels_and_servers_are_spoken_to_with_the_same_tls_settings(own: Certificates) -> None:
    url = f"rediss-sentinel://:data@s1,s2/3?master=main&ssl_ca_certs={own.authority}&sentinel_password=watch"
    target = redis_target(RedisSettings(url=url))
    server = target.factory(("h", 1)).connection_kwargs
    sentinel = target.sentinel_factory(("s1", 2)).connection_kwargs
    assert server["ssl_ca_certs"] == sentinel["ssl_ca_certs"] == str(own.authority)
    assert target.factory().connection_class is target.sentinel_factory(("s1", 2)).connection_class
    assert (server["password"], sentinel["password"]) == ("data", "watch")
    assert (server["db"], sentinel.get("db")) == (3, None)
