"""Reading a scope's periodic entries: the operator and the active scheduler both look every second."""

from __future__ import annotations

from collections.abc import Sequence

from longshore.broker.connection import Command
from longshore.broker.scripts import READ_ENTRIES
from longshore.protocol import keys
from longshore.protocol.snapshots import EntriesSnapshot


def read_entries_command(scope: str, known: EntriesSnapshot) -> Command:
    """The call whose reply :func:`stored_entries` reads."""
    return (READ_ENTRIES, 1, keys.periodic_entries(scope), known.digest)


def stored_entries(reply: Sequence[bytes], known: EntriesSnapshot) -> EntriesSnapshot:
    """The entries in a reply; ``known`` itself when nothing has changed."""
    digest, *flat = reply
    if digest == known.digest:
        return known
    return EntriesSnapshot(
        {name.decode("utf-8", "replace"): data for name, data in zip(flat[::2], flat[1::2], strict=True)}, digest
    )
