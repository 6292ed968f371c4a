"""What becomes of a task when an attempt ends: done, kept, retried or archived (asynq-protocol §4.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from longshore.errors import DeadlineExceeded, LeaseExpired, TaskCancelled
from longshore.policy.failed_attempt import RetryAction, RetryDecision
from longshore.protocol.messages import TaskMessage

MAX_ERROR_LENGTH = 4096  # characters of an error kept in the task; every rewrite of the message carries it again

MAX_DELAY = timedelta(days=3650)  # n⁴ passes what a datetime can hold; beyond ten years nobody waits anyway

LEASE_EXPIRED = str(LeaseExpired())
DEADLINE_EXCEEDED = str(DeadlineExceeded())
CANCELLED = str(TaskCancelled())


class Weight(Enum):
    """How a failure counts."""

    FAILURE = "failure"  # counted; uses up one retry
    POSTPONED = "postponed"  # not counted; the task waits as after a failure (Asynq's IsFailure said no)
    UNCOUNTED = "uncounted"  # not counted, and retried even when no retry is left (RetryDecision)
    FINAL = "final"  # no retry, whatever is left (SkipRetry, RetryDecision)
    REVOKED = "revoked"  # neither retried nor kept (RevokeTask, RetryDecision)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why an attempt did not succeed."""

    error: str  # any text; what UTF-8 cannot carry is escaped here
    weight: Weight = Weight.FAILURE
    delay: timedelta | None = None  # wait before the next attempt; None: Asynq's default delay
    reason: str = ""  # who wanted it so, for logs; empty: the usual phrase


class Step(Enum):
    """The transition an ended attempt leads to."""

    DONE = "done"
    COMPLETE = "complete"
    RETRY = "retry"
    ARCHIVE = "archive"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The transition, with the message as it must be stored."""

    step: Step
    message: TaskMessage
    retry_at: datetime | None = None  # for RETRY
    counts_as_failure: bool = True  # for RETRY
    reason: str  # one short phrase for logs


def default_delay(retried: int, *, jitter: float) -> timedelta:
    """Asynq's default wait after a failed attempt, in whole seconds: n⁴ + 15 + r·(n+1), r uniform in 0…29.

    ``retried`` is the count before this failure; ``jitter`` is uniform in [0, 1).
    """
    seconds = retried**4 + 15 + int(jitter * 30) * (retried + 1)
    return timedelta(seconds=min(seconds, MAX_DELAY // timedelta(seconds=1)))


def lease_expired_delay(retried: int, *, jitter: float) -> timedelta:
    """The wait after a lease ran out.

    Nothing for a task that never failed: its worker was most likely killed, a minute has passed already, and the task
    is hardly to blame. From the second time on it may be the task that kills workers, so the ordinary delays apply.
    """
    return default_delay(retried, jitter=jitter) if retried else timedelta(0)


def decide(message: TaskMessage, failure: Failure | None, *, now: datetime, jitter: float) -> Decision:
    """The transition for an attempt that ended with ``failure`` (None: success). ``jitter`` is uniform in [0, 1)."""
    if failure is None:
        if message.retention is None:
            return Decision(step=Step.DONE, message=message, reason="succeeded")
        return Decision(step=Step.COMPLETE, message=replace(message, completed_at=now), reason="succeeded, kept")
    if failure.weight is Weight.REVOKED:
        return Decision(step=Step.DONE, message=message, reason=failure.reason or "revoked by its handler")
    failed = replace(message, error=storable(failure.error), last_failed_at=now)
    # Exhaustion is looked at first, as in Asynq: with no retry left, even a postponed task is archived.
    if message.retried >= message.max_retry and failure.weight is not Weight.UNCOUNTED:
        return Decision(step=Step.ARCHIVE, message=failed, reason="no retry left")
    if failure.weight is Weight.FINAL:
        return Decision(step=Step.ARCHIVE, message=failed, reason=failure.reason or "the handler asked for no retry")
    counts = failure.weight is Weight.FAILURE
    delay = default_delay(message.retried, jitter=jitter) if failure.delay is None else failure.delay
    return Decision(
        step=Step.RETRY,
        message=replace(failed, retried=message.retried + 1) if counts else failed,
        retry_at=now + min(max(delay, timedelta(0)), MAX_DELAY),
        counts_as_failure=counts,
        reason=failure.reason or ("failed" if counts else "postponed"),
    )


def told(decision: Decision, *, now: datetime) -> RetryDecision:
    """A decision about a failed attempt, taken at ``now``, as error callbacks are told of it."""
    if decision.step is Step.RETRY and decision.retry_at is not None:
        after = decision.retry_at - now
        return RetryDecision.retry(after=after, counts=decision.counts_as_failure, reason=decision.reason)
    action = RetryAction.ARCHIVE if decision.step is Step.ARCHIVE else RetryAction.DROP
    return RetryDecision(action=action, reason=decision.reason)


def storable(error: str) -> str:
    """The text as protobuf can store it: valid UTF-8, bounded. Asynq loses the whole write on invalid text."""
    text = error.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= MAX_ERROR_LENGTH else text[: MAX_ERROR_LENGTH - 1] + "…"
