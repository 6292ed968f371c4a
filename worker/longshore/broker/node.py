"""Connections to one Redis server.

A few commands sent together cost one write, one read and little else: redis-py connects, authenticates and parses, but
its client, pipeline and pool, which cost more than a whole batch of tasks does, are not in between.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import hiredis
from redis import exceptions
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection

from longshore.broker.connection import Command, NotReached, RedisConnection
from longshore.broker.refusals import is_not_master, is_refusal, words
from longshore.broker.scripts import Script
from longshore.errors import BrokerUnavailable

# In C, and several times faster than redis-py's own. Its type annotation allows tuples of one item only.
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command

# Concurrent callers wait for one of so many connections. Parked ones are not counted.
_MOST_CONNECTIONS = 32

Greeting = Callable[[AbstractConnection], Awaitable[None]]
"""Asked of every new connection; raises NotReached when the server is not the one that is wanted."""


class RedisNode(RedisConnection):
    """A small pool of connections to one server."""

    def __init__(
        self, factory: ConnectionPool, address: str, *, timeout: timedelta, greeting: Greeting | None = None
    ) -> None:
        """``factory`` makes connections, ``address`` is for messages, ``timeout`` is each call's limit."""
        self.address = address
        self._factory = factory
        self._seconds = timeout.total_seconds()
        self._greeting = greeting
        self.database = int(factory.connection_kwargs.get("db") or 0)
        self._idle: list[AbstractConnection] = []
        self._busy: set[AbstractConnection] = set()
        self._slots = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._closed = False

    async def try_run(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        try:
            async with asyncio.timeout(self._seconds), self._slots:
                replies = await self._exchange([_by_digest(command) for command in commands])
                missing = [i for i, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
                if missing:
                    # A new or restarted Redis. The first call of each script brings its text, the others follow it.
                    known: set[str] = set()
                    try:
                        again = await self._exchange([_by_text_once(commands[i], known) for i in missing])
                    except NotReached as error:  # the other commands were carried out
                        raise BrokerUnavailable(str(error)) from error
                    for index, reply in zip(missing, again, strict=True):
                        replies[index] = reply
        except TimeoutError as error:
            raise await self._too_slow() from error
        return replies

    async def block(self, command: Command, *, wait: timedelta) -> Any:
        reply = await self.try_block(command, wait=wait)
        if isinstance(reply, exceptions.RedisError):
            raise await self._explain(command, reply)
        return reply

    async def try_block(self, command: Command, *, wait: timedelta) -> Any:
        """Like block, but the reply may be a redis.exceptions.ResponseError value."""
        try:
            async with asyncio.timeout(self._seconds + wait.total_seconds()):
                [reply] = await self._exchange([command])
        except TimeoutError as error:
            raise await self._too_slow() from error
        return reply

    async def messages(
        self, channels: Sequence[str], *, idle: timedelta
    ) -> AsyncGenerator[tuple[str, bytes | BrokerUnavailable | None], None]:
        unanswered = list(channels)
        async with self._connection() as connection:
            async with asyncio.timeout(self._seconds):
                if not connection.is_connected:
                    await self._open(connection)
            # One command each, because Redis refuses a command with all of its channels.
            subscriptions = [_pack((b"SUBSCRIBE", channel.encode())) for channel in channels]
            await self._within(connection.send_packed_command(subscriptions))
            silent = False
            while True:
                try:
                    async with asyncio.timeout(self._seconds if silent else idle.total_seconds()):
                        # a reply that is half read when the time is over stays in the parser
                        reply = await connection.read_response(disconnect_on_error=False)
                except TimeoutError:
                    if silent:
                        raise
                    silent = True
                    await self._within(connection.send_packed_command([_pack((b"PING",))]))
                    continue
                except exceptions.NoPermissionError as error:
                    if not unanswered:
                        raise
                    yield unanswered.pop(0), BrokerUnavailable(self._reason(error))
                    continue
                silent = False
                if isinstance(reply, list) and reply[0] == b"message":
                    yield reply[1].decode(), reply[2]
                elif isinstance(reply, list) and reply[0] == b"subscribe":
                    yield unanswered.pop(0), None

    @property
    def closed(self) -> bool:
        return self._closed

    async def aclose(self) -> None:
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in [*self._busy]:
            await connection.disconnect(nowait=True)
        # TLS takes a few turns of the loop to say goodbye, and the caller may end the loop after this.
        await asyncio.gather(*(connection.disconnect() for connection in idle), return_exceptions=True)

    async def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        packed = b"".join(map(_pack, commands))
        replies: list[Any] = []
        demoted = False
        async with self._connection() as connection:
            if not connection.is_connected:
                await self._open(connection)
            await connection.send_packed_command([packed])
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except exceptions.ResponseError as error:
                    replies.append(error)
                    demoted = demoted or is_not_master(error)
            if demoted:
                # The name or address it was reached by may mean another server by now: the next call looks anew.
                await self.forget_idle()
                await connection.disconnect(nowait=True)
        return replies

    async def _open(self, connection: AbstractConnection) -> None:
        """Connect, or raise NotReached: nothing was sent that could have been carried out."""
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's own
            if self._greeting is not None:
                await self._greeting(connection)
        except exceptions.RedisError as error:
            not_reached = NotReached(self._reason(error))
            not_reached.refused = is_refusal(error)
            error.args = (words(error),)  # it goes along as the cause, and into tracebacks
            raise not_reached from error
        except OSError as error:
            raise NotReached(f"Redis at {self.address}: {error}") from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AbstractConnection]:
        """A connection of one's own; closed, not given back, when the block fails. Translates redis-py's errors."""
        if self._closed:
            raise NotReached(f"Redis at {self.address}: the connection is closed")
        connection = await self._take()
        self._busy.add(connection)
        healthy = False
        try:
            yield connection
            healthy = not self._closed
        except TimeoutError as error:
            raise await self._too_slow() from error
        except exceptions.RedisError as error:
            unavailable = BrokerUnavailable(self._reason(error))
            unavailable.refused = is_refusal(error)
            raise unavailable from error
        except OSError as error:
            raise BrokerUnavailable(f"Redis at {self.address}: {error}") from error
        finally:
            self._busy.discard(connection)
            if healthy:
                self._idle.append(connection)
            else:
                await connection.disconnect(nowait=True)

    async def _take(self) -> AbstractConnection:
        while self._idle:
            connection = self._idle.pop()
            try:
                # True as well when Redis has closed it while it lay idle
                stale = not connection.is_connected or await connection.can_read()
            except (exceptions.RedisError, OSError):
                stale = True
            if not stale:
                return connection
            await connection.disconnect(nowait=True)
        connection = self._factory.make_connection()  # type: ignore[no-untyped-call]  # redis-py's own
        assert isinstance(connection, AbstractConnection)
        return connection

    async def _within(self, awaitable: Any) -> None:
        async with asyncio.timeout(self._seconds):
            await awaitable

    async def _too_slow(self) -> BrokerUnavailable:
        # The network may have dropped the idle connections as well, and each would cost a call its whole time.
        await self.forget_idle()
        return BrokerUnavailable(f"Redis at {self.address} does not answer within {self._seconds:g} s")

    async def forget_idle(self) -> None:
        """Close the connections that nobody uses: the next calls make new ones."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    def _reason(self, error: exceptions.RedisError) -> str:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, OSError):
            return f"Redis at {self.address}: {_system_reason(cause)}"
        text = words(error)
        # where redis-py connects, its text names the address itself
        return text if self.address in text else f"Redis at {self.address}: {text}"


def _system_reason(error: OSError) -> str:
    # asyncio's own text for a refused connection is "Connect call failed", without a word of the system's. TLS and name
    # look-up have their own numbers, which mean other things to the system.
    if error.errno is not None and not isinstance(error, (socket.gaierror, ssl.SSLError)):
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _by_digest(command: Command) -> tuple[Any, ...]:
    script = command[0]
    return (b"EVALSHA", script.digest, *command[1:]) if isinstance(script, Script) else command


def _by_text_once(command: Command, known: set[str]) -> tuple[Any, ...]:
    script = command[0]
    assert isinstance(script, Script)
    if script.name in known:
        return _by_digest(command)
    known.add(script.name)
    return (b"EVAL", script.body, *command[1:])
