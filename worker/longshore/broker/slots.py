"""Where a command goes in a cluster: by the hash slot of its first key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.crc import key_slot

from longshore.broker.scripts import Script

SLOTS = 16384

# Commands whose first key is not their first argument. None: they have no key.
_FIRST_KEY: Mapping[str, int | None] = {
    "CLUSTER": None,
    "EVAL": 3,
    "EVALSHA": 3,
    "INFO": None,
    "MEMORY": 2,
    "OBJECT": 2,
    "PING": None,
    "ROLE": None,
    "TIME": None,
}


def slot_of(command: Sequence[Any]) -> int | None:
    """The slot of a command's first key, or None when any server will do.

    A published message counts as its channel's: a cluster passes it on to every node, but PUBLISH counts only the
    subscribers of the node it is sent to. Peers choose the nodes for both in this way as well.
    """
    first = command[0]
    index = 2 if isinstance(first, Script) else _FIRST_KEY.get(str(_text(first)).upper(), 1)
    return None if index is None else slot_of_key(command[index])


def slot_of_key(key: bytes | str | int) -> int:
    """The hash slot of one key."""
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _text(argument: Any) -> str:
    return argument.decode() if isinstance(argument, bytes) else str(argument)
