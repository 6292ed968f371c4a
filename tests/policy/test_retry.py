"""What becomes of a task when an attempt ends, by value: every row of asynq-protocol §4.3 that leads to a write.

Left out: what the broker makes of it (tests/scripts) and which error leads to which failure (tests/runtime).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from longshore.policy.retry import (
    MAX_DELAY,
    MAX_ERROR_LENGTH,
    Decision,
    Failure,
    Step,
    Weight,
    decide,
    default_delay,
    lease_expired_delay,
)
from longshore.testing import new_message

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MESSAGE = new_message(id="1", max_retry=3, retried=1)


@pytest.mark.parametrize(
    ("retried", "jitter", "seconds"),
    [
        (0, 0.0, 15),  # 0 + 15 + 0·1
        (0, 0.999, 44),  # 0 + 15 + 29·1
        (5, 0.0, 640),  # 625 + 15 + 0·6
        (5, 0.999, 814),  # 625 + 15 + 29·6
        (24, 0.5, 332_166),  # 331,776 + 15 + 15·25
    ],
)
def test_default_delay_is_asynqs(retried: int, jitter: float, seconds: int) -> None:
    assert default_delay(retried, jitter=jitter) == timedelta(seconds=seconds)


def test_default_delay_stays_within_what_a_date_can_hold() -> None:
    assert default_delay(2**31 - 1, jitter=0.5) == MAX_DELAY


def test_all_25_retries_span_about_twenty_days() -> None:
    span = sum((default_delay(n, jitter=0.5) for n in range(25)), timedelta())
    assert timedelta(days=19) < span < timedelta(days=22)


def test_success_without_retention_is_done() -> None:
    assert decide(MESSAGE, None, now=NOW, jitter=0) == Decision(step=Step.DONE, message=MESSAGE, reason="succeeded")


def test_success_with_retention_is_kept_with_its_time() -> None:
    message = replace(MESSAGE, retention=timedelta(hours=1))
    decision = decide(message, None, now=NOW, jitter=0)
    assert (decision.step, decision.message) == (Step.COMPLETE, replace(message, completed_at=NOW))


def test_a_failure_is_retried_after_asynqs_delay_and_uses_up_a_retry() -> None:
    assert decide(MESSAGE, Failure(error="boom"), now=NOW, jitter=0.5) == Decision(
        step=Step.RETRY,
        message=replace(MESSAGE, error="boom", last_failed_at=NOW, retried=2),
        retry_at=NOW + timedelta(seconds=1 + 15 + 15 * 2),
        counts_as_failure=True,
        reason="failed",
    )


def test_a_postponed_task_waits_but_loses_no_retry() -> None:
    decision = decide(MESSAGE, Failure(error="busy", weight=Weight.POSTPONED), now=NOW, jitter=0)
    assert (decision.step, decision.counts_as_failure) == (Step.RETRY, False)
    assert decision.message == replace(MESSAGE, error="busy", last_failed_at=NOW)


@pytest.mark.parametrize("weight", [Weight.FAILURE, Weight.POSTPONED, Weight.FINAL])
def test_with_no_retry_left_any_failure_is_archived_without_counting_one_more(weight: Weight) -> None:
    message = replace(MESSAGE, retried=3)
    decision = decide(message, Failure(error="boom", weight=weight), now=NOW, jitter=0)
    assert decision == Decision(
        step=Step.ARCHIVE, message=replace(message, error="boom", last_failed_at=NOW), reason="no retry left"
    )


def test_a_final_failure_is_archived_whatever_is_left() -> None:
    decision = decide(MESSAGE, Failure(error="no", weight=Weight.FINAL), now=NOW, jitter=0)
    assert (decision.step, decision.message.retried) == (Step.ARCHIVE, 1)


@pytest.mark.parametrize("retried", [1, 3])
def test_a_revoked_task_is_done_even_with_retention(retried: int) -> None:
    message = replace(MESSAGE, retried=retried, retention=timedelta(hours=1))
    decision = decide(message, Failure(error="revoke task", weight=Weight.REVOKED), now=NOW, jitter=0)
    assert (decision.step, decision.message) == (Step.DONE, message)


@pytest.mark.parametrize(
    ("delay", "wait"),
    [
        (timedelta(seconds=5), timedelta(seconds=5)),
        (timedelta(seconds=-5), timedelta(0)),
        (timedelta.max, MAX_DELAY),
    ],
    ids=["given", "negative is now", "endless is ten years"],
)
def test_a_given_delay_replaces_the_default(delay: timedelta, wait: timedelta) -> None:
    assert decide(MESSAGE, Failure(error="x", delay=delay), now=NOW, jitter=0).retry_at == NOW + wait


def test_the_first_lost_lease_is_retried_at_once_and_later_ones_wait() -> None:
    assert lease_expired_delay(0, jitter=0.5) == timedelta(0)
    assert lease_expired_delay(2, jitter=0.5) == default_delay(2, jitter=0.5)


def test_error_text_is_stored_as_valid_bounded_utf8() -> None:
    def stored(text: str) -> str | None:
        return decide(MESSAGE, Failure(error=text), now=NOW, jitter=0).message.error

    assert stored("caf\udce9") == "caf\\udce9"
    assert stored("x" * 10_000) == "x" * (MAX_ERROR_LENGTH - 1) + "…"
