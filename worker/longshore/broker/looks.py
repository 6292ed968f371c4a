"""Cheap looks at many queues in one round trip: whether one of the duties' scripts would find anything to do.

Plain reads. What they say may be over a moment later; the script decides, the look only spares most of its calls.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from longshore.broker.base import Waiting
from longshore.broker.connection import Command
from longshore.protocol import codec, keys


def due_commands(queues: Sequence[str], occupied: Collection[str]) -> list[list[Command]]:
    """For each queue what to ask: the earliest of both sets, or only whether there is any when most likely not."""
    return [
        [
            ("ZRANGE", keys.scheduled(queue), 0, 0, "WITHSCORES"),
            ("ZRANGE", keys.retry(queue), 0, 0, "WITHSCORES"),
        ]
        if queue in occupied
        else [("EXISTS", keys.scheduled(queue), keys.retry(queue))]
        for queue in queues
    ]


def waiting(replies: Sequence[Any], now: datetime) -> Waiting:
    """The answer to one queue's commands."""
    if isinstance(replies[0], int):
        return Waiting.DUE if replies[0] else Waiting.NONE
    if not any(replies):
        return Waiting.NONE
    return Waiting.DUE if any(is_over(reply, now) for reply in replies) else Waiting.LATER


def is_over(reply: Sequence[bytes], now: datetime) -> bool:
    """Whether the earliest member of a set, as ZRANGE … WITHSCORES tells it, has a time that has come."""
    return bool(reply) and float(reply[1]) <= codec.unix_seconds(now)
