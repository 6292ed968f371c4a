"""A master with replicas, and the sentinels that watch them."""

from __future__ import annotations

import secrets
import time
from types import TracebackType

import redis

from longshore.testing.redis_server import RedisServer, free_port


class RedisSentinel:
    """One master, its replicas and three sentinels, all children of this process; a context manager.

    The sentinels take a master for dead after a second without an answer, and then make a replica the master.
    """

    master_name = "longshore"

    def __init__(
        self, *arguments: str, replicas: int = 1, sentinel_password: str | None = None, executable: str = "redis-server"
    ) -> None:
        """``arguments`` are appended to the command lines of master and replicas."""
        self._arguments = arguments
        self._replicas = replicas
        self._sentinel_password = sentinel_password
        self._executable = executable
        self.servers: list[RedisServer] = []  # the first is the master at the start
        self.sentinels: list[RedisServer] = []

    @property
    def url(self) -> str:
        """The URL that leads to whichever server is the master."""
        hosts = ",".join(f"{sentinel.host}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis-sentinel://{hosts}/0?master={self.master_name}"

    @property
    def master(self) -> RedisServer:
        """The server that most of the sentinels call the master."""
        named: list[int] = []
        for sentinel in self.sentinels:
            with redis.Redis(port=sentinel.port, password=self._sentinel_password, socket_timeout=1) as client:
                try:
                    [_, port] = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master_name)
                except redis.RedisError:
                    continue
                named.append(int(port))
        port = max(named, key=named.count)
        return next(server for server in self.servers if server.port == port)

    def wait_for_master(self, *, other_than: RedisServer, seconds: float = 30.0) -> RedisServer:
        """Wait until the sentinels name another master and it takes writes. Raises RuntimeError when they do not."""
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at:
            master = self.master
            if master is not other_than and self._is_master(master):
                return master
            time.sleep(0.02)
        raise RuntimeError(f"no failover within {seconds:g} s:\n{self.sentinels[0].log}")

    def fail_over(self) -> RedisServer:
        """Let the sentinels make a replica the master while the master is well; the new one."""
        old = self.master
        give_up_at = time.monotonic() + 10
        while True:
            with redis.Redis(port=self.sentinels[0].port, password=self._sentinel_password) as client:
                try:
                    client.execute_command("SENTINEL", "FAILOVER", self.master_name)
                    break
                except redis.ResponseError:  # no replica is known to be good yet
                    if time.monotonic() > give_up_at:
                        raise
            time.sleep(0.1)
        return self.wait_for_master(other_than=old)

    def start(self) -> None:
        """Start everything, and wait until the replicas have synchronized."""
        at_once = ("--repl-diskless-sync-delay", "0")
        master = RedisServer(*at_once, *self._arguments, executable=self._executable)
        master.start()
        self.servers.append(master)
        for _ in range(self._replicas):
            follow = ("--replicaof", f"{master.host} {master.port}")
            self.servers.append(RedisServer(*at_once, *self._arguments, *follow, executable=self._executable))
            self.servers[-1].start()
        # They know each other from the start, which hearing of each other would take seconds.
        ids = {free_port(): secrets.token_hex(20) for _ in range(3)}
        for port in ids:
            self.sentinels.append(_Sentinel(self._configuration(port, ids), port=port, executable=self._executable))
            self.sentinels[-1].start()
        self._wait_until_ready()

    def close(self) -> None:
        """Stop everything and remove its files."""
        for server in (*self.sentinels, *self.servers):
            server.close()

    def __enter__(self) -> RedisSentinel:
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

    def _configuration(self, own_port: int, ids: dict[int, str]) -> str:
        name, master = self.master_name, self.servers[0]
        lines = [
            f"sentinel myid {ids[own_port]}",
            f"sentinel monitor {name} {master.host} {master.port} 2",
            f"sentinel down-after-milliseconds {name} 1000",
            f"sentinel failover-timeout {name} 3000",
            *(f"sentinel known-replica {name} {replica.host} {replica.port}" for replica in self.servers[1:]),
            *(f"sentinel known-sentinel {name} 127.0.0.1 {port} {ids[port]}" for port in ids if port != own_port),
        ]
        if self._password:
            lines.append(f"sentinel auth-pass {name} {self._password}")
        if self._sentinel_password:
            lines += [f"requirepass {self._sentinel_password}", f"sentinel sentinel-pass {self._sentinel_password}"]
        return "\n".join(lines) + "\n"

    def _wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + 10
        while time.monotonic() < give_up_at:
            if all(self._follows(replica) for replica in self.servers[1:]):
                return
            time.sleep(0.02)
        raise RuntimeError(f"the replicas do not synchronize:\n{self.servers[-1].log}")

    @property
    def _password(self) -> str | None:
        """Of the servers, if the arguments set one."""
        given = dict(zip(self._arguments, self._arguments[1:], strict=False))
        return given.get("--requirepass")

    def _follows(self, replica: RedisServer) -> bool:
        with redis.Redis(port=replica.port, password=self._password) as client:
            try:
                return bool(client.info("replication").get("master_link_status") == "up")
            except redis.RedisError:
                return False

    def _is_master(self, server: RedisServer) -> bool:
        with redis.Redis(port=server.port, password=self._password, socket_timeout=1) as client:
            try:
                return bool(client.execute_command("ROLE")[0] == b"master")
            except redis.RedisError:
                return False


class _Sentinel(RedisServer):
    def __init__(self, configuration: str, *, port: int, executable: str) -> None:
        super().__init__(executable=executable)
        self.port = port
        self._file = self._directory / "sentinel.conf"  # sentinels write to it
        self._file.write_text(configuration)

    def _command(self, port: int) -> list[str]:
        return [self._executable, str(self._file), "--sentinel"]
