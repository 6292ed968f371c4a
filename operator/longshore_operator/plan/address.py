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
    host = parts.hostname
    if host is None or "." in host or host == "localhost" or _is_address(host):
        return url
    login, at, address = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}{host}.{namespace}{address[len(host) :]}").geturl()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
