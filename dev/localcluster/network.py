"""Addresses of one cluster, chosen so that they clash with nothing this machine already routes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from localcluster.commands import run
from localcluster.errors import ClusterError
from localcluster.locks import locked

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Network:
    """The networks of one cluster with a node, cut from one /16."""

    whole: IPv4Network

    @property
    def link(self) -> IPv4Network:
        """Between this machine and the node: two addresses."""
        return next(self.whole.subnets(new_prefix=30))

    @property
    def gateway(self) -> IPv4Address:
        """This machine, as the node and its pods see it."""
        return self.link[1]

    @property
    def node(self) -> IPv4Address:
        """The node, as this machine and the pods see it; its DNS server answers here too."""
        return self.link[2]

    @property
    def pods(self) -> IPv4Network:
        return list(self.whole.subnets(new_prefix=24))[1]

    @property
    def services(self) -> IPv4Network:
        return list(self.whole.subnets(new_prefix=17))[1]


def control_plane_services() -> IPv4Network:
    """Addresses of Services where there is no node: nothing ever routes them."""
    return IPv4Network("10.96.0.0/16")


@contextmanager
def free_network() -> Iterator[Network]:
    """Choose a /16 that no route of this machine touches; the block makes routes of it.

    One caller at a time on the whole machine, so that two clusters that start at once do not choose the same.
    """
    # The folder of the machine's interfaces is the lock: the whole machine has one, and nothing of ours is left there.
    with locked(Path("/sys/class/net"), "another run chooses a network"):
        yield _free_network()


def _free_network() -> Network:
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
    taken = [network for route in routes if (network := _destination(route.get("dst", ""))) is not None]
    for second in range(244, 199, -1):
        whole = IPv4Network(f"10.{second}.0.0/16")
        if not any(whole.overlaps(other) for other in taken):
            return Network(whole=whole)
    raise ClusterError("no free network between 10.200.0.0/16 and 10.244.0.0/16: this machine routes all of them")


def _destination(written: str) -> IPv4Network | None:
    try:
        network = IPv4Network(written)
    except ValueError:
        return None  # "default", or a word for a local table
    return network if network.prefixlen > 0 else None


def free_port(address: str = LOOPBACK) -> int:
    """Find a TCP port that is free right now. Another program may take it first: the caller tries again then."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])
