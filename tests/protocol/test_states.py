"""The table of transitions: complete, and without a way out of the ordinary."""

from __future__ import annotations

from longshore.protocol.states import TRANSITIONS, TaskState, targets


def test_every_state_can_be_reached_and_left() -> None:
    reached = {transition.target for transition in TRANSITIONS}
    left = {source for transition in TRANSITIONS for source in transition.sources}
    assert reached >= set(TaskState)
    assert left == set(TaskState)


def test_a_running_task_leaves_only_by_its_end_or_by_being_given_back() -> None:
    names = {t.operation for t in TRANSITIONS if TaskState.ACTIVE in t.sources}
    assert names == {"done", "complete", "retry", "archive", "requeue"}


def test_only_dequeue_makes_a_task_active() -> None:
    assert [t.operation for t in TRANSITIONS if t.target is TaskState.ACTIVE] == ["dequeue"]


def test_new_tasks_wait_in_one_of_three_ways() -> None:
    assert targets(None) == {TaskState.PENDING, TaskState.SCHEDULED, TaskState.AGGREGATING}


def test_a_pending_task_runs_or_is_put_away_by_hand() -> None:
    assert targets(TaskState.PENDING) == {TaskState.ACTIVE, TaskState.ARCHIVED, None}
