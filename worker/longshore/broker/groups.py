"""Groups and aggregation sets of a real Redis: values in, one script call or pipeline, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from longshore.broker.base import NewTask, Unreadable
from longshore.broker.connection import Argument, Command, RedisConnection
from longshore.broker.groups_base import (
    FinishResult,
    GroupPage,
    GroupState,
    Member,
    SetContent,
    SetName,
    TakenSet,
)
from longshore.broker.limits import MOST_AT_ONCE, MOST_BYTES
from longshore.broker.reading import read_message, text
from longshore.broker.scripts import (
    FINISH_AGGREGATION,
    LIST_GROUPS,
    READ_AGGREGATION_SET,
    RECLAIM_AGGREGATION_SET,
    SET_ASIDE_GROUPED,
    TAKE_GROUP,
)
from longshore.errors import InvalidData
from longshore.policy.grouping import LARGEST_SET
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage

_PAGE = 500  # groups a step: four commands each, so about a millisecond
_EXPIRED = 100  # expired sets told at once; there are as many as servers died lately


class RedisGroupStore:
    """Implements :class:`longshore.broker.groups_base.GroupStore`; the connection's owner closes it."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def look_for_groups(self, queues: Sequence[str]) -> Mapping[str, bool]:
        commands: list[Command] = [("EXISTS", keys.groups(queue), keys.aggregation_sets(queue)) for queue in queues]
        replies = await self._connection.run(commands)
        return {queue: reply > 0 for queue, reply in zip(queues, replies, strict=True)}

    async def list_groups(self, queue: str, *, cursor: str | None, now: datetime) -> GroupPage:
        then, groups, strangers, expired = await self._connection.call(
            LIST_GROUPS,
            [keys.groups(queue), keys.aggregation_sets(queue)],
            [cursor or "0", _PAGE, keys.group_prefix(queue), codec.unix_seconds(now), _EXPIRED],
        )
        known = [_state(*entry) for entry in groups]
        odd = [*strangers, *(entry[0] for entry, state in zip(groups, known, strict=True) if state is None)]
        return GroupPage(
            groups=tuple(state for state in known if state),
            strangers=tuple(text(name) for name in odd),
            expired=await self._set_names(queue, expired),
            cursor=None if then == b"0" else text(then),
        )

    async def take(self, name: SetName, *, first_id: bytes, limit: int, until: datetime) -> TakenSet:
        queue, group = name.queue, name.group
        size, left, *state = await self._connection.call(
            TAKE_GROUP,
            [keys.group(queue, group), _key(name), keys.aggregation_sets(queue), keys.groups(queue)],
            [first_id, min(limit, LARGEST_SET), codec.unix_seconds(until), group],
        )
        return TakenSet(size=size, left=_state(group.encode(), left, *state) if left else None)

    async def read(self, name: SetName, *, now: datetime) -> SetContent:
        members: list[Member] = []
        unreadable: list[Unreadable] = []
        aside: list[bytes] = []
        position = 0
        while True:
            page = await self._connection.call(
                READ_AGGREGATION_SET, [_key(name)], [position, MOST_AT_ONCE, MOST_BYTES, keys.task_prefix(name.queue)]
            )
            if not page:
                break
            position += len(page)
            for task_id, joined_s, state, data in page:
                try:
                    message = _read_member(name.queue, task_id, state, data)
                except InvalidData as error:
                    aside.append(task_id)
                    unreadable.append(Unreadable(queue=name.queue, task_id=text(task_id), problem=str(error)))
                else:
                    members.append(Member(message=message, joined_at=_moment(joined_s)))
        # only now: it changes the positions of the others
        await self._set_aside(name, [(task_id, b"") for task_id in aside], now)
        return SetContent(members=tuple(members), unreadable=tuple(unreadable))

    async def finish(
        self, name: SetName, members: Sequence[TaskMessage], merged: NewTask | None, *, now: datetime
    ) -> FinishResult:
        queue = name.queue
        names: list[Argument] = [_key(name), keys.aggregation_sets(queue)]
        arguments: list[Argument] = [keys.task_prefix(queue), len(members)]
        for member in members:
            arguments += (member.id, member.unique_key or b"")
        commands: list[Command] = []
        if merged is not None:
            if merged.message.queue != queue:
                raise ValueError("the task of an aggregated group stays in its queue")
            # Always, as every enqueue does: another process may have removed the queue since.
            commands.append(("SADD", keys.QUEUES, queue))
            more_names, more_arguments = _creation(merged, now)
            names += more_names
            arguments += more_arguments
        commands.append((FINISH_AGGREGATION, len(names), *names, *arguments))
        return FinishResult((await self._connection.run(commands))[-1])

    async def archive(self, name: SetName, messages: Sequence[TaskMessage], *, now: datetime) -> None:
        await self._set_aside(name, [(message.id.encode(), codec.encode_task(message)) for message in messages], now)

    async def hold(self, name: SetName, *, until: datetime) -> None:
        # XX: a set that was given back or finished must not come to life again
        key = keys.aggregation_sets(name.queue)
        await self._connection.run([("ZADD", key, "XX", codec.unix_seconds(until), _key(name))])

    async def give_back(self, name: SetName) -> None:
        await self._give_back(name, b"")

    async def expired_sets(self, queue: str, *, now: datetime) -> tuple[SetName, ...]:
        key = keys.aggregation_sets(queue)
        [found] = await self._connection.run(
            [("ZRANGEBYSCORE", key, "-inf", codec.unix_seconds(now), "LIMIT", 0, _EXPIRED)]
        )
        return await self._set_names(queue, found)

    async def reclaim(self, name: SetName, *, now: datetime) -> bool:
        return await self._give_back(name, codec.unix_seconds(now))

    async def _set_names(self, queue: str, set_keys: Sequence[bytes]) -> tuple[SetName, ...]:
        found = [(key, keys.group_and_set_id(queue, text(key))) for key in set_keys]
        strange = [key for key, name in found if name is None]
        if strange:
            # no set can be given back by such a key; enough of them would hide the others
            await self._connection.run([("ZREM", keys.aggregation_sets(queue), *strange)])
        return tuple(SetName(queue=queue, group=name[0], set_id=name[1]) for _, name in found if name)

    async def _give_back(self, name: SetName, now_s: Argument) -> bool:
        queue, group = name.queue, name.group
        names = [_key(name), keys.group(queue, group), keys.aggregation_sets(queue), keys.groups(queue)]
        some = False
        while True:
            moved = await self._connection.call(RECLAIM_AGGREGATION_SET, names, [now_s, group, MOST_AT_ONCE])
            some = some or moved > 0
            if moved < MOST_AT_ONCE:
                return some

    async def _set_aside(self, name: SetName, members: Sequence[tuple[bytes, bytes]], now: datetime) -> None:
        start: list[Argument] = [codec.unix_seconds(now), keys.task_prefix(name.queue)]
        names = [_key(name), keys.archived(name.queue)]
        for first in range(0, len(members), MOST_AT_ONCE):
            some = [value for member in members[first : first + MOST_AT_ONCE] for value in member]
            await self._connection.call(SET_ASIDE_GROUPED, names, [*start, *some])


