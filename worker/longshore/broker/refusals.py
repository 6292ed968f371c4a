"""What Redis' error replies mean for where the next command goes, and how they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import exceptions

from longshore.broker.scripts import Script

# The server is no master any more, or not yet. Up to Redis 6 an error inside a script comes wrapped in another, so the
# words are looked for as well; the reply to a blocked command (UNBLOCKED) has no class of its own.
_NOT_MASTER = (exceptions.ReadOnlyError, exceptions.MasterDownError)
_QUOTING = ", with args beginning with"
_LONGEST = 500  # characters; an error that a script raises can be of any length
_NOT_MASTER_WORDS = ("READONLY ", "UNBLOCKED ", "MASTERDOWN ")


def is_not_master(reply: Any) -> bool:
    """The reply is a refusal by a server that is no master: nothing was written, and another one would do it."""
    return isinstance(reply, exceptions.RedisError) and (
        isinstance(reply, _NOT_MASTER) or any(word in str(reply) for word in _NOT_MASTER_WORDS)
    )


def redirection(reply: exceptions.RedisError) -> str:
    """MOVED, ASK or TRYAGAIN in words, for when it led to no end."""
    if isinstance(reply, exceptions.AskError):  # MovedError is one
        verb = "has moved" if isinstance(reply, exceptions.MovedError) else "is being moved"
        return f"hash slot {reply.slot_id} {verb} to {reply.host}:{reply.port}"
    return str(reply)


def words(error: exceptions.RedisError) -> str:
    """What Redis says, fit for a log and for people: of one line, not long, and without what it quotes.

    A server without AUTH, or without HELLO, quotes the arguments of a command it does not know: the password.
    """
    text = (str(error) or type(error).__name__).partition(_QUOTING)[0]
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 1]}…"
    return "".join(each if each.isprintable() else "?" for each in text)


def is_refusal(error: exceptions.RedisError) -> bool:
    """Redis does not know the user, or the password, or does not let the user do that."""
    if isinstance(error, (exceptions.AuthenticationError, exceptions.NoPermissionError)):
        return True
    return "ACL failure" in str(error) or "can't run this command" in str(error)


def named_reason(command: Sequence[Any], error: exceptions.RedisError) -> str:
    """Redis' words, and what they do not say where a person needs it to put things right."""
    said = words(error)
    if isinstance(error, exceptions.MovedError):
        problem = "it is a node of a cluster, and the key is another node's"
        return f"{problem}; write redis-cluster:// instead of redis:// (in a Broker: spec.cluster, not spec.url)"
    if is_refusal(error):
        return f"{said} (permission is missing for {_described(command)})"
    return said


def _described(command: Sequence[Any]) -> str:
    """A command with its keys, without its arguments: those may be payloads."""
    first, *rest = command
    if not isinstance(first, Script):
        return " ".join(map(_text, (first, *rest[:1])))
    keys = rest[1 : 1 + int(rest[0])]
    return f"script {first.name} (EVALSHA, EVAL) with the keys {', '.join(map(_text, keys))}"


def _text(argument: Any) -> str:
    return argument.decode(errors="replace") if isinstance(argument, bytes) else str(argument)
