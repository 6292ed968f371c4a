"""Messages of every kind with random content: Asynq reads what we wrote, and we read what it writes of that.

The values reach what the fields can hold: no content, every script of Unicode, the ends of the integers, times from
year 1 to 9999. Fixed bytes are in tests/protocol.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from go_peer import GoPeer
from longshore.protocol import codec
from longshore.protocol.messages import (
    SchedulerEnqueueEvent,
    SchedulerEntry,
    ServerInfo,
    TaskMessage,
    WorkerInfo,
)

pytestmark = pytest.mark.go

_OF_EACH = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)
_LAST_S = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds())
_INT32 = 2**31 - 1
_LETTERS = "aZ0 _:/{}()\"'\\\n\t\0\u00fc\u00df\u0394\u0416\u4e2d\u2603\u200d\ufeff\U0001f6a2\U0010ffff"


class Values:
    """Random content for the fields, the ends of their ranges more often than chance would have them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def text(self, shortest: int = 0) -> str:
        return "".join(self._random.choices(_LETTERS, k=self._random.choice((shortest, 1, 3, 40))))

    def maybe_text(self) -> str | None:
        return self.text(1) if self._random.random() < 0.6 else None

    def data(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 20, 127, 128, 3000)))

    def int32(self) -> int:
        return self._random.choice((0, 1, 25, _INT32, self._random.randint(0, _INT32)))

    def seconds(self) -> timedelta | None:
        return self._random.choice((None, timedelta(seconds=self._random.choice((1, 1800, 86400 * 36500)))))

    def second(self) -> datetime | None:
        choice = self._random.choice((None, 1, 1700000000, _LAST_S, self._random.randint(1, _LAST_S)))
        return None if choice is None else _EPOCH + timedelta(seconds=choice)

    def moment(self) -> datetime:
        if self._random.random() < 0.3:
            return self._random.choice((_YEAR_1, _EPOCH, _EPOCH + timedelta(seconds=_LAST_S, microseconds=999_999)))
        return _EPOCH + timedelta(microseconds=self._random.randint(0, _LAST_S * 10**6))

    def texts(self) -> list[str]:
        return [self.text(1) for _ in range(self._random.choice((0, 0, 1, 5)))]

    def flag(self) -> bool:
        return self._random.random() < 0.5

    def task(self) -> TaskMessage:
        return TaskMessage(
            type=self.text(1),
            payload=self.data() or None,
            id=self.text(1),
            queue=self.text(1),
            max_retry=self.int32(),
            retried=self.int32(),
            error=self.maybe_text(),
            timeout=self.seconds(),
            deadline=self.second(),
            unique_key=self.maybe_text(),
            last_failed_at=self.second(),
            retention=self.seconds(),
            completed_at=self.second(),
            group=self.maybe_text(),
            headers={name: self.text() for name in self.texts()},
        )

    def server(self) -> ServerInfo:
        return ServerInfo(
            host=self.text(),
            pid=self.int32(),
            server_id=self.text(),
            concurrency=self.int32(),
            queues={name: self.int32() for name in self.texts()},
            strict_priority=self.flag(),
            status=self.text(),
            started_at=self.moment(),
            active_workers=self.int32(),
        )

    def worker(self) -> WorkerInfo:
        return WorkerInfo(
            host=self.text(),
            pid=self.int32(),
            server_id=self.text(),
            task_id=self.text(),
            task_type=self.text(),
            payload=self.data(),
            queue=self.text(),
            started_at=self.moment(),
            deadline=self.moment(),
        )

    def entry(self) -> SchedulerEntry:
        return SchedulerEntry(
            id=self.text(),
            spec=self.text(),
            task_type=self.text(),
            payload=self.data(),
            options=tuple(self.texts()),
            next_at=_never(self.moment()),
            previous_at=_never(self.moment()),
        )

    def event(self) -> SchedulerEnqueueEvent:
        return SchedulerEnqueueEvent(task_id=self.text(), enqueued_at=self.moment())


def _never(moment: datetime) -> datetime | None:
    """What a reader makes of it: year 1 is Go's word for never, and 1970 that of peers which leave the field out."""
    return None if moment in (_YEAR_1, _EPOCH) else moment


# -- the same in the words of Go's JSON ------------------------------------------------------------------------------


def _seconds(value: timedelta | datetime | None) -> int:
    if value is None:
        return 0
    return (value if isinstance(value, timedelta) else value - _EPOCH) // timedelta(seconds=1)


