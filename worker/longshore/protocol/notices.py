"""What worker servers of ours tell one another, as values and as JSON on one channel.

Nothing rests on a notice being heard: each only spares its hearers work, or lets them do it sooner. Go peers neither
hear nor send any. A server of a later version may send kinds and fields that are unknown here; they are passed over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from longshore.errors import InvalidData


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Standing:
    """A server's place among all: of two that do one duty, the lesser goes on with it."""

    since: float  # when the server started, by its own clock, s since 1970: the oldest server is the least
    server_id: str  # tells servers apart that started together


@dataclass(frozen=True, kw_only=True, slots=True)
class DutiesHeld:
    """A server does the background duties of these queues. Repeated every few seconds; silence gives them up."""

    standing: Standing
    queues: tuple[str, ...]  # all that it holds; empty: it gives up those it held, because it stops


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuePaused:
    """A server found the queue paused."""

    queue: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueResumed:
    """The queue is not paused any more."""

    queue: str


class Afterwards(Enum):
    """What shall become of a task that is cancelled."""

    RETRY = "retry"  # what Asynq's cancellation does: it counts as a failure
    ARCHIVE = "archive"
    DELETE = "delete"


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelTask:
    """A task of a queue shall end where it runs. Asynq's cancellation, which names no queue, follows this one."""

    queue: str
    task_id: str
    then: Afterwards = Afterwards.RETRY


@dataclass(frozen=True, kw_only=True, slots=True)
class TakeTurn:
    """A server that waits for a limit longer than others may take what is free now."""

    server_id: str  # the one whose turn it is
    queue: str
    limit: str  # the pattern of the limit's tasks; empty: the limit of the whole queue


Notice: TypeAlias = DutiesHeld | QueuePaused | QueueResumed | CancelTask | TakeTurn


def encode_notice(notice: Notice) -> bytes:
    """The bytes to publish."""
    match notice:
        case DutiesHeld(standing=standing, queues=queues):
            body: dict[str, Any] = {"duties": queues, "server": standing.server_id, "since": standing.since}
        case QueuePaused(queue=queue):
            body = {"paused": queue}
        case QueueResumed(queue=queue):
            body = {"resumed": queue}
        case CancelTask(queue=queue, task_id=task_id, then=then):
            body = {"cancel": task_id, "queue": queue, "then": then.value}
        case TakeTurn(server_id=server_id, queue=queue, limit=limit):
            body = {"turn": server_id, "queue": queue, "limit": limit}
    return json.dumps(body, separators=(",", ":")).encode()


def decode_notice(data: bytes) -> Notice | None:
    """The notice in what was heard; None for a kind that is unknown here. Raises InvalidData."""
    try:
        body = json.loads(data)
        if "duties" in body:
            standing = Standing(since=float(body["since"]), server_id=_text(body["server"]))
            return DutiesHeld(standing=standing, queues=tuple(map(_text, body["duties"])))
        if "paused" in body:
            return QueuePaused(queue=_text(body["paused"]))
        if "resumed" in body:
            return QueueResumed(queue=_text(body["resumed"]))
        if "cancel" in body:
            then = Afterwards(body.get("then", "retry"))
            return CancelTask(queue=_text(body["queue"]), task_id=_text(body["cancel"]), then=then)
        if "turn" in body:
            return TakeTurn(server_id=_text(body["turn"]), queue=_text(body["queue"]), limit=_text(body["limit"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidData(f"a notice between servers: {error}") from error
    return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
