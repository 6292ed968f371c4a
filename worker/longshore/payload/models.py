"""Pydantic models, where pydantic is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from longshore.errors import PayloadError
from longshore.payload.values import Check, join


def is_model(annotation: Any) -> bool:
    # Nobody can have derived a model without importing pydantic, so it is looked up, not imported.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def model_reader(model: Any) -> Callable[[bytes | None], Any]:
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


def nested_model(model: Any) -> Check:
    validation_error = sys.modules["pydantic"].ValidationError

    def check(value: Any, path: str) -> Any:
        try:
            return model.model_validate(value)
        except validation_error as error:
            problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = join(path, ".".join(map(str, problem["loc"])))
            raise PayloadError(f"{where or 'payload'}: {problem['msg']}") from None

    return check
