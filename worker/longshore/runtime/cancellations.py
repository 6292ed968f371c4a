"""Which attempts a cancellation means.

Asynq's names a task id and no queue, and every server cancels its tasks of that id, in whatever queue. Our inspector
can name the queue: it first sends a notice that says which task is meant and what shall become of it, which Go servers
do not hear, and then Asynq's bare id, for those. A server of ours that has heard the notice passes over the id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from types import MappingProxyType
from typing import Protocol

from longshore.protocol.notices import Afterwards, CancelTask
from longshore.runtime.attempt import Interruption

# The two arrive within milliseconds. A bare id that never came must not make a later one, of somebody else, be missed.
_PATIENCE_S = 5.0

_WHY: Mapping[Afterwards, Interruption] = MappingProxyType(
    {
        Afterwards.RETRY: Interruption.CANCELLED,
        Afterwards.ARCHIVE: Interruption.CANCELLED_FOR_GOOD,
        Afterwards.DELETE: Interruption.DELETED,
    }
)


class Cancel(Protocol):
    """Ends the attempts at a task that run here. ``queue``: None for any."""

    def __call__(self, task_id: str, *, queue: str | None = None, why: Interruption = ...) -> None: ...


class Cancellations:
    """Hands each cancellation on once."""

    def __init__(self, cancel: Cancel, *, now: Callable[[], float] = monotonic) -> None:
        self._cancel = cancel
        self._now = now
        self._expected: deque[tuple[float, str]] = deque()  # bare ids that shall follow, and until when, soonest first

    def heard_id(self, task_id: str) -> None:
        """Asynq's message: a bare id."""
        now = self._now()
        while self._expected and self._expected[0][0] < now:
            self._expected.popleft()
        for expected in self._expected:
            if expected[1] == task_id:
                self._expected.remove(expected)
                return
        self._cancel(task_id)

    def heard_notice(self, notice: CancelTask) -> None:
        """Ours: a task of a queue, and what shall become of it."""
        self._expected.append((self._now() + _PATIENCE_S, notice.task_id))
        self._cancel(notice.task_id, queue=notice.queue, why=_WHY[notice.then])
