"""When the limits of a Queue's archive are set in Redis, when it is trimmed, and that an idle one costs nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from longshore.protocol.snapshots import ArchiveLimits, QueueSnapshot
from longshore_operator.api.queue import Queue
from longshore_operator.plan.actions import LimitArchive, Plan
from longshore_operator.plan.observed import ArchiveReading, ObservedQueue
from longshore_operator.plan.task_queue import plan_queue
from plan.scenes import START, at, broker, queue, reading, with_status

LIMITS = ArchiveLimits(max_tasks=100, max_age=timedelta(hours=2))
SPEC = {"archive": {"maxTasks": 100, "maxAge": "2h"}}
KNOWN = ArchiveReading(at=START, limits=LIMITS)


def planned(tried: Queue, known: ArchiveReading | None, *, archived: int = 0, seconds: float = 1) -> Plan:
    read = reading(QueueSnapshot(name="mail", archived=archived), now=at(seconds))
    return plan_queue(tried, ObservedQueue(broker=broker(), reading=read, archive=known), at(seconds))


def limits(plan: Plan) -> list[ArchiveLimits | None]:
    return [action.limits for action in plan.actions if isinstance(action, LimitArchive)]


def test_without_archive_nothing_is_done() -> None:
    assert limits(planned(queue(), None, archived=50_000)) == []


def test_the_defaults_are_the_schemas() -> None:
    assert limits(planned(queue(archive={}), None)) == [ArchiveLimits(max_tasks=10_000, max_age=timedelta(days=90))]


@pytest.mark.parametrize(
    ("known", "archived", "seconds", "acts"),
    [
        pytest.param(None, 0, 1, True, id="a process that has just started makes sure"),
        pytest.param(KNOWN, 0, 1, False, id="an empty archive is left alone"),
        pytest.param(replace(KNOWN, limits=replace(LIMITS, max_tasks=99)), 0, 1, True, id="changed limits are set"),
        pytest.param(replace(KNOWN, limits=None), 0, 1, True, id="limits that were undone are set"),
        pytest.param(replace(KNOWN, left=7), 0, 1, True, id="what one step left is trimmed by the next"),
        pytest.param(replace(KNOWN, oldest_at=START), 101, 1, True, id="an archive that is too large is trimmed"),
        pytest.param(replace(KNOWN, oldest_at=START), 100, 1, False, id="one that is just full is not"),
        pytest.param(
            replace(KNOWN, oldest_at=START, at=at(5)), 101, 1, False, id="a size from before the last step says nothing"
        ),
        pytest.param(KNOWN, 1, 1, True, id="the age of the first task is found out"),
        pytest.param(
            replace(KNOWN, oldest_at=START, at=at(7190)), 5, 7199, False, id="a task that is not too old yet stays"
        ),
        pytest.param(replace(KNOWN, oldest_at=START, at=at(7190)), 5, 7200, True, id="one that is too old goes"),
        pytest.param(KNOWN, 0, 299, False, id="limits are not renewed all the time"),
        pytest.param(KNOWN, 0, 300, True, id="but every five minutes"),
    ],
)
def test_the_archive_is_looked_at_when_something_calls_for_it(
    known: ArchiveReading | None, archived: int, seconds: float, acts: bool
) -> None:
    assert limits(planned(queue(**SPEC), known, archived=archived, seconds=seconds)) == [LIMITS] * acts


def test_limits_are_undone_once_when_archive_is_removed_also_by_a_process_that_never_set_them() -> None:
    noted = with_status(queue(), {"trimmedTasks": 3})
    for known in (KNOWN, None):
        assert limits(planned(noted, known)) == [None]
    plan = planned(noted, ArchiveReading(at=START, limits=None))
    assert limits(plan) == []
    assert plan.status is not None
    assert "trimmedTasks" not in plan.status


def test_the_status_counts_and_an_event_tells_seldom() -> None:
    tried = queue(**SPEC)

    def told(**known: Any) -> list[tuple[str, str]]:
        plan = planned(tried, replace(KNOWN, trimmed=12, **known), seconds=900)
        assert plan.status is not None
        assert plan.status["trimmedTasks"] == 12
        return [(note.reason, note.message) for note in plan.notes if note.reason == "ArchiveTrimmed"]

    recently: datetime = at(301)
    assert told(untold=0) == []
    assert told(untold=5) == [("ArchiveTrimmed", "5 archived tasks beyond spec.archive were deleted.")]
    assert told(untold=5, told_at=recently) == []
    assert told(untold=5, told_at=START) != []


def test_an_idle_queue_with_limits_is_not_written_again() -> None:
    tried = queue(**SPEC)
    tried = with_status(tried, planned(tried, KNOWN).status)
    plan = planned(tried, KNOWN, seconds=200)
    assert (plan.status, plan.actions, plan.notes) == (None, (), ())
