"""What a connection to Redis promises, whether that is one server, a master that Sentinel watches, or a cluster.

Nothing above the broker package knows which: :func:`longshore.broker.topology.open_redis` decides by the URL.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

from redis import exceptions

from longshore.broker.refusals import is_refusal, named_reason, words
from longshore.broker.scripts import Script
from longshore.errors import BrokerUnavailable, WrongType

Argument: TypeAlias = bytes | str | int
Command: TypeAlias = tuple[Argument | Script, ...]
"""A command and its arguments; or a Script, then its keys' number, its keys and its arguments."""


class NotReached(BrokerUnavailable):
    """No server that takes the commands was reached, so none of them was carried out: they may be sent elsewhere."""


class RedisConnection(ABC):
    """Commands out, replies or our own errors back. Every method raises BrokerUnavailable with Redis' own reason.

    A call's time limit covers everything it waits for: its turn, finding the server, connecting, writing and reading.
    A call that is cancelled, or that times out, closes the connection it used: whether Redis carried it out is unknown.
    Safe to share between the tasks of one event loop.
    """

    address: str
    """Where it goes to, for messages."""

    database: int
    """The number of the database it uses."""

    async def ping(self) -> None:
        """Return when Redis answers and accepts the credentials."""
        await self.run([("PING",)])

    async def call(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run one script; its reply."""
        [reply] = await self.run([(script, len(keys), *keys, *arguments)])
        return reply

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip; their replies. Raises for the first that fails, after all were run.

        Those whose keys lie in one hash slot run in their order; a cluster runs the others side by side.
        """
        replies = await self.try_run(commands)
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, exceptions.RedisError):
                raise await self._explain(command, reply)
        return replies

    async def run_in_stages(self, stages: Sequence[Sequence[Command]]) -> list[Any]:
        """Like run, for commands whose order matters though their keys lie in several hash slots.

        Each stage begins when the one before it has ended well. One round trip where all keys lie on one server.
        """
        return await self.run([*itertools.chain.from_iterable(stages)])

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

    async def run_where_reached(self, commands: Sequence[Command]) -> list[Any]:
        """Like run_each, but of several servers one that is lost takes only its own commands along.

        The reply of those is the BrokerUnavailable. A single server answers all or raises. For reading only: commands
        that fail leave others carried out.
        """
        return await self.run_each(commands)

    @abstractmethod
    async def try_run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip; their replies, which may be redis.exceptions.ResponseError values."""

    @abstractmethod
    async def block(self, command: Command, *, wait: timedelta) -> Any:
        """Run a command that Redis may answer only after ``wait``, on a connection beyond the limit."""

    @abstractmethod
    def messages(
        self, channels: Sequence[str], *, idle: timedelta
    ) -> AsyncGenerator[tuple[str, bytes | BrokerUnavailable | None], None]:
        """Messages of some channels until the connection is lost (BrokerUnavailable) or the iterator is closed.

        Each comes with its channel. Before a channel's first message comes None, from when on it is heard; or why Redis
        refuses it, which keeps nobody from hearing the others. A connection silent for ``idle`` is probed, so that one
        that died without a word is noticed.
        """

    @property
    @abstractmethod
    def closed(self) -> bool:
        """aclose was called."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close every connection; whatever is under way fails. Idempotent."""

    async def _explain(self, command: Command, error: exceptions.RedisError) -> WrongType | BrokerUnavailable:
        """Our error for an error reply."""
        if isinstance(error, exceptions.ClusterCrossSlotError) and isinstance(command[0], Script):
            # The names of its keys are all that can cause it: repeating the call will not help.
            problem = "and the keys beside it lie in several slots: in a cluster no queue can have this name"
            return WrongType(_text(command[2]), problem)
        # Up to Redis 6 an error inside a script comes wrapped in another.
        if "WRONGTYPE" not in str(error):
            # which of several servers it was, stands in a note
            [server] = getattr(error, "__notes__", [self.address])
            unavailable = BrokerUnavailable(f"Redis at {server}: {named_reason(command, error)}")
            unavailable.refused = is_refusal(error)
            return unavailable
        script, *rest = command
        if not isinstance(script, Script):
            return WrongType(_text(rest[0]), f"is not what Asynq keeps there: {words(error)}")
        keys = rest[1 : 1 + int(_text(rest[0]))]
        types = await self.run([("TYPE", key) for key in keys])
        otherwise = f"or a key beside it is not what Asynq keeps there: {words(error)}"
        return script.wrong_type([_text(key) for key in keys], types, otherwise)


def _text(argument: Argument | Script) -> str:
    return argument.decode(errors="replace") if isinstance(argument, bytes) else str(argument)
