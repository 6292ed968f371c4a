"""What a scheduler needs of Redis beside :class:`longshore.broker.base.Broker`: entries, tick records, the lease.

Every method raises :class:`longshore.errors.BrokerUnavailable` when Redis cannot be reached or does not answer in time.
Whether a write happened is then unknown, and repeating is safe.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from longshore.errors import InvalidData
from longshore.protocol.messages import TaskMessage
from longshore.protocol.periodic import Overlap, PeriodicEntry, TickRecord
from longshore.protocol.snapshots import EntriesSnapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordName:
    """Which tick record: it lies beside the queue its ticks go to."""

    queue: str
    entry_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """One step of an entry's record: a tick to enqueue, or ticks to give up."""

    record: RecordName
    after: datetime | None  # the record's last tick when this was decided; None: it had none
    tick: datetime  # whole second; without a message, the newest of those given up
    missed: int = 0  # ticks given up between the two
    message: TaskMessage | None  # the task, of the record's queue; unique_key is set when a lock is wanted
    unique_for: timedelta | None = None  # lifetime of the lock, whole seconds ≥ 1
    overlap: Overlap = Overlap.ALLOW  # beside the newest task of the record


class TickResult(Enum):
    """What became of a :class:`Tick`."""

    RECORDED = 2  # ticks were given up, as asked
    ENQUEUED = 1  # the task was created
    ID_CONFLICT = 0  # recorded; a task of that id exists already
    DUPLICATE = -1  # recorded; the unique lock is held
    OVERLAPPING = -3  # recorded; the task of an earlier tick has not ended
    OVERTAKEN = -2  # nothing was written: another scheduler has moved the record on


@dataclass(frozen=True, kw_only=True, slots=True)
class TickReply:
    """What became of a :class:`Tick`, and where the record stands now."""

    result: TickResult
    last_tick: datetime | None


class PeriodicStore(Protocol):
    """A Redis that keeps periodic entries."""

    async def hold_lease(self, scope: str, holder: str, *, now: datetime, lifetime: timedelta) -> bool:
        """Take or renew the lease of a scope's active scheduler. False: another holds it."""

    async def release_lease(self, scope: str, holder: str) -> None:
        """Give the lease up, if it is still the holder's."""

    async def read_entries(self, scope: str, known: EntriesSnapshot) -> EntriesSnapshot:
        """A scope's entries as they lie there; ``known`` itself while they are the same. Raises WrongType."""

    async def write_entries(
        self, scope: str, *, changed: Mapping[str, PeriodicEntry], removed: Collection[str]
    ) -> None:
        """Write entries and remove others, whose records get a lifetime. Repeating it is safe."""

    async def read_records(self, names: Sequence[RecordName]) -> list[TickRecord | InvalidData]:
        """Tick records, in order and in one round trip; an empty one where there is none. InvalidData: not readable."""

    async def tick(self, ticks: Sequence[Tick], *, now: datetime) -> list[TickReply | InvalidData]:
        """Carry ticks out one after another, in one round trip. Each is atomic, and creates its task at most once.

        InvalidData: a key of another type is in the way; nothing was written for this tick. Registers the queues.
        """

    async def write_errors(self, scope: str, errors: Mapping[str, str]) -> None:
        """Replace the report of entries that cannot run: name to reason."""
