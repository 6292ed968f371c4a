"""Where a Broker's Redis is: as its workers are told, and as the operator spells it, from another namespace."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from longshore_operator.api.broker import Broker, Credential, SecretKeyRef


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisAccess:
    """Everything about a connection but the Secrets' values."""

    url: str  # as `longshore.RedisSettings` takes it; no user, no password
    timeout: timedelta
    username: str | None = None
    sentinel_username: str | None = None
    tls: bool = False
    server_name: str | None = None  # that certificates must be for; None: the host as it is connected to
    insecure_skip_verify: bool = False
    secrets: Mapping[Credential, SecretKeyRef] = field(default_factory=dict)


def redis_url(broker: Broker) -> str:
    """The URL that means the Broker's Redis in its own namespace."""
    spec = broker.spec
    suffix = "" if spec.tls is None else "s"
    if spec.sentinel is not None:
        addresses = ",".join(spec.sentinel.addresses)
        return f"redis{suffix}-sentinel://{addresses}/{spec.database or 0}?master={spec.sentinel.master_name}"
    if spec.cluster is not None:
        return f"redis{suffix}-cluster://{','.join(spec.cluster.addresses)}"
    assert spec.url is not None
    if spec.database is None or urlsplit(spec.url).path.strip("/"):
        return spec.url
    return f"{spec.url.rstrip('/')}/{spec.database}"


def access_for_operator(broker: Broker) -> RedisAccess:
    """How the operator connects."""
    spec, tls = broker.spec, broker.spec.tls
    return RedisAccess(
        url=address_for_operator(redis_url(broker), broker.namespace),
        timeout=spec.timeout,
        username=spec.auth.username if spec.auth else None,
        sentinel_username=spec.sentinel.username if spec.sentinel else None,
        tls=tls is not None or (spec.url is not None and spec.url.startswith("rediss://")),
        server_name=(tls.server_name if tls else None) or _name_as_written(spec.url),
        insecure_skip_verify=tls is not None and tls.insecure_skip_verify,
        secrets=broker.secrets,
    )


def address_for_operator(url: str, namespace: str) -> str:
    """Give the URL that means, in any namespace, what `url` means in `namespace`.

    A Service's short name (`redis`) is one of the Broker's own namespace: that is how its workers, pods of that
    namespace, resolve it. Names with a dot, addresses and localhost mean the same everywhere and stay as they are.
    """
    parts = urlsplit(url)
    login, at, addresses = parts.netloc.rpartition("@")
    # sentinels and cluster nodes are several
    qualified = ",".join(_qualified(address, namespace) for address in addresses.split(","))
    return parts._replace(netloc=f"{login}{at}{qualified}").geturl()


def _name_as_written(url: str | None) -> str | None:
    """The host of a rediss:// URL: operator and workers hold the certificate against the same name.

    Sentinels and nodes of a cluster are several, and name others: there each is held against its own.
    """
    return urlsplit(url).hostname if url is not None and url.startswith("rediss://") else None


def _qualified(address: str, namespace: str) -> str:
    host, colon, port = address.partition(":")
    if not host or "." in host or host.startswith("[") or host == "localhost" or _is_address(host):
        return address
    return f"{host}.{namespace}{colon}{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
