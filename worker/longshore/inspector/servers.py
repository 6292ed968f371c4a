"""Live servers and schedulers, and the periodic entries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from longshore.broker.entry_writer import write_entries
from longshore.broker.live_servers import read_servers
from longshore.broker.reading import text
from longshore.errors import InvalidData
from longshore.inspector.connected import Connected
from longshore.inspector.reading import first_of
from longshore.protocol import codec, keys
from longshore.protocol.messages import SchedulerEnqueueEvent, SchedulerEntry
from longshore.protocol.periodic import PeriodicEntry
from longshore.protocol.snapshots import ServerSnapshot


class Servers(Connected):
    """The inspector's view of processes."""

    async def servers(self) -> tuple[ServerSnapshot, ...]:
        """Live worker servers, Go ones included, with the tasks they run."""
        return await read_servers(self._redis, now=self._clock())

    async def scheduler_entries(self) -> tuple[SchedulerEntry, ...]:
        """Periodic entries of every live scheduler, Go ones included, by the time of their next tick."""
        now_s = codec.unix_seconds(self._clock())
        [schedulers] = await self._redis.run([("ZRANGEBYSCORE", keys.SCHEDULERS, now_s, "+inf")])
        lists = await self._redis.run([("LRANGE", key, 0, -1) for key in schedulers])
        entries = []
        for data in (item for items in lists for item in items):
            try:
                entries.append(codec.decode_scheduler_entry(data))
            except InvalidData:
                continue
        never = datetime.max.replace(tzinfo=UTC)
        return tuple(sorted(entries, key=lambda entry: (entry.next_at or never, entry.id)))

    async def enqueue_events(
        self, entry_id: str, *, page: int = 1, size: int = 30
    ) -> tuple[SchedulerEnqueueEvent, ...]:
        """Past ticks of one scheduler entry, newest first. ``page`` counts from 1, ``size`` is 1 to 1,000."""
        first = first_of(page, size)
        [items] = await self._redis.run([("ZREVRANGE", keys.scheduler_history(entry_id), first, first + size - 1)])
        events = []
        for data in items:
            try:
                events.append(codec.decode_enqueue_event(data))
            except InvalidData:
                continue
        return tuple(events)

    async def periodic_entries(self, scope: str) -> Mapping[str, bytes]:
        """The periodic entries of a scope as they lie in Redis: name to JSON."""
        [flat] = await self._redis.run([("HGETALL", keys.periodic_entries(scope))])
        return {text(name): data for name, data in zip(flat[::2], flat[1::2], strict=True)}

    async def write_periodic(
        self,
        scope: str,
        set: Mapping[str, PeriodicEntry],  # noqa: A002
        remove: Collection[str] = (),
    ) -> None:
        """Write and remove periodic entries of a scope. Others stay; doing it twice changes nothing.

        With an entry goes its history. Its tick record outlives it for a week, and is found again by an entry of the
        same name and queue: no tick runs twice for having been removed in between.
        """
        await write_entries(self._redis, scope, changed=set, removed=remove)
