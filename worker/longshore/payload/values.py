"""Checks of single JSON values: each takes the value and the path of its field, and returns what it becomes.

What does not fit raises PayloadError naming the path, never quoting the value.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NoReturn

from longshore.errors import PayloadError

Check = Callable[[Any, str], Any]
"""(JSON value, path of the field) to the value; raises PayloadError naming the path."""

_JSON_NAMES: Mapping[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _found(value: Any) -> str:
    return _JSON_NAMES[type(value)]


def wrong(path: str, expected: str, value: Any) -> NoReturn:
    raise PayloadError(f"{path or 'payload'}: expected {expected}, found {_found(value)}")


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def scalar(kind: type) -> Check:
    expected = _JSON_NAMES[kind]

    def check(value: Any, path: str) -> Any:
        if type(value) is not kind:
            wrong(path, expected, value)
        return value

    return check


def number(value: Any, path: str) -> float:
    if type(value) not in (int, float):
        wrong(path, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise PayloadError(f"{path or 'payload'}: the number is too large") from None


FROM_TEXT: Mapping[Any, tuple[str, Callable[[str], Any]]] = {
    datetime: ("an RFC 3339 time", datetime.fromisoformat),
    date: ("a date, YYYY-MM-DD", date.fromisoformat),
    uuid.UUID: ("a UUID", uuid.UUID),
}


def from_text(kind: Any) -> Check:
    expected, parse = FROM_TEXT[kind]

    def check(value: Any, path: str) -> Any:
        if type(value) is not str:
            wrong(path, expected, value)
        try:
            return parse(value)
        except ValueError:
            raise PayloadError(f"{path or 'payload'}: expected {expected}, found other text") from None

    return check


def enumeration(kind: type[enum.Enum]) -> Check:
    def check(value: Any, path: str) -> Any:
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(repr(member.value) for member in kind)
            raise PayloadError(f"{path or 'payload'}: expected one of {allowed}") from None

    return check


def literal(values: Sequence[Any]) -> Check:
    def check(value: Any, path: str) -> Any:
        for allowed in values:
            if type(value) is type(allowed) and value == allowed:
                return value
        raise PayloadError(f"{path or 'payload'}: expected one of {', '.join(map(repr, values))}")

    return check


def array(item: Check, make: Callable[[list[Any]], Any]) -> Check:
    def check(value: Any, path: str) -> Any:
        if type(value) is not list:
            wrong(path, "an array", value)
        items = [item(element, f"{path}[{index}]") for index, element in enumerate(value)]
        try:
            return items if make is list else make(items)
        except TypeError:
            raise PayloadError(f"{path or 'payload'}: a set cannot hold arrays or objects") from None

    return check


def fixed_tuple(items: Sequence[Check]) -> Check:
    def check(value: Any, path: str) -> Any:
        if type(value) is not list:
            wrong(path, f"an array of {len(items)}", value)
        if len(value) != len(items):
            raise PayloadError(f"{path or 'payload'}: expected an array of {len(items)}, found {len(value)} items")
        return tuple(
            one(element, f"{path}[{index}]") for index, (one, element) in enumerate(zip(items, value, strict=True))
        )

    return check


def mapping(item: Check) -> Check:
    def check(value: Any, path: str) -> Any:
        if type(value) is not dict:
            wrong(path, "an object", value)
        return {name: item(element, join(path, name)) for name, element in value.items()}

    return check
