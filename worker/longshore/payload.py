"""From a task's bytes to the value a handler's parameter asks for.

The reader is built once, when the handler is registered, from the parameter's annotation:

| annotation                         | value                                                                    |
|------------------------------------|--------------------------------------------------------------------------|
| ``bytes``                          | the bytes as they are                                                    |
| none, ``Any``, ``object``          | the JSON value; an empty payload is None                                 |
| a dataclass, at any depth          | checked field by field: missing, unknown and wrong-typed fields are told |
| a pydantic model (when installed)  | ``model_validate_json``                                                  |
| JSON's types, list, dict, tuple, … | checked                                                                  |

What does not fit raises PayloadError, whose text names the field and never quotes the value: payloads stay out of logs.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, NewType, NoReturn, TypeVar, Union

from longshore.errors import InvalidOption, PayloadError

Reader = Callable[[bytes | None], Any]
"""Bytes to the handler's argument; raises PayloadError."""

_Check = Callable[[Any, str], Any]
"""(JSON value, path of the field) to the value; raises PayloadError naming the path."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)  # made once: json.loads makes one a call for this


def reader_for(annotation: Any) -> Reader:
    """The reader for a parameter annotated so. Raises InvalidOption for an annotation no payload can become."""
    if annotation is bytes:
        return _raw
    if annotation in (Any, object):
        return _json_or_none
    if _is_pydantic_model(annotation):
        return _pydantic_reader(annotation)
    check = _Checks().of(annotation)

    def read(payload: bytes | None) -> Any:
        if payload:
            try:
                return check(_parse(payload), "")
            except RecursionError:
                raise PayloadError("the payload is nested too deeply") from None
        try:
            return check(None, "")  # a parameter that may be None takes an empty payload as None
        except PayloadError:
            raise PayloadError(f"the payload is empty; expected JSON for {_name_of(annotation)}") from None

    return read


def _name_of(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _raw(payload: bytes | None) -> bytes:
    return payload or b""


def _json_or_none(payload: bytes | None) -> Any:
    return _parse(payload) if payload else None


def _parse(payload: bytes) -> Any:
    try:
        return _decoder.decode(payload.decode())
    except UnicodeDecodeError as error:
        raise PayloadError(f"the payload is not JSON: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise PayloadError(f"the payload is not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"the payload is not JSON: {error}") from None


# -- pydantic --------------------------------------------------------------------------------------------------------


def _is_pydantic_model(annotation: Any) -> bool:
    # Nobody can have derived a model without importing pydantic, so it is looked up, not imported.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def _pydantic_reader(model: Any) -> Reader:
    validation_error = sys.modules["pydantic"].ValidationError

    def read(payload: bytes | None) -> Any:
        try:
            return model.model_validate_json(payload or b"")
        except validation_error as error:
            problems = [
                f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False, include_context=False)
            ]
            raise PayloadError(f"the payload is not a {model.__name__}: {'; '.join(problems)}") from None

    return read


# -- everything JSON can say -------------------------------------------------------------------------------------------

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


def _wrong(path: str, expected: str, value: Any) -> NoReturn:
    raise PayloadError(f"{path or 'payload'}: expected {expected}, found {_found(value)}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


class _Checks:
    """Builds checks from annotations; remembers dataclasses under construction, so that they may contain themselves."""

    def __init__(self) -> None:
        self._dataclasses: dict[type, _Check] = {}

    def of(self, annotation: Any) -> _Check:
        """The check for one annotation. Raises InvalidOption."""
        if annotation in (Any, object):
            return lambda value, path: value
        if annotation in (None, type(None)):
            return _scalar(type(None))
        if annotation in (str, int, bool):
            return _scalar(annotation)
        if annotation is float:
            return _number
        if annotation in _FROM_TEXT:
            return _from_text(annotation)
        if _is_pydantic_model(annotation):
            return _nested_model(annotation)
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            return self._dataclass(annotation)
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return _enum(annotation)
        if typing.is_typeddict(annotation):
            return self._typed_dict(annotation)
        return self._generic(annotation)

    def _generic(self, annotation: Any) -> _Check:
        origin = typing.get_origin(annotation) or annotation
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            return self.of(arguments[0])
        if isinstance(annotation, NewType):
            return self.of(annotation.__supertype__)
        if origin is Literal:
            return _literal(arguments)
        if origin in (Union, types.UnionType):
            return self._union(arguments)
        if origin in (list, Sequence, set, frozenset):
            make = origin if origin in (list, set, frozenset) else list
            return _array(self.of(arguments[0] if arguments else Any), make)
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is ...:
                return _array(self.of(arguments[0]), tuple)
            return (
                _fixed_tuple([self.of(argument) for argument in arguments])
                if arguments
                else _array(self.of(Any), tuple)
            )
        if origin in (dict, Mapping):
            key, value = arguments or (str, Any)
            if key not in (str, Any) and not isinstance(key, TypeVar):
                raise InvalidOption("payload", f"{annotation} has keys that are not str; JSON has no others")
            return _object(self.of(value))
        raise InvalidOption(
            "payload",
            f"{annotation!r} cannot be read from JSON; use bytes, a dataclass, a pydantic model or JSON's own types",
        )

    def _union(self, arguments: Sequence[Any]) -> _Check:
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

    def _dataclass(self, annotation: type) -> _Check:
        if annotation in self._dataclasses:
            return self._dataclasses[annotation]
        complete: list[_Check] = []
        self._dataclasses[annotation] = lambda value, path: complete[0](value, path)
        hints = _hints(annotation)
        checks: dict[str, _Check] = {}
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

    def _typed_dict(self, annotation: Any) -> _Check:
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


def _fields(owner: str, checks: Mapping[str, _Check], required: Sequence[str]) -> _Check:
    def check(value: Any, path: str) -> dict[str, Any]:
        if type(value) is not dict:
            _wrong(path, f"{owner}, an object", value)
        result = {}
        for name, item in value.items():
            one = checks.get(name)
            if one is None:
                known = ", ".join(sorted(checks)) or "none"
                raise PayloadError(f"{_join(path, name)}: unknown field of {owner}; it has: {known}")
            result[name] = one(item, _join(path, name))
        for name in required:
            if name not in result:
                raise PayloadError(f"{_join(path, name)}: missing; {owner} needs it")
        return result

    return check


def _scalar(kind: type) -> _Check:
    expected = _JSON_NAMES[kind]

    def check(value: Any, path: str) -> Any:
        if type(value) is not kind:
            _wrong(path, expected, value)
        return value

    return check


def _number(value: Any, path: str) -> float:
    if type(value) not in (int, float):
        _wrong(path, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise PayloadError(f"{path or 'payload'}: the number is too large") from None


_FROM_TEXT: Mapping[Any, tuple[str, Callable[[str], Any]]] = {
    datetime: ("an RFC 3339 time", datetime.fromisoformat),
    date: ("a date, YYYY-MM-DD", date.fromisoformat),
    uuid.UUID: ("a UUID", uuid.UUID),
}


def _from_text(kind: Any) -> _Check:
    expected, parse = _FROM_TEXT[kind]

    def check(value: Any, path: str) -> Any:
        if type(value) is not str:
            _wrong(path, expected, value)
        try:
            return parse(value)
        except ValueError:
            raise PayloadError(f"{path or 'payload'}: expected {expected}, found other text") from None

    return check


def _nested_model(model: Any) -> _Check:
    validation_error = sys.modules["pydantic"].ValidationError

    def check(value: Any, path: str) -> Any:
        try:
            return model.model_validate(value)
        except validation_error as error:
            problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = _join(path, ".".join(map(str, problem["loc"])))
            raise PayloadError(f"{where or 'payload'}: {problem['msg']}") from None

    return check


def _enum(kind: type[enum.Enum]) -> _Check:
    def check(value: Any, path: str) -> Any:
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(repr(member.value) for member in kind)
            raise PayloadError(f"{path or 'payload'}: expected one of {allowed}") from None

    return check


def _literal(values: Sequence[Any]) -> _Check:
    def check(value: Any, path: str) -> Any:
        for allowed in values:
            if type(value) is type(allowed) and value == allowed:
                return value
        raise PayloadError(f"{path or 'payload'}: expected one of {', '.join(map(repr, values))}")

    return check


def _array(item: _Check, make: Callable[[list[Any]], Any]) -> _Check:
    def check(value: Any, path: str) -> Any:
        if type(value) is not list:
            _wrong(path, "an array", value)
        items = [item(element, f"{path}[{index}]") for index, element in enumerate(value)]
        try:
            return items if make is list else make(items)
        except TypeError:
            raise PayloadError(f"{path or 'payload'}: a set cannot hold arrays or objects") from None

    return check


def _fixed_tuple(items: Sequence[_Check]) -> _Check:
    def check(value: Any, path: str) -> Any:
        if type(value) is not list:
            _wrong(path, f"an array of {len(items)}", value)
        if len(value) != len(items):
            raise PayloadError(f"{path or 'payload'}: expected an array of {len(items)}, found {len(value)} items")
        return tuple(
            one(element, f"{path}[{index}]") for index, (one, element) in enumerate(zip(items, value, strict=True))
        )

    return check


def _object(item: _Check) -> _Check:
    def check(value: Any, path: str) -> Any:
        if type(value) is not dict:
            _wrong(path, "an object", value)
        return {name: item(element, _join(path, name)) for name, element in value.items()}

    return check
