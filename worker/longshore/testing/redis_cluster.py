"""A Redis Cluster of one's own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import redis
from redis.crc import key_slot

from longshore.testing.redis_server import RedisServer, free_port

_SLOTS = 16384
_BUS = 10000  # what nodes talk to each other on is their port and so much


class RedisCluster:
    """Three masters (or more) that share the hash slots, each with so many replicas; a context manager.

    All are children of this process. A master that does not answer for a second is taken for dead.
    """

    def __init__(
        self,
        *arguments: str,
        masters: int = 3,
        replicas: int = 0,
        tls: Sequence[str] = (),
        executable: str = "redis-server",
    ) -> None:
        """``arguments`` are appended to each command line; ``replicas`` is per master.

        ``tls``: arguments such as ``--tls-cert-file``, with which the nodes speak TLS to clients and to each other.
        """
        if tls:
            arguments = (*tls, "--tls-cluster", "yes", "--tls-replication", "yes", *arguments)
        self._tls = bool(tls)
        own = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
        self.masters = [_Node(*own, *arguments, tls=self._tls, executable=executable) for _ in range(masters)]
        self.replicas = [
            _Node(*own, *arguments, tls=self._tls, executable=executable) for _ in range(masters * replicas)
        ]

    @property
    def servers(self) -> list[RedisServer]:
        """All of them; ``masters`` are those that are masters at the start."""
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        """The URL that names every node. With TLS it lacks the options that say whom to trust."""
        scheme = "rediss-cluster" if self._tls else "redis-cluster"
        return f"{scheme}://" + ",".join(f"{server.host}:{server.port + self._tls}" for server in self.servers)

    def owner(self, key: str) -> RedisServer:
        """The server that has the key's slot now, as most of those that live see it."""
        slot = key_slot(key.encode())
        named: list[int] = []
        for server in self.servers:
            try:
                ranges = self.ask(server, "CLUSTER", "SLOTS")
            except redis.RedisError:
                continue
            named += [int(where[1]) for first, last, where, *_ in ranges if first <= slot <= last]
        port = max(named, key=named.count)
        return next(server for server in self.servers if server.port == port)

    def flush(self) -> None:
        """Delete every key."""
        for server in self.masters:
            self.ask(server, "FLUSHALL")

    def ask(self, server: RedisServer, *command: Any) -> Any:
        """One node's answer to a command."""
        with redis.Redis(port=server.port, socket_timeout=2) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def begin_migration(self, slot: int, to: RedisServer) -> None:
        """Open a slot for being moved; its keys stay where they are."""
        source = self._owner_of(slot)
        self.ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(to))

    def move_keys(self, slot: int, to: RedisServer, *, count: int = 1000) -> int:
        """Move so many keys of an open slot; how many there were."""
        source = self._owner_of(slot)
        keys = self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, count)
        if keys:
            self.ask(source, "MIGRATE", to.host, to.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_migration(self, slot: int, to: RedisServer) -> None:
        """Give an open slot to its new owner."""
        node_id = self._id(to)
        source = self._owner_of(slot)
        for server in (to, source, *(each for each in self.masters if each not in (to, source))):
            self.ask(server, "CLUSTER", "SETSLOT", slot, "NODE", node_id)

    def start(self) -> None:
        """Start every node, and wait until the cluster takes writes."""
        for server in self.servers:
            server.start()
        share = -(-_SLOTS // len(self.masters))
        for index, server in enumerate(self.masters):
            self.ask(server, "CLUSTER", "ADDSLOTS", *range(index * share, min((index + 1) * share, _SLOTS)))
        for index, server in enumerate(self.servers):
            self.ask(server, "CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for server in self.servers[1:]:
            self.ask(server, "CLUSTER", "MEET", self.masters[0].host, self.masters[0].port + self._tls)
        self._wait("does not know all others", lambda server: self._info(server)["known"] == len(self.servers))
        for index, server in enumerate(self.replicas):
            self.ask(server, "CLUSTER", "REPLICATE", self._id(self.masters[index % len(self.masters)]))
        self._wait("is not ready", lambda server: self._info(server)["state"] == "ok")
        self._wait("does not follow", self._is_settled)

    def close(self) -> None:
        """Stop everything and remove its files."""
        for server in self.servers:
            server.close()

    def __enter__(self) -> RedisCluster:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _owner_of(self, slot: int) -> RedisServer:
        for first, last, where, *_ in self.ask(self.masters[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == where[1])
        raise RuntimeError(f"slot {slot} has no owner")

    def _id(self, server: RedisServer) -> str:
        return str(self.ask(server, "CLUSTER", "MYID").decode())

    def _info(self, server: RedisServer) -> dict[str, Any]:
        text = self.ask(server, "CLUSTER", "INFO").decode()
        fields = dict(line.split(":", 1) for line in text.split())
        return {"state": fields["cluster_state"], "known": int(fields["cluster_known_nodes"])}

    def _is_settled(self, server: RedisServer) -> bool:
        if server in self.masters:
            return len(self.ask(server, "ROLE")[2]) == len(self.replicas) // len(self.masters)
        role = self.ask(server, "ROLE")
        return bool(role[0] == b"slave" and role[3] == b"connected")

    def _wait(self, problem: str, is_done: Callable[[RedisServer], bool]) -> None:
        give_up_at = time.monotonic() + 20
        for server in self.servers:
            while not is_done(server):
                if time.monotonic() > give_up_at:
                    raise RuntimeError(f"node {server.port} {problem}:\n{server.log}")
                time.sleep(0.02)


class _Node(RedisServer):
    """With TLS, that is spoken on the port after the plain one."""

    def __init__(self, *arguments: str, tls: bool, executable: str) -> None:
        super().__init__(*arguments, executable=executable)
        self._tls = tls

    def _command(self, port: int) -> list[str]:
        return [*super()._command(port), *(("--tls-port", str(port + 1)) if self._tls else ())]

    def _find_port(self) -> int:
        while True:
            port = free_port()
            if all(_is_free(each) for each in (port + 1, port + _BUS, port + 1 + _BUS)):
                return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
