"""The Secrets of a Broker as they are read: which, how often, what version they have, and what is told of bad ones.

Proved with Secrets as the API server sends them. Left out: what becomes of a new version (test_objects, test_kinds).
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from localcluster import certificates
from localcluster.certificates import Certificates
from longshore_operator.api.broker import Broker
from longshore_operator.observe.secrets import observe_secrets, redis_settings
from longshore_operator.plan.address import access_for_operator
from plan.scenes import broker


class Secrets:
    """Stands for the API server."""

    def __init__(self, **texts: dict[str, str | bytes]) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        for name, data in texts.items():
            self.put(name, data)

    def put(self, name: str, data: dict[str, str | bytes], *, uid: str = "uid") -> None:
        encoded = {
            key: base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
            for key, value in data.items()
        }
        self.objects[name] = {"metadata": {"name": name, "uid": f"{uid}-{name}"}, "data": encoded}

    async def get(self, _resource: object, _namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(name)
        return self.objects.get(name)


async def read(secrets: Secrets, tried: Broker) -> Any:
    return await observe_secrets(secrets, "shop", tried.secrets)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("own"), addresses=["127.0.0.1"], names=["redis.test"])


@pytest.fixture
def full(own: Certificates) -> Secrets:
    return Secrets(
        redis={"password": "se,cret\n", "other": "x"},
        watch={"password": "watch"},
        tls={
            "ca.crt": own.authority.read_text(),
            "tls.crt": own.kubelet_client.read_text(),
            "tls.key": own.kubelet_client_key.read_text(),
        },
    )


FULL = broker(
    url=None,
    sentinel={"masterName": "main", "addresses": ["s:1"], "passwordSecretRef": {"name": "watch"}},
    auth={"passwordSecretRef": {"name": "redis"}},
    tls={"caSecretRef": {"name": "tls"}, "clientCertSecretRef": {"name": "tls"}, "serverName": "redis.test"},
)


async def test_each_secret_is_read_once_and_its_values_reach_the_connection_only(full: Secrets) -> None:
    found = await read(full, FULL)
    assert found.reading.found
    assert sorted(full.asked) == ["redis", "tls", "watch"]
    settings = redis_settings(access_for_operator(FULL), found.values)
    assert (settings.password, settings.sentinel_password) == ("se,cret\n", "watch")
    assert settings.tls is not None
    assert (settings.tls.server_name, settings.tls.ca_data is not None) == ("redis.test", True)
    for shown in (repr(found), repr(settings)):
        assert "se,cret" not in shown
        assert "PRIVATE" not in shown


async def test_the_version_changes_with_any_of_the_values_and_with_nothing_else(full: Secrets) -> None:
    first = (await read(full, FULL)).reading.version
    full.put("redis", {"password": "se,cret\n", "other": "changed"})
    assert (await read(full, FULL)).reading.version == first
    versions = {first}
    full.put("redis", {"password": "new"})
    versions.add((await read(full, FULL)).reading.version)
    full.put("watch", {"password": "new"})
    versions.add((await read(full, FULL)).reading.version)
    assert len(versions) == 3
    assert "new" not in "".join(str(version) for version in versions)


@pytest.mark.parametrize(
    ("name", "data", "says", "invalid"),
    [
        ("watch", None, "Secret watch does not exist; create it with the key password", False),
        (
            "watch",
            {"pw": "x"},
            "Secret watch has no key password; add it, or correct sentinel.password",
            False,
        ),
        ("watch", {}, "Secret watch has no key password", False),
        ("watch", {"password": ""}, "Secret watch: the value of password is empty", True),
        ("watch", {"password": b"\xff\xfe"}, "Secret watch: the value of password is not text", True),
        ("tls", {"ca.crt": "junk"}, "Secret tls: ca.crt holds no certificate in PEM", True),
        ("tls", {"tls.crt": "junk"}, "Secret tls: tls.crt and tls.key must be a certificate and its key in PEM", True),
        ("tls", {"tls.key": None}, "Secret tls has no key tls.key; add it, or correct tls.clientCertSecretRef", False),
        ("tls", {"tls.key": "other"}, "Secret tls: tls.crt and tls.key do not belong together", True),
    ],
)
async def test_what_is_missing_or_unusable_is_told_by_secret_and_key(
    full: Secrets, tmp_path: Path, name: str, data: dict[str, Any] | None, says: str, invalid: bool
) -> None:
    if data is None:
        del full.objects[name]
    else:
        decoded = {key: base64.b64decode(value) for key, value in full.objects[name]["data"].items()}
        if data.get("tls.key") == "other":
            foreign = certificates.make(tmp_path, addresses=["127.0.0.1"], names=["redis.test"])
            data = {"tls.key": foreign.kubelet_client_key.read_text()}
        joined = {**(decoded if name == "tls" else {}), **data}
        full.put(name, {key: value for key, value in joined.items() if value is not None})
    found = await read(full, FULL)
    assert found.reading.problem is not None
    assert found.reading.problem.startswith(says)
    assert (found.reading.found, found.reading.invalid, found.values) == (False, invalid, {})
