"""RetryPolicy by value: which errors are retried, after how long, and what cannot be meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from longshore import DeadlineExceeded, FailedAttempt, InvalidOption, LeaseExpired, RetryDecision, RetryPolicy
from longshore.policy.retry import Failure, Step, Weight, decide, told
from longshore.testing import new_message

EVEN = 0.5  # of chance: neither more nor less
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def failed(error: BaseException, *, retried: int = 0, chance: float = EVEN) -> FailedAttempt:
    return FailedAttempt(
        error=error, type="t", task_id="1", queue="q", payload=b"", retried=retried, max_retry=25, chance=chance
    )


@pytest.mark.parametrize(
    ("policy", "retried", "chance", "seconds"),
    [
        (RetryPolicy(delay=10, jitter=0), 0, EVEN, 10),
        (RetryPolicy(delay=10, jitter=0), 3, EVEN, 80),  # 10 · 2³
        (RetryPolicy(delay=10, backoff=1, jitter=0), 7, EVEN, 10),
        (RetryPolicy(delay=timedelta(minutes=1), backoff=3, max_delay=500, jitter=0), 2, EVEN, 500),  # not 540
        (RetryPolicy(delay=100, jitter=0.2), 0, 0.0, 80),
        (RetryPolicy(delay=100, jitter=0.2), 0, EVEN, 100),
        (RetryPolicy(delay=100, jitter=0.2), 0, 0.75, 110),
        (RetryPolicy(delay=1, backoff=1e300, max_delay=timedelta(hours=1), jitter=0), 9, EVEN, 3600),
        (RetryPolicy(delay=0), 5, EVEN, 0),
    ],
    ids=["first", "fourth", "no backoff", "at most", "least", "even", "more", "beyond numbers", "at once"],
)
def test_the_wait_grows_up_to_a_limit(policy: RetryPolicy, retried: int, chance: float, seconds: float) -> None:
    decision = policy(failed(ValueError(), retried=retried, chance=chance))
    assert decision == RetryDecision.retry(after=timedelta(seconds=seconds))


RETRY = RetryDecision.retry(after=1)
UNCOUNTED = RetryDecision.retry(after=1, counts=False, reason="retried without being counted")
GIVEN_UP = RetryDecision.archive(reason="not to be retried")
NOT_MEANT = RetryDecision.archive(reason="not among the errors to retry")


@pytest.mark.parametrize(
    ("options", "error", "decision"),
    [
        ({}, ValueError(), RETRY),
        ({}, SystemExit(), RETRY),
        ({"retry_for": (OSError,)}, ConnectionError(), RETRY),
        ({"retry_for": (OSError,)}, ValueError(), NOT_MEANT),
        ({"retry_for": OSError}, ValueError(), NOT_MEANT),
        ({"retry_for": (OSError,)}, LeaseExpired(), RETRY),
        ({"give_up_for": (ValueError,)}, ValueError(), GIVEN_UP),
        ({"give_up_for": (DeadlineExceeded,)}, DeadlineExceeded(), GIVEN_UP),
        ({"retry_for": (OSError,), "give_up_for": (ConnectionError,)}, ConnectionError(), GIVEN_UP),
        ({"uncounted_for": (LeaseExpired,)}, LeaseExpired(), UNCOUNTED),
        ({"uncounted_for": (ConnectionError,), "give_up_for": (OSError,)}, ConnectionError(), UNCOUNTED),
    ],
)
def test_errors_are_told_apart_by_their_type(
    options: dict[str, Any], error: BaseException, decision: RetryDecision
) -> None:
    assert RetryPolicy(delay=1, jitter=0, **options)(failed(error)) == decision


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"delay": -1}, "delay: is -1"),
        ({"delay": float("nan")}, "delay: is nan"),
        ({"max_delay": "1"}, "max_delay: is '1'"),
        ({"backoff": 0.5}, "backoff: is 0.5; give a number from 1"),
        ({"jitter": 2}, "jitter: is 2; give a number from 0 to 1"),
        ({"jitter": True}, "jitter: is True"),
        ({"retry_for": "OSError"}, "retry_for: is 'OSError'; give error classes"),
        ({"give_up_for": (OSError, ValueError())}, "give_up_for: is "),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        RetryPolicy(**options)
    assert text in str(refused.value)


def test_an_attempt_that_does_not_count_is_retried_with_no_retry_left_when_that_was_decided() -> None:
    exhausted = new_message(retried=3, max_retry=3)
    uncounted = decide(exhausted, Failure(error="e", weight=Weight.UNCOUNTED), now=NOW, jitter=0)
    postponed = decide(exhausted, Failure(error="e", weight=Weight.POSTPONED), now=NOW, jitter=0)
    assert (uncounted.step, uncounted.message.retried, uncounted.counts_as_failure) == (Step.RETRY, 3, False)
    assert postponed.step is Step.ARCHIVE  # as Asynq's IsFailure does


@pytest.mark.parametrize(
    ("message", "failure", "expected"),
    [
        (new_message(), Failure(error="e", delay=timedelta(seconds=9)), RetryDecision.retry(after=9, reason="failed")),
        (
            new_message(),
            Failure(error="e", delay=timedelta(seconds=9), weight=Weight.UNCOUNTED, reason="why"),
            RetryDecision.retry(after=9, counts=False, reason="why"),
        ),
        (new_message(max_retry=0), Failure(error="e"), RetryDecision.archive(reason="no retry left")),
        (new_message(), Failure(error="e", weight=Weight.FINAL, reason="why"), RetryDecision.archive(reason="why")),
        (new_message(), Failure(error="e", weight=Weight.REVOKED, reason="why"), RetryDecision.drop(reason="why")),
    ],
    ids=["retried", "not counted", "exhausted", "archived", "dropped"],
)
def test_callbacks_are_told_what_was_really_decided(message: Any, failure: Failure, expected: RetryDecision) -> None:
    assert told(decide(message, failure, now=NOW, jitter=0), now=NOW) == expected


def test_a_payload_is_not_in_the_text_of_a_failed_attempt() -> None:
    attempt = FailedAttempt(
        error=ValueError(), type="t", task_id="1", queue="q", payload=b"secret", retried=0, max_retry=1, chance=0
    )
    assert "secret" not in repr(attempt)
