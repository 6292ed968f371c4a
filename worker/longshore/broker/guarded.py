"""Scripts that a cluster refuses as a whole while their slot moves.

A script declares the keys of its queue and computes those of the tasks. While a slot moves, some of them lie on one
node and some on the other. Redis looks at the declared ones before it starts; at a computed one that is gone, a script
would fail in the middle, and what it wrote until then would stay. So one key more is declared that never exists. A node
that gives a slot away, or takes it, runs nothing with a key that it does not have.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from longshore.broker.scripts import Script

# The scripts themselves do not see it: some count their keys.
_HIDE = b"table.remove(KEYS) "


def guarded(command: tuple[Any, ...]) -> tuple[Any, ...]:
    """The command; a script call with its guard, when its first key has a hash tag for the guard to share."""
    script = command[0]
    if not isinstance(script, Script):
        return command
    guard = _guard_key(command[2])
    if guard is None:
        return command  # keys without a tag come alone: nothing is computed from them
    end = 2 + int(command[1])
    return (_hiding(script), int(command[1]) + 1, *command[2:end], guard, *command[end:])


@lru_cache(maxsize=256)
def _hiding(script: Script) -> Script:
    body = _HIDE + script.body
    digest = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
    return Script(script.name, script.key_types, body, digest)


def _guard_key(key: bytes | str | int) -> bytes | None:
    name = key if isinstance(key, bytes) else str(key).encode()
    start = name.find(b"{")
    end = name.find(b"}", start + 1)
    return None if start < 0 or end <= start + 1 else b"longshore:" + name[start : end + 1] + b":guard"
