"""What a failed attempt was, and what may be made of it: the values of retry policies and error callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Self

from longshore.task import duration_of


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedAttempt:
    """An attempt that ended with an error."""

    error: BaseException  # what the handler raised, or an Interrupted that says what ended it
    type: str  # the task's type
    task_id: str  # unique within its queue
    queue: str
    payload: bytes = field(repr=False)  # empty when there is none; not in texts: it may be secret
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    retried: int  # failed attempts that counted, before this one
    max_retry: int  # retries in all: the last attempt is the one with ``retried == max_retry``
    chance: float  # uniform in [0, 1); for a policy that wants jitter and is to be tested without dice


class RetryAction(Enum):
    """What becomes of a task after a failed attempt."""

    RETRY = "retry"  # it waits, and is attempted again
    ARCHIVE = "archive"  # it is set aside for people to look at, as after the last retry
    DROP = "drop"  # it is forgotten as if it had succeeded


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryDecision:
    """What shall become of a task, or to an error callback, what has become of it. Made by the three class methods."""

    action: RetryAction
    after: timedelta | None = None  # for RETRY: the wait; None: Asynq's default delay. Callbacks are told the real one
    counts: bool = True  # for RETRY: whether the attempt uses up a retry and counts as failed
    reason: str = ""  # one short phrase for people

    @classmethod
    def retry(cls, *, after: timedelta | float | None = None, counts: bool = True, reason: str = "") -> Self:
        """Attempt it again ``after`` so long (timedelta or seconds; None: Asynq's default delay).

        An attempt that counts uses up a retry; with none left the task is archived instead. One that does not count
        (``counts=False``) is repeated however often it happens. Raises InvalidOption for a wait that is none.
        """
        wait = None if after is None else duration_of("after", after)
        return cls(action=RetryAction.RETRY, after=wait, counts=counts, reason=reason)

    @classmethod
    def archive(cls, *, reason: str = "") -> Self:
        """Set it aside now, whatever retries are left."""
        return cls(action=RetryAction.ARCHIVE, reason=reason)

    @classmethod
    def drop(cls, *, reason: str = "") -> Self:
        """Forget it as if it had succeeded: neither retried nor kept, nor counted as failed."""
        return cls(action=RetryAction.DROP, reason=reason)
