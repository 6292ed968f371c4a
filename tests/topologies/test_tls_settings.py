"""TLS given beside the URL: as files, as text, with another server name; and what is told of what cannot be used.

Proved on a real Redis that wants to see each client's certificate. Left out: what a URL's query says (test_tls).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import certificates
from localcluster.certificates import Certificates
from longshore import BrokerUnavailable, Client, InvalidOption, RedisSettings, RedisTls
from longshore.broker.redis_url import redis_target
from longshore.cli.main import main
from longshore.testing import RedisServer
from longshore.testing.redis_server import free_port


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("own"), addresses=["10.9.9.9"], names=["redis.test"])


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("foreign"), addresses=["10.9.9.9"], names=["redis.test"])


@pytest.fixture(scope="module")
def url(own: Certificates) -> Iterator[str]:
    """Of a Redis at an address that its certificate does not name."""
    port = free_port()
    files = {"cert-file": own.server, "key-file": own.server_key, "ca-cert-file": own.authority}
    arguments = [word for name, path in files.items() for word in (f"--tls-{name}", str(path))]
    with RedisServer("--tls-port", str(port), *arguments):
        yield f"rediss://127.0.0.1:{port}"


def _files(own: Certificates, **changes: object) -> RedisTls:
    values: dict[str, object] = {
        "ca_file": own.authority,
        "cert_file": own.kubelet_client,
        "key_file": str(own.kubelet_client_key),
        "server_name": "redis.test",
    }
    return RedisTls(**{**values, **changes})  # type: ignore[arg-type]


def _texts(own: Certificates, **changes: object) -> RedisTls:
    values: dict[str, object] = {
        "ca_data": own.authority.read_text(),
        "cert_data": own.kubelet_client.read_text(),
        "key_data": own.kubelet_client_key.read_text(),
        "server_name": "redis.test",
    }
    return RedisTls(**{**values, **changes})  # type: ignore[arg-type]


async def _ping(url: str, tls: RedisTls) -> None:
    async with Client(RedisSettings(url=url, tls=tls), retry_for=0) as client:
        await client.ping()


@pytest.mark.parametrize("given", [_files, _texts])
async def test_files_and_texts_do_the_same(given: object, url: str, own: Certificates) -> None:
    await _ping(url, given(own))  # type: ignore[operator]


async def test_the_name_that_is_verified_is_the_one_that_is_given(url: str, own: Certificates) -> None:
    with pytest.raises(BrokerUnavailable, match=r"certificate is not valid for '127\.0\.0\.1'"):
        await _ping(url, _files(own, server_name=None))
    with pytest.raises(BrokerUnavailable, match=r"certificate is not valid for 'other\.test'"):
        await _ping(url, _files(own, server_name="other.test"))


async def test_no_other_authority_is_trusted_unless_nothing_is_verified(
    url: str, own: Certificates, foreign: Certificates
) -> None:
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        await _ping(url, _texts(own, ca_data=foreign.authority.read_text()))
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        await _ping(url, _texts(own, ca_data=None))
    await _ping(url, _texts(own, ca_data=None, server_name=None, insecure_skip_verify=True))


@pytest.mark.parametrize("scheme", ["redis://h", "redis-sentinel://h/0?master=m", "redis-cluster://h"])
def test_tls_needs_a_url_that_says_so(scheme: str) -> None:
    with pytest.raises(InvalidOption, match="must begin with rediss://"):
        redis_target(RedisSettings(url=scheme, tls=RedisTls()))


def test_tls_is_given_in_one_way_only() -> None:
    settings = RedisSettings(url="rediss://h?ssl_check_hostname=false", tls=RedisTls(server_name="x"))
    with pytest.raises(InvalidOption, match=r"TLS options \(ssl_check_hostname\), and others are given beside it"):
        redis_target(settings)


def test_sentinels_and_servers_share_the_settings(own: Certificates) -> None:
    target = redis_target(RedisSettings(url="rediss-sentinel://s1,s2/0?master=main", tls=_texts(own)))
    server = target.factory(("h", 1)).connection_kwargs
    sentinel = target.sentinel_factory(("s1", 2)).connection_kwargs
    assert server["tls_context"] is sentinel["tls_context"]
    assert server["tls_server_name"] == sentinel["tls_server_name"] == "redis.test"


def test_what_cannot_be_used_is_told_by_field(own: Certificates, foreign: Certificates, tmp_path: Path) -> None:
    junk, nowhere = tmp_path / "junk.pem", tmp_path / "nowhere.pem"
    junk.write_text("junk")
    for tls, field, problem in (
        (_files(own, ca_file=nowhere), "ca_file", f"{nowhere}: No such file"),
        (_files(own, ca_file=junk), "ca_file", f"{junk}: holds no certificate in PEM"),
        (_texts(own, ca_data="junk"), "ca_data", "holds no certificate in PEM"),
        (_texts(own, ca_data=""), "ca_data", "Empty"),
        (_files(own, key_file=nowhere), "key_file", f"{nowhere}: No such file"),
        (_files(own, cert_file=junk), "cert_file and key_file", "must be a certificate and its key in PEM"),
        (_texts(own, key_data=foreign.kubelet_client_key.read_text()), "cert_data and key_data", "do not belong"),
        (_texts(own, key_data="junk"), "cert_data and key_data", "must be a certificate and its key in PEM"),
    ):
        with pytest.raises(InvalidOption, match=rf"redis TLS {field}.*{problem}"):
            redis_target(RedisSettings(url="rediss://h", tls=tls))


@pytest.mark.parametrize(
    "fields",
    [{"ca_file": "a", "ca_data": "b"}, {"key_file": "a"}, {"key_data": "a"}, {"cert_data": "a"}],
    ids=lambda fields: "+".join(fields),
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidOption, match="redis TLS"):
        RedisTls(**fields)  # type: ignore[arg-type]


def test_a_key_given_as_text_is_in_no_repr_and_in_no_file_that_stays(own: Certificates, tmp_path: Path) -> None:
    tls = _texts(own)
    assert "PRIVATE" not in repr(RedisSettings(url="rediss://h", tls=tls))
    redis_target(RedisSettings(url="rediss://h", tls=tls))
    if sys.platform == "linux":
        left = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        assert not [name for name in left if "longshore-redis-tls" in name]


def test_the_command_line_takes_them_as_variables(
    url: str, own: Certificates, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "URL": url,
        "TLS_CA_FILE": own.authority,
        "TLS_CERT_FILE": own.kubelet_client,
        "TLS_KEY_FILE": own.kubelet_client_key,
        "TLS_SERVER_NAME": "redis.test",
    }.items():
        monkeypatch.setenv(f"LONGSHORE_REDIS_{name}", str(value))
    monkeypatch.setattr(sys, "argv", ["longshore", "enqueue", "mail:send", "--task-id", "one"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().out) == (0, "one\n")
