"""From a task's bytes to what a handler's parameter asks for: every kind of annotation, and every way not to fit."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal, NewType, NotRequired, TypedDict

import pydantic
import pytest

from longshore.errors import InvalidOption, PayloadError
from longshore.payload import reader_for


@dataclass(frozen=True)
class Address:
    street: str
    zip_code: str | None = None


@dataclass
class User:
    id: int
    name: str
    address: Address
    score: float = 0.0
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


@dataclass
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError("n must be at least 1")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Options(TypedDict):
    size: int
    dry: NotRequired[bool]


class Model(pydantic.BaseModel):
    id: int
    name: str


@dataclass
class Mixed:
    model: Model


UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("annotation", "payload", "value"),
    [
        (bytes, b"\x00\xff", b"\x00\xff"),
        (bytes, None, b""),
        (Any, b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        (Any, None, None),
        (str, b'"caf\xc3\xa9"', "café"),
        (int, b"7", 7),
        (float, b"7", 7.0),
        (bool, b"true", True),
        (int | None, None, None),
        (int | None, b"null", None),
        (int | str, b'"x"', "x"),
        (list[int], b"[1]", [1]),
        (Sequence[int], b"[1]", [1]),
        (set[str], b'["a", "a"]', {"a"}),
        (tuple[int, str], b'[1, "a"]', (1, "a")),
        (tuple[int, ...], b"[1, 2]", (1, 2)),
        (dict[str, int], b'{"a": 1}', {"a": 1}),
        (Mapping[str, Any], b'{"a": 1}', {"a": 1}),
        (dict, b'{"a": 1}', {"a": 1}),
        (list, b"[1]", [1]),
        (Literal["x", 1], b"1", 1),
        (Colour, b'"blue"', Colour.BLUE),
        (UserId, b"4", 4),
        (datetime, b'"2026-01-31T18:00:00Z"', datetime(2026, 1, 31, 18, tzinfo=UTC)),
        (date, b'"2026-01-31"', date(2026, 1, 31)),
        (uuid.UUID, b'"00000000-0000-0000-0000-000000000001"', uuid.UUID(int=1)),
        (Options, b'{"size": 1}', {"size": 1}),
        (
            User,
            b'{"id": 1, "name": "A", "address": {"street": "S"}, "score": 2, "tags": ["x"]}',
            User(1, "A", Address("S"), 2.0, ["x"]),
        ),
        (Tree, b'{"value": 1, "children": [{"value": 2}]}', Tree(1, [Tree(2)])),
        (Model, b'{"id": 1, "name": "A"}', Model(id=1, name="A")),
        (Mixed, b'{"model": {"id": 1, "name": "A"}}', Mixed(Model(id=1, name="A"))),
        (list[User] | None, b"[]", []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_payload_becomes_what_the_annotation_says(annotation: Any, payload: bytes | None, value: Any) -> None:
    assert reader_for(annotation)(payload) == value


@pytest.mark.parametrize(
    ("annotation", "payload", "problem"),
    [
        (Any, b"{", "the payload is not JSON: Expecting property name enclosed in double quotes at character 1"),
        (Any, b"\xff", "the payload is not JSON: not UTF-8 at byte 0"),
        (Any, b"NaN", "the payload is not JSON: NaN is not JSON"),
        (Any, b"[" * 100_000, "the payload is not JSON: maximum recursion depth exceeded"),
        (User, None, "the payload is empty; expected JSON for User"),
        (User, b"[]", "payload: expected User, an object, found an array"),
        (User, b'{"id": 1, "address": {"street": "S"}}', "name: missing; User needs it"),
        (
            User,
            b'{"id": 1, "name": "A", "adress": {}}',
            "adress: unknown field of User; it has: address, id, name, score, tags",
        ),
        (User, b'{"id": "1", "name": "A", "address": {}}', "id: expected a whole number, found a string"),
        (User, b'{"id": true, "name": "A", "address": {}}', "id: expected a whole number, found true or false"),
        (User, b'{"id": 1.5, "name": "A", "address": {}}', "id: expected a whole number, found a number"),
        (User, b'{"id": 1, "name": "A", "address": {}}', "address.street: missing; Address needs it"),
        (
            User,
            b'{"id": 1, "name": "A", "address": {"street": "S", "zip_code": 3}}',
            "address.zip_code: expected a string, found a whole number",
        ),
        (
            User,
            b'{"id": 1, "name": "A", "address": {"street": "S"}, "tags": ["a", 2]}',
            "tags[1]: expected a string, found a whole number",
        ),
        (Tree, b'{"value": 1, "children": [{}]}', "children[0].value: missing; Tree needs it"),
        (Tree, b'{"value":1,"children":[' * 400 + b"]}" * 400, "the payload is nested too deeply"),
        (Positive, b'{"n": 0}', "payload: n must be at least 1"),
        (Options, b"{}", "size: missing; Options needs it"),
        (Colour, b'"green"', "payload: expected one of 'red', 'blue'"),
        (Literal["a"], b'"b"', "payload: expected one of 'a'"),
        (
            int | str,
            b"[]",
            "payload: expected a whole number, found an array or payload: expected a string, found an array",
        ),
        (tuple[int, int], b"[1]", "payload: expected an array of 2, found 1 items"),
        (datetime, b'"soon"', "payload: expected an RFC 3339 time, found other text"),
        (
            Model,
            b'{"id": "x"}',
            "the payload is not a Model: id: Input should be a valid integer, unable to parse string as an integer; "
            "name: Field required",
        ),
        (Mixed, b'{"model": {"id": 1}}', "model.name: Field required"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_payload_that_does_not_fit_is_refused_naming_the_field(
    annotation: Any, payload: bytes | None, problem: str
) -> None:
    with pytest.raises(PayloadError) as refused:
        reader_for(annotation)(payload)
    assert str(refused.value).startswith(problem)


def test_a_refusal_does_not_quote_the_payload() -> None:
    with pytest.raises(PayloadError) as refused:
        reader_for(User)(b'{"id": "hunter2", "name": "A", "address": {}}')
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("annotation", [object(), dict[int, str], complex, type])
def test_an_annotation_no_payload_can_become_is_refused_when_it_is_registered(annotation: Any) -> None:
    with pytest.raises(InvalidOption):
        reader_for(annotation)
