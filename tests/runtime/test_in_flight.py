"""The attempts a server answers for, by queue and id."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

from longshore.broker.base import Leased
from longshore.runtime.attempt import Attempt, InFlight
from longshore.testing import new_message

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def attempt(task_id: str, queue: str = "default") -> Attempt:
    leased = Leased(message=new_message(id=task_id, queue=queue), lease_expires_at=NOW)
    nobody = cast(Any, None)
    return Attempt(leased, now=NOW, broker=nobody, loop=cast(asyncio.AbstractEventLoop, nobody), is_async=True)


def test_equal_ids_of_two_queues_are_two_attempts() -> None:
    in_flight = InFlight()
    one, other = attempt("a", "x"), attempt("a", "y")
    in_flight.add(one)
    in_flight.add(other)
    assert in_flight.of_task("a") == [one, other]
    assert in_flight.by_queue() == {"x": [one], "y": [other]}
    in_flight.discard(one)
    assert list(in_flight) == [other]


def test_the_end_of_an_earlier_attempt_does_not_forget_a_later_one_at_the_same_task() -> None:
    in_flight = InFlight()
    earlier, later = attempt("a"), attempt("a")
    in_flight.add(earlier)
    in_flight.add(later)  # the earlier one's lease was lost, and the task came back
    in_flight.discard(earlier)
    assert list(in_flight) == [later]
    in_flight.discard(later)
    assert len(in_flight) == 0
