"""Asks an application's provider for its periodic tasks, now and then, and keeps what it said last."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from longshore.errors import InvalidOption
from longshore.periodic_task import EntryProvider, PeriodicTask
from longshore.protocol.periodic import PeriodicEntry
from longshore.runtime.threads import Threads

_logger = logging.getLogger("longshore.scheduler")

_FIRST_WAIT_S = 0.5  # for the first answer, so that entries need not wait for the next look; once, or ticks were late
_SILENCE = timedelta(seconds=60)  # unanswered for longer is told as a failure
_STOP_S = 1.0  # for a provider that does not heed its cancellation
_RETRY = timedelta(seconds=10)  # after an error, unless the interval is shorter


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """The periodic tasks that are declared, as far as they can be used."""

    entries: Mapping[str, PeriodicEntry] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)  # name, or place in the list, to what is wrong


def declared_by(
    tasks: Iterable[PeriodicTask], options_for: Callable[[str], Mapping[str, Any]], *, taken: Mapping[str, Any]
) -> Declared:
    """Look at each task by itself: one that cannot be used does not keep the others. ``taken``: names in use."""
    entries: dict[str, PeriodicEntry] = {}
    problems: dict[str, str] = {}
    unnamed: set[str] = set()
    for place, task in enumerate(tasks, start=1):
        where = f"item {place}"
        try:
            if not isinstance(task, PeriodicTask):
                raise InvalidOption("item", f"must be a PeriodicTask, not {type(task).__name__}")
            where = task.name if isinstance(task.name, str) else where
            defaults = options_for(task.task.type) if hasattr(task.task, "type") else {}
            name, entry = task.checked(defaults)
        # Whatever a value of the wrong kind leads to, it is that item's.
        except Exception as error:
            problems[where] = str(error) if isinstance(error, InvalidOption) else f"{type(error).__name__}: {error}"
            continue
        if task.name is None and name in unnamed:
            continue  # the same in every respect
        if name in entries or name in taken:
            problems[f"{where} (item {place})"] = f"name: {name!r} is declared twice; the first one holds"
            continue
        entries[name] = entry
        if task.name is None:
            unnamed.add(name)
    return Declared(entries=entries, problems=problems)


class EntryPoll:
    """Asks the provider at most once at a time, beside the scheduler's own work: a slow provider delays no tick."""

    def __init__(
        self,
        provider: EntryProvider,
        *,
        interval: timedelta,
        options_for: Callable[[str], Mapping[str, Any]],
        taken: Mapping[str, Any],
        silence: timedelta = _SILENCE,
    ) -> None:
        self._provider = provider
        self._silence_s = silence.total_seconds()
        self._interval_s = interval.total_seconds()
        self._retry_s = min(_RETRY.total_seconds(), self._interval_s)
        self._options_for = options_for
        self._taken = taken
        self._loop = asyncio.get_running_loop()
        self._threads = Threads(loop=self._loop)
        self._asking: asyncio.Task[None] | None = None
        self._next_at = 0.0  # on the loop's clock
        self._asked_at = 0.0  # likewise
        self._closing = False
        self._known: Declared | None = None
        self._failure: str | None = None

    @property
    def failure(self) -> str | None:
        """Why the newest question has no answer; None when it has."""
        if self._asking is not None and self._loop.time() - self._asked_at > self._silence_s:
            return f"no answer for more than {self._silence_s:g} s"
        return self._failure

    async def current(self) -> Declared | None:
        """What the provider said last; None when it never did. Asks it again when it is time."""
        if self._asking is None and self._loop.time() >= self._next_at:
            first, self._asked_at = self._asked_at == 0.0, self._loop.time()
            self._asking = asyncio.create_task(self._ask(), name="longshore-entry-provider")
            if first:
                await asyncio.wait([self._asking], timeout=_FIRST_WAIT_S)
        return self._known

    async def aclose(self) -> None:
        """Stop asking."""
        self._closing = True
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking], timeout=_STOP_S)
        self._threads.close()

    async def _ask(self) -> None:
        pause_s = self._retry_s
        try:
            known = declared_by(await self._tasks(), self._options_for, taken=self._taken)
            self._tell(known.problems)
            self._known, self._failure, pause_s = known, None, self._interval_s
        except BaseException as error:  # also SystemExit: a provider does not end the scheduler
            if self._closing:
                raise
            self._failure = f"{type(error).__name__}: {error}"
            _logger.exception(
                "The provider of periodic tasks failed; the entries stay as they are",
                extra={"action": "provider_failed"},
            )
        finally:
            self._next_at = self._loop.time() + pause_s
            self._asking = None

    async def _tasks(self) -> list[PeriodicTask]:
        if inspect.iscoroutinefunction(self._provider):
            return list(await self._provider())
        found = await self._threads.call(self._provider, [], {})
        return list(await found if inspect.isawaitable(found) else found)

    def _tell(self, problems: Mapping[str, str]) -> None:
        before = {} if self._known is None else self._known.problems
        for name, problem in problems.items():
            if before.get(name) != problem:
                _logger.error(
                    "A periodic task cannot be used; the others go on",
                    extra={"action": "entry_refused", "entry": name, "error": problem},
                )