def _instant(moment: datetime | None) -> dict[str, int]:
    since = (moment or _YEAR_1) - _EPOCH
    return {"s": since // timedelta(seconds=1), "ns": since % timedelta(seconds=1) // timedelta(microseconds=1) * 1000}


def _data(value: bytes | None) -> str:
    return base64.b64encode(value or b"").decode()


def _task_json(message: TaskMessage) -> dict[str, Any]:
    return {
        "Type": message.type,
        "Payload": _data(message.payload),
        "Headers": dict(message.headers),
        "ID": message.id,
        "Queue": message.queue,
        "Retry": message.max_retry,
        "Retried": message.retried,
        "ErrorMsg": message.error or "",
        "LastFailedAt": _seconds(message.last_failed_at),
        "Timeout": _seconds(message.timeout),
        "Deadline": _seconds(message.deadline),
        "UniqueKey": message.unique_key or "",
        "GroupKey": message.group or "",
        "Retention": _seconds(message.retention),
        "CompletedAt": _seconds(message.completed_at),
    }


def _server_json(info: ServerInfo) -> dict[str, Any]:
    return {
        "Host": info.host,
        "PID": info.pid,
        "ServerID": info.server_id,
        "Concurrency": info.concurrency,
        "Queues": dict(info.queues),
        "StrictPriority": info.strict_priority,
        "Status": info.status,
        "Started": _instant(info.started_at),
        "ActiveWorkerCount": info.active_workers,
    }


def _worker_json(info: WorkerInfo) -> dict[str, Any]:
    return {
        "Host": info.host,
        "PID": info.pid,
        "ServerID": info.server_id,
        "ID": info.task_id,
        "Type": info.task_type,
        "Payload": _data(info.payload),
        "Queue": info.queue,
        "Started": _instant(info.started_at),
        "Deadline": _instant(info.deadline),
    }


def _entry_json(entry: SchedulerEntry) -> dict[str, Any]:
    return {
        "ID": entry.id,
        "Spec": entry.spec,
        "Type": entry.task_type,
        "Payload": _data(entry.payload),
        "Opts": list(entry.options),
        "Next": _instant(entry.next_at),
        "Prev": _instant(entry.previous_at),
    }


def _event_json(event: SchedulerEnqueueEvent) -> dict[str, Any]:
    return {"TaskID": event.task_id, "EnqueuedAt": _instant(event.enqueued_at)}


def _present(document: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty: Go says null, "" and [] for it."""
    return {name: value for name, value in document.items() if value not in (None, "", [], {})}


_KINDS: dict[str, tuple[Callable[[Values], Any], Callable[[Any], bytes], Callable[[bytes], Any], Callable[[Any], Any]]]
_KINDS = {
    "task": (Values.task, codec.encode_task, codec.decode_task, _task_json),
    "server": (Values.server, codec.encode_server, codec.decode_server, _server_json),
    "worker": (Values.worker, codec.encode_worker, codec.decode_worker, _worker_json),
    "entry": (Values.entry, codec.encode_scheduler_entry, codec.decode_scheduler_entry, _entry_json),
    "event": (Values.event, codec.encode_enqueue_event, codec.decode_enqueue_event, _event_json),
}


@pytest.mark.parametrize("kind", _KINDS)
def test_random_messages_are_the_same_to_asynq_and_to_us(go_peer: GoPeer, kind: str) -> None:
    make, encode, decode, as_json = _KINDS[kind]
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    values = Values(seed)
    written = [make(values) for _ in range(_OF_EACH)]
    answers = go_peer.recode(*({"kind": kind, "data": encode(value)} for value in written))
    for value, answer in zip(written, answers, strict=True):
        assert _present(answer["value"]) == _present(as_json(value))
        assert decode(base64.b64decode(answer["data"])) == value


def test_what_is_encoded_for_many_tasks_at_once_is_the_same_to_asynq(go_peer: GoPeer) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    values = Values(seed)
    written = [values.task() for _ in range(_OF_EACH)]
    shared = [codec.task_encoder(replace(message, id="another", payload=b"another")) for message in written]
    data = [encode(message.id, message.payload) for encode, message in zip(shared, written, strict=True)]
    answers = go_peer.recode(*({"kind": "task", "data": one} for one in data))
    for value, answer in zip(written, answers, strict=True):
        assert _present(answer["value"]) == _present(_task_json(value))
        assert decode_answer(answer) == value


def decode_answer(answer: dict[str, Any]) -> TaskMessage:
    return codec.decode_task(base64.b64decode(answer["data"]))
