"""Conditions keep their times, transitions become Events, and every reason is a documented constant."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import longshore_operator.plan
from longshore_operator.api import reasons
from longshore_operator.api.conditions import CONDITIONS
from longshore_operator.plan.actions import Note
from longshore_operator.plan.conditions import Condition, merge_conditions, transition_notes
from longshore_operator.plan.unreadable import plan_unreadable
from plan.scenes import at, conditions, message


def condition(type_: str = "Ready", status: bool | None = True, reason: str = "OK", message: str = "m") -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)


def merged(previous: list[dict[str, Any]], *wanted: Condition, seconds: float = 0) -> list[dict[str, Any]]:
    return merge_conditions(previous, wanted, generation=1, now=at(seconds))


def test_the_transition_time_moves_only_with_the_status() -> None:
    first = merged([], condition())
    second = merged(first, condition(reason="SchedulerActive", message="other"), seconds=10)
    third = merged(second, condition(status=False, reason="WrongType"), seconds=20)
    assert [each[0]["lastTransitionTime"] for each in (first, second, third)] == [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:20Z",
    ]


def test_a_message_is_never_longer_than_the_schema_allows() -> None:
    (told,) = merged([], condition(status=False, reason="InvalidTemplate", message="x" * 10_000))
    assert told["message"] == "x" * 4095 + "…"


def test_unknown_is_a_status_of_its_own() -> None:
    first = merged([], condition(status=None))
    assert first[0]["status"] == "Unknown"
    assert merged(first, condition(), seconds=5)[0]["lastTransitionTime"] == "2026-03-01T12:00:05Z"


def test_a_condition_that_is_no_longer_wanted_goes() -> None:
    first = merged([], condition(), condition("InUse"))
    assert [each["type"] for each in merged(first, condition())] == ["Ready"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(None, condition(), [("Normal", "OK")], id="an object that is well from the start"),
        pytest.param(condition(), condition(message="other"), [], id="other words for the same"),
        pytest.param(
            condition(), condition(status=False, reason="WrongType"), [("Warning", "WrongType")], id="it got worse"
        ),
        pytest.param(
            condition(status=False, reason="WrongType"),
            condition(status=False, reason="Conflict"),
            [("Warning", "Conflict")],
            id="it is bad for another reason",
        ),
        pytest.param(
            condition(status=False, reason="WrongType"), condition(), [("Normal", "OK")], id="it is well again"
        ),
        pytest.param(None, condition("Paused", False, "NotPaused"), [], id="a new condition with nothing to tell"),
        pytest.param(
            None, condition("LatencyHigh", True, "BeyondObjective"), [("Warning", "BeyondObjective")], id="new and bad"
        ),
        pytest.param(
            condition("Paused", False, "NotPaused"),
            condition("Paused", True, "PausedBySpec"),
            [("Normal", "PausedBySpec")],
            id="neither good nor bad",
        ),
        pytest.param(
            condition(),
            condition(status=False, reason="NotHandedOver"),
            [("Normal", "NotHandedOver")],
            id="ordinary life",
        ),
    ],
)
def test_a_transition_is_one_event(before: Condition | None, after: Condition, expected: list[tuple[str, str]]) -> None:
    previous = merged([], before) if before else []
    found = transition_notes("Queue" if after.reason != "NotHandedOver" else "PeriodicTask", previous, [after])
    assert [(note.type, note.reason) for note in found] == expected


def test_conditions_that_change_for_one_reason_share_an_event() -> None:
    both = [condition(status=False, reason="BrokerUnreachable"), condition("LatencyHigh", True, "BrokerUnreachable")]
    assert transition_notes("Queue", merged([], condition(), condition("LatencyHigh", False)), both) == [
        Note(type="Warning", reason="BrokerUnreachable", message="m")
    ]


def test_every_reason_is_documented_and_used() -> None:
    constants = {name: value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert sorted(constants.values()) == sorted(reasons.REASONS)
    used = set()
    for path in Path(longshore_operator.plan.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "reasons":
                used.add(node.attr)
    assert used == set(constants)
    for each in reasons.REASONS.values():
        assert each.when.endswith("."), each.name
        assert each.fix is None or each.fix.endswith("."), each.name


def test_no_reason_is_written_as_bare_text() -> None:
    for path in Path(longshore_operator.plan.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "reason":
                assert not isinstance(node.value, ast.Constant), f"{path.name}:{node.value.lineno}"


def test_each_kind_has_ready_and_no_condition_twice() -> None:
    pairs = [(each.kind, each.type) for each in CONDITIONS]
    assert len(pairs) == len(set(pairs))
    assert {kind for kind, type_ in pairs if type_ == "Ready"} == {"Broker", "Queue", "WorkerPool", "PeriodicTask"}


def test_an_object_that_cannot_be_read_says_so_once_and_keeps_its_numbers() -> None:
    raw: dict[str, Any] = {
        "metadata": {"name": "mail", "namespace": "shop", "generation": 3},
        "spec": {"pollInterval": 3},
        "status": {"pending": 7, "conditions": merged([], condition())},
    }
    plan = plan_unreadable("Queue", raw, "spec.maxLatency: 'soon' is not a duration", at(5))
    assert plan.status is not None
    assert (plan.status["pending"], plan.status["observedGeneration"], plan.urgent) == (7, 3, True)
    assert conditions(plan) == {"Ready": ("False", "InvalidSpec")}
    assert message(plan, "Ready") == "spec.maxLatency: 'soon' is not a duration"
    assert [(note.type, note.reason) for note in plan.notes] == [("Warning", "InvalidSpec")]
    again = plan_unreadable("Queue", {**raw, "status": plan.status}, "spec.maxLatency: 'soon' is not a duration", at(9))
    assert (again.status, again.notes) == (None, ())