def _creation(task: NewTask, now: datetime) -> tuple[list[Argument], list[Argument]]:
    """Keys and arguments that create the merged task, by the route its fields say (asynq-protocol §2.5)."""
    message = task.message
    queue = message.queue
    lifetime = task.unique_for
    if task.process_at is not None and task.process_at > now:
        state, container, time = "scheduled", keys.scheduled(queue), codec.unix_seconds(task.process_at)
        lifetime = lifetime and task.process_at - now + lifetime
    elif message.group:
        state, container, time = "aggregating", keys.group(queue, message.group), codec.unix_seconds(now)
    else:
        state, container, time = "pending", keys.pending(queue), codec.unix_nanoseconds(now)
    names: list[Argument] = [keys.task(queue, message.id), container, keys.groups(queue)]
    arguments: list[Argument] = [state, message.id, codec.encode_task(message), time, message.group or b"", b""]
    if message.unique_key:
        names.append(message.unique_key)
        if lifetime is None:
            raise ValueError("a task with a unique key needs unique_for")
        arguments[-1] = max(lifetime // timedelta(seconds=1), 1)
    return names, arguments


def _key(name: SetName) -> str:
    return keys.aggregation_set(name.queue, name.group, name.set_id)


def _state(name: bytes, size: int, first_id: bytes, first_s: bytes, last_s: bytes) -> GroupState | None:
    try:
        return GroupState(
            name=name.decode(),
            size=size,
            first_id=first_id,
            first_joined_at=_moment(first_s),
            last_joined_at=_moment(last_s),
        )
    except UnicodeDecodeError:
        return None  # a task cannot name such a group: text in a message is UTF-8


def _moment(score: bytes) -> datetime:
    # a number with a fraction, or one beyond the calendar, is nothing a peer writes, but must not stop the queue
    return codec.from_unix_seconds(int(min(max(float(score), 0.0), 2.0**62)))


def _read_member(queue: str, task_id: bytes, state: Any, data: bytes | None) -> TaskMessage:
    if data is not None and state != b"aggregating":
        raise InvalidData(f"the task is {text(state or b'without a state')}")
    return read_message(queue, task_id, data)
