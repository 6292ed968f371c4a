"""Connections to one Redis: commands out, replies or our own errors back.

A few commands sent together cost one write, one read and little else: redis-py connects, authenticates and parses, but
its client, pipeline and pool, which cost more than a whole batch of tasks does, are not in between.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias

import hiredis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from longshore.broker.base import RedisSettings
from longshore.broker.redis_url import connection_factory
from longshore.broker.scripts import Script
from longshore.errors import BrokerUnavailable, InvalidOption, WrongType

Argument: TypeAlias = bytes | str | int
Command: TypeAlias = tuple[Argument | Script, ...]
"""A command and its arguments; or a Script, then its keys' number, its keys and its arguments."""

# In C, and several times faster than redis-py's own. Its type annotation allows tuples of one item only.
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command

# Concurrent callers wait for one of so many connections. Parked ones are not counted.
_MOST_CONNECTIONS = 32


class RedisConnection:
    """A small pool of connections to one Redis. Every method raises BrokerUnavailable with Redis' own reason.

    A call's time limit covers everything it waits for: its turn, connecting, writing and reading. A call that is
    cancelled, or that times out, closes the connection it used: whether Redis carried it out is unknown.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._factory, self.address = connection_factory(settings)
        self._seconds = settings.timeout.total_seconds()
        if self._seconds <= 0:
            raise InvalidOption("redis timeout", "must be more than zero")
        self._idle: list[AbstractConnection] = []
        self._busy: set[AbstractConnection] = set()
        self._slots = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._closed = False

    async def call(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run one script; its reply."""
        [reply] = await self.run([(script, len(keys), *keys, *arguments)])
        return reply

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip; their replies. Raises for the first that fails, after all were run."""
        replies = await self.try_run(commands)
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, exceptions.RedisError):
                raise await self._explain(command, reply)
        return replies

    async def run_each(self, commands: Sequence[Command]) -> list[Any]:
        """Like run, but a command that meets a key of another type has its WrongType as its reply."""
        replies = await self.try_run(commands)
        for index, reply in enumerate(replies):
            if isinstance(reply, exceptions.RedisError):
                error = await self._explain(commands[index], reply)
                if not isinstance(error, WrongType):
                    raise error
                replies[index] = error
        return replies

    async def try_run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip; their replies, which may be redis.exceptions.ResponseError values."""
        if not commands:
            return []
        try:
            async with asyncio.timeout(self._seconds), self._slots:
                replies = await self._exchange([_by_digest(command) for command in commands])
                missing = [i for i, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
                if missing:
                    # A new or restarted Redis. The first call of each script brings its text, the others follow it.
                    known: set[str] = set()
                    again = await self._exchange([_by_text_once(commands[i], known) for i in missing])
                    for index, reply in zip(missing, again, strict=True):
                        replies[index] = reply
        except TimeoutError as error:
            raise await self._too_slow() from error
        return replies

    async def block(self, command: Command, *, wait: timedelta) -> Any:
        """Run a command that Redis may answer only after ``wait``, on a connection beyond the limit."""
        try:
            async with asyncio.timeout(self._seconds + wait.total_seconds()):
                [reply] = await self._exchange([command])
        except TimeoutError as error:
            raise await self._too_slow() from error
        if isinstance(reply, exceptions.RedisError):
            raise await self._explain(command, reply)
        return reply

    async def messages(self, channel: str, *, idle: timedelta) -> AsyncIterator[bytes]:
        """Messages of one channel until the connection is lost (BrokerUnavailable) or the iterator is closed.

        A connection silent for ``idle`` is probed, so that one that died without a word is noticed.
        """
        async with self._connection() as connection:
            await self._within(connection.send_packed_command([_pack((b"SUBSCRIBE", channel.encode()))]))
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
                silent = False
                if isinstance(reply, list) and reply[0] == b"message":
                    yield reply[2]

    @property
    def closed(self) -> bool:
        """aclose was called."""
        return self._closed

    async def aclose(self) -> None:
        """Close every connection; whatever is under way fails. Idempotent."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in [*self._busy]:
            await connection.disconnect(nowait=True)
        # TLS takes a few turns of the loop to say goodbye, and the caller may end the loop after this.
        await asyncio.gather(*(connection.disconnect() for connection in idle), return_exceptions=True)

    async def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        packed = b"".join(map(_pack, commands))
        replies: list[Any] = []
        async with self._connection() as connection:
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's own
            await connection.send_packed_command([packed])
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except exceptions.ResponseError as error:
                    replies.append(error)
        return replies

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AbstractConnection]:
        """A connection of one's own; closed, not given back, when the block fails. Translates redis-py's errors."""
        if self._closed:
            raise BrokerUnavailable(f"Redis at {self.address}: the connection is closed")
        connection = await self._take()
        self._busy.add(connection)
        healthy = False
        try:
            yield connection
            healthy = not self._closed
        except TimeoutError as error:
            raise await self._too_slow() from error
        except exceptions.RedisError as error:
            raise self._unavailable(error) from error
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
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)
        return BrokerUnavailable(f"Redis at {self.address} does not answer within {self._seconds:g} s")

    def _unavailable(self, error: exceptions.RedisError) -> BrokerUnavailable:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, OSError):
            return BrokerUnavailable(f"Redis at {self.address}: {_system_reason(cause)}")
        text = str(error) or type(error).__name__
        # where redis-py connects, its text names the address itself
        return BrokerUnavailable(text if self.address in text else f"Redis at {self.address}: {text}")

    async def _explain(self, command: Command, error: exceptions.RedisError) -> WrongType | BrokerUnavailable:
        # Up to Redis 6 an error inside a script comes wrapped in another.
        if "WRONGTYPE" not in str(error):
            return self._unavailable(error)
        script, *rest = command
        if not isinstance(script, Script):
            return WrongType(_text(rest[0]), f"is not what Asynq keeps there: {error}")
        keys = rest[1 : 1 + int(_text(rest[0]))]
        types = await self.run([("TYPE", key) for key in keys])
        for key, found, expected in zip(keys, types, script.key_types, strict=False):
            if expected != "any" and found not in (b"none", expected.encode()):
                return WrongType(_text(key), f"is a {found.decode()}, but Asynq keeps a {expected} there")
        return WrongType(_text(keys[0]), f"or a key beside it is not what Asynq keeps there: {error}")


def _system_reason(error: OSError) -> str:
    # asyncio's own text for a refused connection is "Connect call failed", without a word of the system's. TLS and name
    # look-up have their own numbers, which mean other things to the system.
    if error.errno is not None and not isinstance(error, (socket.gaierror, ssl.SSLError)):
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _text(argument: Argument | Script) -> str:
    return argument.decode(errors="replace") if isinstance(argument, bytes) else str(argument)


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
