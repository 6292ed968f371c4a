"""The entries of an application's scope: declared in code or by a provider, kept in Redis."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from longshore.broker.periodic_base import PeriodicStore
from longshore.policy.entry_sync import decide_sync
from longshore.protocol.periodic import PeriodicEntry
from longshore.protocol.snapshots import NO_ENTRIES
from longshore.runtime.entry_provider import Declared, EntryPoll
from longshore.runtime.timing import Clock

_logger = logging.getLogger("longshore.scheduler")

_PROVIDER = "(provider)"


class DeclaredEntries:
    """An entry source that writes what is declared before it reads. Only the active scheduler asks it.

    Redis holds since when each entry counts, so the next process goes on where this one ends. Of a rolling update, the
    active process decides; the new one writes its own entries once it is active.
    """

    def __init__(
        self,
        store: PeriodicStore,
        scope: str,
        *,
        fixed: Mapping[str, PeriodicEntry],
        poll: EntryPoll | None,
        clock: Clock,
    ) -> None:
        """``fixed``: declared in code, checked. ``poll``: None when there is no provider."""
        self._store = store
        self._scope = scope
        self._fixed = fixed
        self._poll = poll
        self._clock = clock
        self._errors: Mapping[str, str] = {}
        self._stored = NO_ENTRIES
        # The last answer, and what it was made of: most seconds, nothing has changed.
        self._settled: tuple[object, object, Mapping[str, bytes]] | None = None

    @property
    def errors(self) -> Mapping[str, str]:
        return self._errors

    async def read(self) -> Mapping[str, bytes]:
        declared, kept, errors = dict(self._fixed), set[str](), {}
        provided: Declared | None = None
        self._stored = stored = await self._store.read_entries(self._scope, self._stored)
        if self._poll is not None:
            provided = await self._poll.current()
            if self._poll.failure is not None:
                errors[_PROVIDER] = self._poll.failure
            if provided is None:  # not known yet: what lies there goes on
                kept.update(stored)
            else:
                declared = {**provided.entries, **declared}
                errors |= provided.problems
                kept.update(provided.problems)  # what was declared under that name before goes on
        self._errors = errors
        if self._settled is not None and self._settled[0] is stored and self._settled[1] is provided:
            return self._settled[2]
        now: datetime = self._clock()
        sync = decide_sync(declared, stored, kept=kept, now=now)
        if sync.changed or sync.removed:
            await self._store.write_entries(self._scope, changed=sync.changed, removed=sync.removed)
            _logger.info(
                "Entries were written as they are declared",
                extra={
                    "action": "entries_written",
                    "scope": self._scope,
                    "changed": ",".join(sorted(sync.changed)),
                    "removed": ",".join(sorted(sync.removed)),
                },
            )
        else:
            self._settled = stored, provided, sync.entries
        return sync.entries

    async def aclose(self) -> None:
        if self._poll is not None:
            await self._poll.aclose()
