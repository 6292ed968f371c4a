"""New tasks to the script calls that create them, one for each queue, and the calls' replies to results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from longshore.broker.base import EnqueueResult, NewTask, Sending
from longshore.broker.connection import Argument, Command
from longshore.broker.limits import MOST_AT_ONCE, MOST_BYTES
from longshore.broker.scripts import ENQUEUE
from longshore.errors import WrongType
from longshore.protocol import codec, keys

_SECOND = timedelta(seconds=1)

# Positions of the script's keys.
_PENDING, _SCHEDULED, _GROUPS = "1", "2", "3"

_RESULTS: Mapping[int, EnqueueResult] = {
    ord("1"): EnqueueResult.CREATED,
    ord("0"): EnqueueResult.ID_CONFLICT,
    ord("-"): EnqueueResult.DUPLICATE,
}


def portions(tasks: Sequence[NewTask]) -> Iterator[Sequence[NewTask]]:
    """The tasks in order, so many at a time that each round trip ends well within its time limit."""
    if len(tasks) <= MOST_AT_ONCE and sum([len(task.message.payload or b"") for task in tasks]) <= MOST_BYTES:
        if tasks:
            yield tasks
        return
    start = size = 0
    for end, task in enumerate(tasks):
        length = len(task.message.payload or b"")
        size += length
        if end > start and (end - start == MOST_AT_ONCE or size > MOST_BYTES):
            yield tasks[start:end]
            start, size = end, length
    if start < len(tasks):
        yield tasks[start:]


@dataclass(kw_only=True, slots=True)
class CreationCall:
    """The call that creates one queue's tasks."""

    queue: str
    command: Command = ()
    positions: list[int] = field(default_factory=list)  # of its tasks among all
    arguments: list[Argument] = field(default_factory=list)  # the tasks', one after the other
    containers: set[str] = field(default_factory=set)


def creation_calls(tasks: Sequence[NewTask], now: datetime, sending: Sending | None) -> Sequence[CreationCall]:
    """The calls that create the tasks, each by the route its fields say (asynq-protocol §2.5)."""
    calls: dict[str, CreationCall] = {}
    for position, task in enumerate(tasks):
        message = task.message
        call = calls.get(message.queue)
        if call is None:
            call = calls[message.queue] = CreationCall(queue=message.queue)
        call.positions.append(position)
        body = codec.encode_task(message) if task.body is None else task.body
        if task.process_at is None and message.group is None and message.unique_key is None:
            call.arguments += (message.id, body, b"p")  # nearly every task
            call.containers.add(_PENDING)
        else:
            call.arguments += (message.id, body)
            _add_route(call, task, now)
    for call in calls.values():
        call.command = _command(call, now, sending)
    return list(calls.values())


def created(
    tasks: Sequence[NewTask], calls: Sequence[CreationCall], replies: Sequence[bytes | WrongType]
) -> list[EnqueueResult | WrongType]:
    """What became of each task."""
    if len(calls) == 1 and isinstance(replies[0], bytes) and not replies[0].strip(b"1"):
        return [EnqueueResult.CREATED] * len(tasks)
    results: list[EnqueueResult | WrongType] = [EnqueueResult.CREATED] * len(tasks)
    for call, reply in zip(calls, replies, strict=True):
        for index, position in enumerate(call.positions):
            if isinstance(reply, WrongType):
                results[position] = reply
            elif reply[index] in _RESULTS:
                results[position] = _RESULTS[reply[index]]
            else:
                group = keys.group(call.queue, tasks[position].message.group or "")
                results[position] = WrongType(group, "is not a zset, but Asynq keeps a zset there")
    return results


def _add_route(call: CreationCall, task: NewTask, now: datetime) -> None:
    message = task.message
    due = task.process_at if task.process_at is not None and task.process_at > now else None
    if due is not None:
        kind = "d" if message.group else "s"
        call.containers.add(_SCHEDULED)
    else:
        kind = "g" if message.group else "p"
        call.containers.add(_GROUPS if message.group else _PENDING)
    call.arguments.append(kind.upper() if message.unique_key else kind)
    if due is not None:
        call.arguments.append(codec.unix_seconds(due))
    if message.group:
        call.arguments.append(message.group)
    if message.unique_key:
        if task.unique_for is None:
            raise ValueError("a task with a unique key needs unique_for")
        lifetime = task.unique_for if due is None else due - now + task.unique_for
        call.arguments += (message.unique_key, max(lifetime // _SECOND, 1))


def _command(call: CreationCall, now: datetime, sending: Sending | None) -> Command:
    queue = call.queue
    names = [keys.pending(queue), keys.scheduled(queue), keys.groups(queue)]
    recognised: tuple[Argument, Argument] = ("", "")
    if sending is not None:
        names.append(keys.sent(queue, sending.sender))
        recognised = (sending.number, max(sending.lifetime // _SECOND, 1))
    arguments: list[Argument] = [
        *(keys.task_prefix(queue), keys.group_prefix(queue)),
        codec.unix_nanoseconds(now),
        codec.unix_seconds(now),
        "".join(sorted(call.containers)),
        *recognised,
    ]
    return (ENQUEUE, len(names), *names, *arguments, *call.arguments)
