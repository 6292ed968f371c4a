"""What a scheduler knows of its entries, and which of them have ticks due.

Pure: entries and records come in as values, decisions go out as values. An entry that cannot be read, or whose schedule
or task cannot be used, is reported in ``errors`` and has no ticks; the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from longshore.errors import InvalidData, InvalidOption
from longshore.policy.enqueue_options import render_options
from longshore.policy.jitter import Jitter, jitter_of
from longshore.policy.periodic import Due, Schedule, due
from longshore.protocol import keys
from longshore.protocol.messages import TaskMessage
from longshore.protocol.periodic import PeriodicEntry, decode_entry, entry_id, tick_task_id
from longshore.task import OPTIONS, Task


@dataclass(kw_only=True, slots=True)
class Planned:
    """One entry and where it stands."""

    name: str
    id: str  # unique over every scope of a Redis
    source: bytes  # the entry as it was read; equal bytes need no second look
    entry: PeriodicEntry
    schedule: Schedule
    task: Task  # the template, checked
    record_known: bool = False  # whether last_tick is what Redis says
    last_tick: datetime | None = None
    # When the first tick after last_tick is enqueued, perhaps past already; None: never, or suspended.
    next_at: datetime | None = None

    def learn(self, last_tick: datetime | None) -> None:
        """Take over where the record stands."""
        self.record_known = True
        self.last_tick = last_tick
        if self.entry.suspend:
            self.next_at = None
        else:
            since = self.entry.since
            self.next_at = self.schedule.first_enqueued(last_tick or since, since, self.jitter)

    def message(self, tick: datetime) -> TaskMessage:
        """The task of one tick: the same whoever makes it, whenever."""
        options = self.task.options
        queue: str = options["queue"]
        unique = "unique_for" in options
        return TaskMessage(
            type=self.task.type,
            payload=self.task.payload,
            id=tick_task_id(self.id, tick),
            queue=queue,
            max_retry=options.get("max_retry", OPTIONS["max_retry"].default),
            timeout=options.get("timeout", OPTIONS["timeout"].default),
            unique_key=keys.unique(queue, self.task.type, self.task.payload) if unique else None,
            retention=options.get("retention") or None,
            headers=options.get("headers", OPTIONS["headers"].default),
        )

    @property
    def queue(self) -> str:
        """The queue its ticks go to, beside which its record lies."""
        return self.entry.task.queue

    @property
    def jitter(self) -> Jitter:
        """How its ticks are delayed."""
        return jitter_of(self.id, self.entry)

    @property
    def unique_for(self) -> timedelta | None:
        """The lifetime of the unique lock; None when none is wanted."""
        unique_for: timedelta | None = self.task.options.get("unique_for")
        return unique_for

    @property
    def options(self) -> tuple[str, ...]:
        """The task's options as Asynq's readers show them."""
        return render_options(self.entry.task)


class Agenda:
    """The entries of one scope."""

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._planned: dict[str, Planned] = {}
        self._unusable: dict[str, tuple[bytes, str]] = {}  # name to the bytes and what is wrong with them
        self._sources: Mapping[str, bytes] = {}

    def update(self, sources: Mapping[str, bytes]) -> bool:
        """Take over the entries as they lie in Redis; whether there was any change."""
        if sources is self._sources:  # asked every second, with hundreds of entries
            return False
        self._sources = sources
        changed = False
        for name in (self._planned.keys() | self._unusable.keys()) - sources.keys():
            self._planned.pop(name, None)
            self._unusable.pop(name, None)
            changed = True
        for name, source in sources.items():
            known = self._planned.get(name)
            if source == (known.source if known else self._unusable.get(name, (None,))[0]):
                continue
            changed = True
            self._unusable.pop(name, None)
            try:
                self._planned[name] = _plan(entry_id(self._scope, name), name, source, known)
            # OverflowError: times that no calendar has. Whatever it is, it must not stop the others.
            except (InvalidData, InvalidOption, ValueError, OverflowError) as error:
                self._planned.pop(name, None)
                self._unusable[name] = source, str(error)
        return changed

    @property
    def errors(self) -> dict[str, str]:
        """Names of the entries that cannot be used, and why."""
        return {name: reason for name, (_, reason) in self._unusable.items()}

    def __iter__(self) -> Iterator[Planned]:
        return iter(self._planned.values())

    def unread(self) -> list[Planned]:
        """Entries whose record must be read before their ticks can be decided on."""
        return [planned for planned in self if not planned.record_known]

    def forget_records(self) -> None:
        """Another scheduler may have been at work: what the records say must be read again."""
        for planned in self:
            planned.record_known = False

    def due(self, now: datetime) -> list[tuple[Planned, Due]]:
        """Entries with ticks to run or to give up now, and which."""
        return [
            (
                planned,
                due(
                    planned.schedule,
                    since=planned.entry.since,
                    last_tick=planned.last_tick,
                    now=now,
                    starting_deadline=planned.entry.starting_deadline,
                    catch_up=planned.entry.catch_up,
                    jitter=planned.jitter,
                ),
            )
            for planned in self
            if planned.record_known and planned.next_at is not None and planned.next_at <= now
        ]


def _plan(entry: str, name: str, source: bytes, before: Planned | None) -> Planned:
    """Read an entry. Raises InvalidData or InvalidOption; the message names the field."""
    read = decode_entry(source)
    template = read.task
    task = Task(
        template.type,
        template.payload or None,  # as a client without a payload: the unique key differs for an empty one
        queue=template.queue,
        max_retry=template.max_retry,
        timeout=template.timeout,
        retention=template.retention,
        unique_for=template.unique_for,
        headers=template.headers,
    )
    planned = Planned(
        name=name,
        id=entry,
        source=source,
        entry=read,
        schedule=Schedule.parse(read.schedule, read.time_zone),
        task=task,
    )
    # Everything that depends on the entry alone must work now, where its error is reported, not at the first tick.
    planned.message(read.since)
    planned.learn(None)
    planned.record_known = False
    if before is not None and before.record_known and before.queue == planned.queue:
        planned.learn(before.last_tick)
    return planned
