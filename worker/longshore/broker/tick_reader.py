"""Reading tick records for the poll: one at a time, or several in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from longshore.broker.connection import Command
from longshore.broker.scripts import TICK_RECORDS
from longshore.errors import BrokerUnavailable, InvalidData, WrongType
from longshore.protocol import keys
from longshore.protocol.periodic import TickRecord, decode_tick_record, entry_id

Entry = tuple[str, str]
"""A PeriodicTask's name and its queue."""


def record_command(scope: str, entry: Entry) -> Command:
    """The call whose reply is one record's fields and values."""
    return ("HGETALL", _key(scope, entry))


def records_command(scope: str, entries: Sequence[Entry], known_digest: bytes) -> Command:
    """One call for several records, on one server: replies their digest and, unless that is known, each record."""
    return (TICK_RECORDS, len(entries), *(_key(scope, entry) for entry in entries), known_digest)


def ticks_read(entries: Sequence[Entry], records: Sequence[Any]) -> dict[str, TickRecord]:
    """The records by the PeriodicTask's name, as far as they are there and can be read."""
    ticks: dict[str, TickRecord] = {}
    for (name, _), record in zip(entries, records, strict=True):
        if isinstance(record, WrongType | BrokerUnavailable) or not record:
            continue
        fields: Mapping[bytes, bytes] = dict(zip(record[::2], record[1::2], strict=True))
        try:
            ticks[name] = decode_tick_record(fields)
        except InvalidData:
            continue
    return ticks


def _key(scope: str, entry: Entry) -> str:
    name, queue = entry
    return keys.tick_record(queue, entry_id(scope, name))
