"""Carries out what the agenda decides: each due tick becomes its task, at most once."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from longshore.broker.base import Broker
from longshore.broker.periodic_base import PeriodicStore, RecordName, Tick, TickReply, TickResult
from longshore.errors import InvalidData
from longshore.policy.agenda import Agenda, Planned
from longshore.policy.periodic import Due
from longshore.protocol.messages import SchedulerEnqueueEvent
from longshore.protocol.periodic import scheduler_entry_id
from longshore.runtime.timing import Clock

_logger = logging.getLogger("longshore.scheduler")

_BATCH = 100  # scripts a round trip: a longer one would delay other clients, a shorter one the last of many ticks


class TickRunner:
    """One call of ``run`` carries out everything due."""

    def __init__(self, store: PeriodicStore, broker: Broker, *, agenda: Agenda, clock: Clock) -> None:
        self._store = store
        self._broker = broker
        self._agenda = agenda
        self._clock = clock
        # Entry name → what is in the way: of reading its record, and of its last tick.
        self._unreadable: dict[str, str] = {}
        self._refused: dict[str, str] = {}

    async def run(self) -> None:
        """Read the records not known yet, then run or give up every due tick. Raises BrokerUnavailable.

        Interrupted at any point, the next call goes on from the records: no tick runs twice, and none is left out
        that its deadline still allows.
        """
        await self._read_records()
        steps = [(planned, tick) for planned, due in self._agenda.due(self._clock()) for tick in _ticks(planned, due)]
        created: list[tuple[str, SchedulerEnqueueEvent]] = []
        for start in range(0, len(steps), _BATCH):
            batch = steps[start : start + _BATCH]
            now = self._clock()
            replies = await self._store.tick([tick for _, tick in batch], now=now)
            for (planned, tick), reply in zip(batch, replies, strict=True):
                if self._take(planned, tick, reply) and tick.message is not None:
                    event = SchedulerEnqueueEvent(task_id=tick.message.id, enqueued_at=now)
                    created.append((scheduler_entry_id(planned.id), event))
        # After the last tick, so that the history of one does not delay another.
        await self._broker.record_enqueue_events(created)
        known = {planned.name for planned in self._agenda}
        for problems in (self._unreadable, self._refused):
            for name in problems.keys() - known:
                del problems[name]

    @property
    def errors(self) -> dict[str, str]:
        """Entries whose ticks cannot be carried out for now, and why."""
        return {**self._refused, **self._unreadable}

    async def _read_records(self) -> None:
        unread = self._agenda.unread()
        if not unread:
            return
        records = await self._store.read_records([_record(planned) for planned in unread])
        for planned, record in zip(unread, records, strict=True):
            if isinstance(record, InvalidData):
                _report(planned, record, self._unreadable)
            else:
                self._unreadable.pop(planned.name, None)
                planned.learn(record.last_tick)

    def _take(self, planned: Planned, tick: Tick, reply: TickReply | InvalidData) -> bool:
        """Take note of what became of a tick; whether it created its task."""
        if isinstance(reply, InvalidData):
            planned.record_known = False  # read it again before the next try
            _report(planned, reply, self._refused)
            return False
        planned.learn(reply.last_tick)
        if reply.result is TickResult.OVERTAKEN:
            # Another scheduler, or this one before a timeout. The next look decides on what the record says now.
            return False
        self._refused.pop(planned.name, None)
        facts = {"entry": planned.id, "queue": planned.queue, "tick": tick.tick.isoformat()}
        if tick.missed:
            _logger.warning(
                "Ticks were missed: too late to run, or too many",
                extra={"action": "ticks_missed", **facts, "missed": tick.missed},
            )
        if reply.result is TickResult.ENQUEUED:
            _logger.debug("Tick enqueued", extra={"action": "tick_enqueued", **facts})
            return True
        if reply.result is TickResult.DUPLICATE:
            _logger.info(
                "Tick skipped: another task of this type and payload holds the unique lock",
                extra={"action": "tick_skipped", **facts},
            )
        elif reply.result is TickResult.OVERLAPPING:
            _logger.info(
                "Tick skipped: the task of an earlier tick has not ended", extra={"action": "tick_skipped", **facts}
            )
        elif reply.result is TickResult.ID_CONFLICT:
            _logger.warning(
                "Tick skipped: its task exists already, though its record did not say so",
                extra={"action": "tick_skipped", **facts},
            )
        return False


def _report(planned: Planned, error: InvalidData, problems: dict[str, str]) -> None:
    if problems.get(planned.name) != str(error):
        _logger.error(
            "A tick cannot be carried out; it is tried again until its deadline",
            extra={"action": "tick_failed", "entry": planned.id, "queue": planned.queue, "error": str(error)},
        )
    problems[planned.name] = str(error)


def _record(planned: Planned) -> RecordName:
    return RecordName(queue=planned.queue, entry_id=planned.id)


def _ticks(planned: Planned, due: Due) -> Iterator[Tick]:
    """The steps of one decision, each upon the record that the one before leaves."""
    record, after, missed = _record(planned), planned.last_tick, due.missed
    for at in due.run:
        yield Tick(
            record=record,
            after=after,
            tick=at,
            missed=missed,
            message=planned.message(at),
            unique_for=planned.unique_for,
            overlap=planned.entry.overlap,
        )
        after, missed = at, 0  # those given up are all older than the first that runs
    if not due.run and due.newest is not None:
        yield Tick(record=record, after=after, tick=due.newest, missed=missed, message=None)
