"""How deep an object may be nested, and what is cut out of a JSON text that is deeper."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.cluster.answers import CUT, DEEPEST, decode, shallow
from longshore_operator.errors import InvalidResource

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
)


def nested(value: object, *, depth: int, opening: str, closing: str) -> str:
    return opening * depth + json.dumps(value) + closing * depth


@settings(max_examples=30, deadline=None)
@given(value=JSON)
@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('{"b":2,"a":[', "]}")])
def test_what_lies_too_deep_is_cut_and_all_else_is_kept(value: object, opening: str, closing: str) -> None:
    deep = nested(value, depth=2_000, opening=opening, closing=closing)
    text = json.dumps({"before": value, '"{[': '\\"}]', "deep": "…", "after": [value]}).replace('"\\u2026"', deep)
    found = decode(text)
    assert found == decode(text.encode())
    assert (found["before"], found["after"], found['"{[']) == (value, [value], '\\"}]')
    assert json.dumps(found["deep"]).count(CUT) == 1
    assert shallow(text.encode()).count(opening[0].encode()) >= DEEPEST // 2


@settings(max_examples=30, deadline=None)
@given(value=JSON)
def test_what_is_not_too_deep_is_as_it_was(value: object) -> None:
    text = nested(value, depth=DEEPEST - 50, opening="[", closing="]")
    assert shallow(text.encode()) == text.encode()


@pytest.mark.parametrize(("depth", "accepted"), [(100, True), (101, False), (900, False)])
def test_a_payload_may_be_a_hundred_levels_deep(depth: int, accepted: bool) -> None:
    payload = json.loads(nested(1, depth=depth, opening='{"a":', closing="}"))
    raw = {
        "metadata": {"name": "n", "namespace": "ns"},
        "spec": {"schedule": "@daily", "task": {"type": "t", "payload": payload}},
    }
    if accepted:
        assert PeriodicTask.parse(raw).spec.task.payload == payload
    else:
        with pytest.raises(InvalidResource, match=r"spec\.task\.payload: nested deeper than 100 levels"):
            PeriodicTask.parse(raw)
