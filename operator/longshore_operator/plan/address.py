"""A Broker's address as the operator must spell it: from another namespace than the workers'."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


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
