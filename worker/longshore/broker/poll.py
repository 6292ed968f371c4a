"""Everything the operator watches of one Redis, in one round trip whatever the number of queues.

The operator polls each second, and most of what it reads is as it was. So a poll knows the one before it: portions of
queues and of tick records that have the same digest are not sent again, what is sent and has not changed is not decoded
again, and the servers known last are asked together with everything else. A server that is new costs a second round
trip, once. In a cluster each queue is a call of its own, since a script sees one slot only.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from longshore.broker.connection import Command, RedisConnection
from longshore.broker.depths import Asked, queue_command, queue_snapshot, queue_snapshots, queues_command
from longshore.broker.entry_reader import read_entries_command, stored_entries
from longshore.broker.live_servers import in_order, live_servers_command, servers_commands, servers_read
from longshore.broker.reading import text
from longshore.broker.tick_reader import Entry, record_command, records_command, ticks_read
from longshore.errors import BrokerUnavailable, InvalidData, WrongType
from longshore.protocol import keys
from longshore.protocol.periodic import TickRecord, decode_lease
from longshore.protocol.snapshots import (
    NO_ENTRIES,
    NOTHING_READ,
    BrokerSnapshot,
    PollMemory,
    QueueSnapshot,
    ReadServer,
    SchedulerLease,
)

# Queues, or records, of one call. Other clients wait for it: some 0.3 ms.
_PORTION = 50
# Where several in one call fail and one by one succeed, so many polls go by before it is tried again.
_POLLS_APART = 60
# Worker servers of one Redis. Anybody who may write there can record any number of them, and whoever polls many Redis
# must not spend its time on one.
_SERVERS = 5_000

T = TypeVar("T")


async def poll_broker(
    connection: RedisConnection,
    queues: Collection[str],
    *,
    scope: str | None,
    ticks_of: Mapping[str, str],
    lookaheads: Mapping[str, Collection[timedelta]],
    known: BrokerSnapshot | None,
    now: datetime,
) -> BrokerSnapshot:
    """See :meth:`longshore.inspector.Inspector.snapshot`."""
    asked = [(name, tuple(lookaheads.get(name, ()))) for name in queues]
    entries = list(ticks_of.items()) if scope is not None else []
    memory = NOTHING_READ if known is None else known.memory
    poll = _Poll(connection, asked, scope, entries, known, memory, now)
    if not memory.together or memory.polls_apart:
        return await poll.run(together=False, polls_apart=max(0, memory.polls_apart - 1))
    try:
        return await poll.run(together=True, polls_apart=0)
    except (BrokerUnavailable, WrongType):
        # Whatever the reason is (another kind of server in the same place, a proxy that knows no such scripts): if one
        # by one fails as well, that error says more.
        return await poll.run(together=False, polls_apart=_POLLS_APART)


class _Poll:
    """One look."""

    def __init__(
        self,
        connection: RedisConnection,
        asked: Sequence[Asked],
        scope: str | None,
        entries: Sequence[Entry],
        known: BrokerSnapshot | None,
        memory: PollMemory,
        now: datetime,
    ) -> None:
        self._connection = connection
        self._asked = asked
        self._scope = scope
        self._entries = entries
        self._known = known
        self._memory = memory
        self._now = now
        self._digests: dict[object, bytes] = {}

    async def run(self, *, together: bool, polls_apart: int) -> BrokerSnapshot:
        portions = _portions(self._asked) if together else []
        record_portions = _portions(self._entries) if together else []
        old_servers = list(self._memory.servers)
        parts: list[list[Command]] = [
            [("INFO", "server"), live_servers_command(self._now, at_most=_SERVERS + 1), *servers_commands(old_servers)],
            self._queue_commands(portions, together),
            self._scheduler_commands(),
            self._record_commands(record_portions, together),
        ]
        started = time.perf_counter()
        replies = await self._connection.run_where_reached([command for part in parts for command in part])
        latency = timedelta(seconds=time.perf_counter() - started)
        lost = _lost(replies)
        if lost and len(lost) >= len(replies) - 1:
            raise lost[0]  # at most INFO was answered, which a server does that may say nothing of its keys
        general, depths, scheduler, records = _split(replies, [len(part) for part in parts])

        info, server_keys, *server_replies = general
        lease, stored, refused = scheduler or (None, [b""], [])
        _raise_wrong_type(info, server_keys, lease, stored, *(() if not together else (*depths, *records)))
        facts = {} if isinstance(info, BrokerUnavailable) else _facts(info)
        servers, servers_lost = await self._servers(server_keys, old_servers, server_replies)
        schedule_known = not _lost((lease, stored))
        known_entries = NO_ENTRIES if self._known is None else self._known.entries
        known_refused: Mapping[str, str] = {} if self._known is None else self._known.refused
        known_servers = () if self._known is None else self._known.servers
        same_servers = len(servers) == len(old_servers) and all(
            server is self._memory.servers.get(name) for name, server in servers.items()
        )
        return BrokerSnapshot(
            redis_version=facts.get("redis_version", ""),
            latency=latency,
            queues=self._queues(portions, depths) if together else self._queues_apart(depths),
            servers=known_servers if same_servers else in_order(servers.values()),
            scheduler=_lease(lease) if schedule_known else None,
            entries=stored_entries(stored, known_entries) if schedule_known else known_entries,
            ticks=self._ticks(record_portions, records) if together else ticks_read(self._entries, records),
            refused=known_refused if isinstance(refused, BrokerUnavailable) else _refused(refused),
            memory=PollMemory(
                together=facts.get("redis_mode") == "standalone",
                polls_apart=polls_apart,
                digests=self._digests,
                servers=servers,
            ),
            problem=next((str(each) for each in (*lost, *servers_lost)), None),
            servers_known=not servers_lost,
            schedule_known=schedule_known,
        )

    # -- what is asked -------------------------------------------------------------------------------------------------

    def _queue_commands(self, portions: Sequence[tuple[Asked, ...]], together: bool) -> list[Command]:
        if together:
            return [queues_command(portion, self._digest(portion), self._now) for portion in portions]
        return [queue_command(name, self._now, lookaheads) for name, lookaheads in self._asked]

    def _scheduler_commands(self) -> list[Command]:
        if self._scope is None:
            return []
        known = NO_ENTRIES if self._known is None else self._known.entries
        return [
            ("GET", keys.scheduler_lease(self._scope)),
            read_entries_command(self._scope, known),
            ("HGETALL", keys.periodic_errors(self._scope)),
        ]

    def _record_commands(self, portions: Sequence[tuple[Entry, ...]], together: bool) -> list[Command]:
        if self._scope is None:
            return []
        if together:
            return [records_command(self._scope, portion, self._digest(portion)) for portion in portions]
        return [record_command(self._scope, entry) for entry in self._entries]

    def _digest(self, portion: object) -> bytes:
        return self._memory.digests.get(portion, b"")

    # -- what is answered ----------------------------------------------------------------------------------------------

    def _queues(self, portions: Sequence[tuple[Asked, ...]], replies: Sequence[Any]) -> Mapping[str, QueueSnapshot]:
        before = {} if self._known is None else self._known.queues
        found: dict[str, QueueSnapshot] = {}
        same = len(before) == len(self._asked)
        for portion, reply in zip(portions, replies, strict=True):
            self._digests[portion] = reply[0]
            changed = queue_snapshots(portion, reply, self._now)
            if changed is None:
                found.update((name, before[name]) for name, _ in portion)
            else:
                same = False
                found.update((depth.name, _kept(before.get(depth.name), depth)) for depth in changed)
        return before if same else found

    def _queues_apart(self, replies: Sequence[Any]) -> dict[str, QueueSnapshot]:
        return {
            name: queue_snapshot(name, reply, lookaheads)
            for (name, lookaheads), reply in zip(self._asked, replies, strict=True)
        }

    def _ticks(self, portions: Sequence[tuple[Entry, ...]], replies: Sequence[Any]) -> Mapping[str, TickRecord]:
        before = {} if self._known is None else self._known.ticks
        found: dict[str, TickRecord] = {}
        same = True
        for portion, (digest, *records) in zip(portions, replies, strict=True):
            self._digests[portion] = digest
            if records:
                same = False
                ticks = ticks_read(portion, records)
                found.update((name, _kept(before.get(name), tick)) for name, tick in ticks.items())
            else:
                found.update((name, before[name]) for name, _ in portion if name in before)
        return before if same and len(found) == len(before) else found

    async def _servers(
        self, server_keys: Sequence[bytes] | BrokerUnavailable, asked: Sequence[str], replies: Sequence[Any]
    ) -> tuple[dict[str, ReadServer], list[BrokerUnavailable]]:
        """The live servers by their keys, and why others, or what these run now, could not be read."""
        known, lost = self._memory.servers, _lost(replies)
        found = servers_read(asked, replies, known, keep_payloads=False)
        if isinstance(server_keys, BrokerUnavailable):
            return found, [server_keys, *lost]  # of those that were live, the best that is known
        names = [text(key) for key in server_keys[:_SERVERS]]
        if len(server_keys) > _SERVERS:
            problem = f"{keys.SERVERS} names more than {_SERVERS} worker servers; the rest of them is not read"
            lost.append(BrokerUnavailable(problem))
        new = [name for name in names if name not in known]
        if new:
            more = await self._connection.run_where_reached(servers_commands(new))
            lost += _lost(more)
            found |= servers_read(new, more, {}, keep_payloads=False)
        return {name: found[name] for name in names if name in found}, lost


def _lost(replies: Sequence[Any]) -> list[BrokerUnavailable]:
    """What was not read because the server that has it, one of a cluster, is away."""
    return [reply for reply in replies if isinstance(reply, BrokerUnavailable)]


def _portions(items: Sequence[T]) -> list[tuple[T, ...]]:
    return [tuple(items[start : start + _PORTION]) for start in range(0, len(items), _PORTION)]


def _split(replies: Sequence[Any], counts: Sequence[int]) -> list[Sequence[Any]]:
    found, start = [], 0
    for count in counts:
        found.append(replies[start : start + count])
        start += count
    return found


def _kept(before: T | None, after: T) -> T:
    """The value of before while it is the same: whoever compares then need not look into it."""
    return before if before is not None and before == after else after


def _raise_wrong_type(*replies: Any) -> None:
    for reply in replies:
        if isinstance(reply, WrongType):
            raise reply


def _facts(info: bytes) -> dict[str, str]:
    """What INFO tells, by name."""
    lines = (line.partition(":") for line in text(info).splitlines())
    return {name: value for name, _, value in lines}


def _refused(reply: Any) -> dict[str, str]:
    if isinstance(reply, WrongType):
        return {}
    return {text(name): text(why) for name, why in zip(reply[::2], reply[1::2], strict=True)}


def _lease(data: bytes | None) -> SchedulerLease | None:
    if data is None:
        return None
    try:
        holder, since = decode_lease(data)
    except InvalidData:
        return None
    return SchedulerLease(holder=holder, since=since)
