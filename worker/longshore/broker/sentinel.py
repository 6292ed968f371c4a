"""The master that sentinels watch, wherever it moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from longshore.broker.connection import Command, NotReached, RedisConnection
from longshore.broker.node import RedisNode
from longshore.broker.redis_url import Endpoint, RedisTarget, address_of
from longshore.broker.refusals import is_not_master
from longshore.broker.relook import Relook
from longshore.errors import BrokerUnavailable

# How long one sentinel may take to name the master, before the next is asked.
_MOST_FOR_A_SENTINEL = timedelta(seconds=1)


class SentinelConnection(RedisConnection):
    """Sends everything to the master, and looks for it anew when it may have moved.

    That is: when a connection is lost or refused, a call was not answered in time, or the server says that it is no
    master. Each new connection asks the server for its role first, since sentinels may be behind. When another server
    is found to be the master, what still waits on the old one (blocked calls, subscriptions) fails, to be tried again.
    Commands that no master has seen are sent again at once, once; all else is the caller's to repeat.
    """

    def __init__(self, target: RedisTarget, *, timeout: timedelta) -> None:
        self.address = f"{target.master} (watched by {target.address})"
        self.database = int(target.options.get("db") or 0)
        self._target = target
        self._timeout = timeout
        self._seconds = timeout.total_seconds()
        self._sentinels = [
            RedisNode(
                target.sentinel_factory(endpoint), address_of(endpoint), timeout=min(timeout, _MOST_FOR_A_SENTINEL)
            )
            for endpoint in target.endpoints
        ]
        self._master: RedisNode | None = None
        self._relook = Relook(self._look)
        self._closed = False

    async def try_run(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        try:
            async with asyncio.timeout(self._seconds):
                return await self._run(commands)
        except TimeoutError as error:
            self._relook.doubt()
            if self._master is not None:
                await self._master.forget_idle()
            raise BrokerUnavailable(f"Redis at {self.address} does not answer within {self._seconds:g} s") from error

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        master = await self._current()
        try:
            replies = await master.try_run(commands)
        except NotReached:
            self._relook.doubt()
            other = await self._other_than(master)
            if other is None:
                raise
            return await other.try_run(commands)
        except BrokerUnavailable:
            self._relook.doubt()
            raise
        refused = [index for index, reply in enumerate(replies) if is_not_master(reply)]
        if refused:
            self._relook.doubt()
            other = await self._other_than(master)
            if other is not None:
                again = await other.try_run([commands[index] for index in refused])
                for index, reply in zip(refused, again, strict=True):
                    replies[index] = reply
        return replies

    async def block(self, command: Command, *, wait: timedelta) -> Any:
        master = await self._current()
        try:
            return await master.block(command, wait=wait)
        except BrokerUnavailable:
            self._relook.doubt()
            raise

    async def messages(
        self, channels: Sequence[str], *, idle: timedelta
    ) -> AsyncGenerator[tuple[str, bytes | BrokerUnavailable | None], None]:
        master = await self._current()
        try:
            async with aclosing(master.messages(channels, idle=idle)) as messages:
                async for message in messages:
                    yield message
        except BrokerUnavailable:
            self._relook.doubt()
            raise

    @property
    def closed(self) -> bool:
        return self._closed

    async def aclose(self) -> None:
        self._closed = True
        nodes = [*self._sentinels, *([self._master] if self._master else [])]
        await asyncio.gather(*(node.aclose() for node in nodes))

    async def _current(self) -> RedisNode:
        if self._closed:
            raise NotReached(f"Redis at {self.address}: the connection is closed")
        await self._relook.settle()
        assert self._master is not None
        return self._master

    async def _other_than(self, master: RedisNode) -> RedisNode | None:
        """The master, when that is another one by now."""
        current = await self._current()
        return None if current is master else current

    async def _look(self) -> None:
        endpoint = await self._named_master()
        old = self._master
        if old is not None and old.address == address_of(endpoint):
            return
        self._master = RedisNode(
            self._target.factory(endpoint), address_of(endpoint), timeout=self._timeout, greeting=_must_be_master
        )
        if old is not None:
            await old.aclose()

    async def _named_master(self) -> Endpoint:
        """The master as more than half of the sentinels see it, or most of those that answer."""
        votes: Counter[Endpoint] = Counter()
        problems: list[str] = []
        for sentinel in [*self._sentinels]:
            try:
                votes[await self._ask(sentinel)] += 1
            except BrokerUnavailable as error:
                problems.append(str(error))
                # the next look asks it last
                self._sentinels.remove(sentinel)
                self._sentinels.append(sentinel)
                continue
            [(endpoint, count)] = votes.most_common(1)
            if count > len(self._sentinels) // 2:
                return endpoint
        if not votes:
            raise BrokerUnavailable(f"no sentinel names the master {self._target.master!r}: {'; '.join(problems)}")
        [(endpoint, _)] = votes.most_common(1)
        return endpoint

    async def _ask(self, sentinel: RedisNode) -> Endpoint:
        assert self._target.master is not None
        [named] = await sentinel.run([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._target.master)])
        if not named:
            raise BrokerUnavailable(f"the sentinel at {sentinel.address} watches no master of that name")
        host, port = named
        return host.decode(), int(port)


async def _must_be_master(connection: AbstractConnection) -> None:
    await connection.send_packed_command([b"*1\r\n$4\r\nROLE\r\n"])
    role = await connection.read_response()
    if role[0] != b"master":
        raise exceptions.ReadOnlyError(f"it is no master but a {role[0].decode()}")
