"""Values with a quick ``__init__`` are what they would be without."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import pytest

from longshore.protocol.messages import TaskMessage
from longshore.protocol.quick_init import maker_like, quick_init


@dataclass(frozen=True, kw_only=True, slots=True)
class Plain:
    name: str
    size: int = 3
    extra: Mapping[str, str] = field(default_factory=dict)


@quick_init
@dataclass(frozen=True, kw_only=True, slots=True)
class Quick:
    name: str
    size: int = 3
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def double(self) -> int:
        return 2 * self.size


def test_it_has_the_same_fields_defaults_and_text() -> None:
    value = Quick(name="a")
    assert (value.name, value.size, value.extra, value.double) == ("a", 3, {}, 6)
    assert repr(value) == repr(Plain(name="a")).replace("Plain", "Quick")
    assert value.extra is not Quick(name="a").extra
    assert type(value) is Quick
    assert inspect.signature(Quick).parameters.keys() == inspect.signature(Plain).parameters.keys()


def test_it_is_equal_frozen_replaced_copied_and_pickled_as_before() -> None:
    value = Quick(name="a", size=4, extra={"x": "y"})
    assert value == Quick(name="a", size=4, extra={"x": "y"}) != Quick(name="a")
    assert replace(value, size=5) == Quick(name="a", size=5, extra={"x": "y"})
    assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value
    for change in (lambda: setattr(value, "size", 1), lambda: delattr(value, "size")):
        with pytest.raises(FrozenInstanceError):
            change()
    assert hash(Quick(name="a", extra=frozenset())) == hash(Quick(name="a", extra=frozenset()))  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "text"), [({}, "name"), ({"name": "a", "colour": 1}, "colour")])
def test_wrong_arguments_are_type_errors_that_name_them(given: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Quick(**given)


def test_the_messages_of_tasks_are_made_so() -> None:
    assert TaskMessage.__init__.__globals__["cls"] is TaskMessage


def test_values_like_another_differ_in_the_fields_named_only() -> None:
    example = Quick(name="a", size=4, extra={"x": "y"})
    make = maker_like(example, "size", "name")
    assert make(5, "b") == Quick(name="b", size=5, extra={"x": "y"})
    assert type(make(5, "b")) is Quick
    assert example == Quick(name="a", size=4, extra={"x": "y"})
    with pytest.raises(FrozenInstanceError):
        make(5, "b").size = 1  # type: ignore[misc]  # what is tried
