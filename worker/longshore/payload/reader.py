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

import json
from collections.abc import Callable
from typing import Any, NoReturn

from longshore.errors import PayloadError
from longshore.payload.checks import Checks
from longshore.payload.models import is_model, model_reader

Reader = Callable[[bytes | None], Any]
"""Bytes to the handler's argument; raises PayloadError."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)  # made once: json.loads makes one a call for this


def reader_for(annotation: Any) -> Reader:
    """The reader for a parameter annotated so. Raises InvalidOption for an annotation no payload can become."""
    if annotation is bytes:
        return _raw
    if annotation in (Any, object):
        return _json_or_none
    if is_model(annotation):
        return model_reader(annotation)
    check = Checks().of(annotation)

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
