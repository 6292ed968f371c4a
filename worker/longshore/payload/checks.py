"""From an annotation to the check of a JSON value, at any depth."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NewType, TypeVar, Union

from longshore.errors import InvalidOption, PayloadError
from longshore.payload.models import is_model, nested_model
from longshore.payload.values import (
    FROM_TEXT,
    Check,
    array,
    enumeration,
    fixed_tuple,
    from_text,
    join,
    literal,
    mapping,
    number,
    scalar,
    wrong,
)


class Checks:
    """Builds checks from annotations; remembers dataclasses under construction, so that they may contain themselves."""

    def __init__(self) -> None:
        self._dataclasses: dict[type, Check] = {}

    def of(self, annotation: Any) -> Check:
        """The check for one annotation. Raises InvalidOption."""
        if typing.get_origin(annotation) is typing.Annotated:
            return self.of(typing.get_args(annotation)[0])
        if annotation in (Any, object):
            return lambda value, path: value
        if annotation in (None, type(None)):
            return scalar(type(None))
        if annotation in (str, int, bool):
            return scalar(annotation)
        if annotation is float:
            return number
        if annotation in FROM_TEXT:
            return from_text(annotation)
        if is_model(annotation):
            return nested_model(annotation)
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            return self._dataclass(annotation)
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return enumeration(annotation)
        if typing.is_typeddict(annotation):
            return self._typed_dict(annotation)
        return self._generic(annotation)

    def _generic(self, annotation: Any) -> Check:
        origin = typing.get_origin(annotation) or annotation
        arguments = typing.get_args(annotation)
        if isinstance(annotation, NewType):
            return self.of(annotation.__supertype__)
        if origin is Literal:
            return literal(arguments)
        if origin in (Union, types.UnionType):
            return self._union(arguments)
        if origin in (list, Sequence, set, frozenset):
            make = origin if origin in (list, set, frozenset) else list
            return array(self.of(arguments[0] if arguments else Any), make)
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is ...:
                return array(self.of(arguments[0]), tuple)
            return (
                fixed_tuple([self.of(argument) for argument in arguments]) if arguments else array(self.of(Any), tuple)
            )
        if origin in (dict, Mapping):
            key, value = arguments or (str, Any)
            if key not in (str, Any) and not isinstance(key, TypeVar):
                raise InvalidOption("payload", f"{annotation} has keys that are not str; JSON has no others")
            return mapping(self.of(value))
        raise InvalidOption(
            "payload",
            f"{annotation!r} cannot be read from JSON; use bytes, a dataclass, a pydantic model or JSON's own types",
        )

    def _union(self, arguments: Sequence[Any]) -> Check:
        members = [argument for argument in arguments if argument is not type(None)]
        nullable = len(members) < len(arguments)
        checks = [self.of(member) for member in members]

        def check(value: Any, path: str) -> Any:
            if value is None and nullable:
                return None
            problems = []
            for one in checks:
                try:
                    return one(value, path)
                except PayloadError as error:
                    problems.append(str(error))
            # with one member its own words are the clearest; with more, all of them
            raise PayloadError(" or ".join(dict.fromkeys(problems)))

        return check

    def _dataclass(self, annotation: type) -> Check:
        if annotation in self._dataclasses:
            return self._dataclasses[annotation]
        complete: list[Check] = []
        self._dataclasses[annotation] = lambda value, path: complete[0](value, path)
        hints = _hints(annotation)
        checks: dict[str, Check] = {}
        required: list[str] = []
        for field in dataclasses.fields(annotation):
            if not field.init:
                continue
            checks[field.name] = self.of(hints[field.name])
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                required.append(field.name)
        fields = _fields(annotation.__name__, checks, required)

        def check(value: Any, path: str) -> Any:
            arguments = fields(value, path)
            try:
                return annotation(**arguments)
            except (TypeError, ValueError) as error:  # __post_init__ refused it
                raise PayloadError(f"{path or 'payload'}: {error}") from error

        complete.append(check)
        return check

    def _typed_dict(self, annotation: Any) -> Check:
        hints = _hints(annotation)
        checks = {name: self.of(hint) for name, hint in hints.items()}
        required = [
            name
            for name, hint in _hints(annotation, include_extras=True).items()
            if _is_required(annotation, name, hint)
        ]
        return _fields(annotation.__name__, checks, required)


def _is_required(typed_dict: Any, name: str, hint: Any) -> bool:
    # The class itself knows wrappers only when its annotations were not text (from __future__ import annotations).
    wrapper = typing.get_origin(hint)
    if wrapper in (typing.Required, typing.NotRequired):
        return wrapper is typing.Required
    return name in typed_dict.__required_keys__


def _hints(annotation: Any, *, include_extras: bool = False) -> dict[str, Any]:
    try:
        return typing.get_type_hints(annotation, include_extras=include_extras)
    except NameError as error:
        raise InvalidOption(
            "payload", f"an annotation of {annotation.__qualname__} cannot be resolved: {error}"
        ) from error


def _fields(owner: str, checks: Mapping[str, Check], required: Sequence[str]) -> Check:
    def check(value: Any, path: str) -> dict[str, Any]:
        if type(value) is not dict:
            wrong(path, f"{owner}, an object", value)
        result = {}
        for name, item in value.items():
            one = checks.get(name)
            if one is None:
                known = ", ".join(sorted(checks)) or "none"
                raise PayloadError(f"{join(path, name)}: unknown field of {owner}; it has: {known}")
            result[name] = one(item, join(path, name))
        for name in required:
            if name not in result:
                raise PayloadError(f"{join(path, name)}: missing; {owner} needs it")
        return result

    return check
