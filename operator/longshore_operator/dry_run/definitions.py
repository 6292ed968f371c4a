"""The custom resource definitions, applied as the API server applies them: defaults first, then every rule.

Rules about a change (those that speak of ``oldSelf``) need an older object and are left out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import yaml
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError

_PACKAGED = Path(__file__).parents[1] / "definitions"  # where a wheel has them
_CHECKED_OUT = Path(__file__).parents[3] / "crds"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_AT_MOST = 253

Schema = Mapping[str, Any]


class Definition:
    """One kind's schema."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.kind: str = definition["spec"]["names"]["kind"]
        version = next(each for each in definition["spec"]["versions"] if each["storage"])
        self._schema: Schema = version["schema"]["openAPIV3Schema"]

    def with_defaults(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """A copy that has the defaults of every field that was left out."""
        completed: dict[str, Any] = copy.deepcopy(dict(manifest))
        _complete(self._schema, completed)
        return completed

    def problems(self, manifest: Mapping[str, Any]) -> list[str]:
        """Each reason to refuse an object that has its defaults, with the field's path; none: it would be stored."""
        found = [f"{_path(error.absolute_path)}{_words(error)}" for error in self._validator.iter_errors(manifest)]
        name = manifest["metadata"]["name"]
        if not _NAME.fullmatch(name) or len(name) > _NAME_AT_MOST:
            found.append(f"metadata.name: {name!r} must be lower case letters, digits, '-' and '.', like mail-workers")
        # A rule is only asked about a value of the right shape.
        return sorted(found) if found else list(_broken_rules(self._schema, manifest, ""))

    @cached_property
    def _validator(self) -> jsonschema.Draft202012Validator:
        return jsonschema.Draft202012Validator(_strict(self._schema, top=True))


@lru_cache(maxsize=1)
def definitions() -> Mapping[str, Definition]:
    """The definitions of our kinds, by kind."""
    folder = _PACKAGED if _PACKAGED.is_dir() else _CHECKED_OUT
    read = (Definition(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.yaml")))
    return {definition.kind: definition for definition in read}


def _complete(schema: Schema, value: Any) -> None:
    """Fill in defaults, in place."""
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        for name, each in properties.items():
            if name not in value and "default" in each:
                value[name] = copy.deepcopy(each["default"])
            if name in value:
                _complete(each, value[name])
        beyond = schema.get("additionalProperties")
        if isinstance(beyond, Mapping):
            for name, each in value.items():
                if name not in properties:
                    _complete(beyond, each)
    elif isinstance(value, list):
        for each in value:
            _complete(schema.get("items") or {}, each)


def _strict(schema: Schema, *, top: bool = False) -> dict[str, Any]:
    """The same as a JSON schema that refuses unknown fields, as ``kubectl apply`` does."""
    strict = {name: value for name, value in schema.items() if not name.startswith("x-") and name != "format"}
    if schema.get("x-kubernetes-int-or-string"):
        strict["type"] = ["integer", "string"]
    if "properties" in schema:
        strict["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        if top:
            strict["properties"]["metadata"] = {"type": "object"}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            strict["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), Mapping):
        strict["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        strict["items"] = _strict(schema["items"])
    if schema.get("x-kubernetes-list-type") == "set":
        strict["uniqueItems"] = True
    return strict


def _broken_rules(schema: Schema, value: Any, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations") or ():
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value):
            yield f"{path}: {rule['message']}" if path else rule["message"]
    if isinstance(value, dict):
        for name, each in (schema.get("properties") or {}).items():
            if name in value:
                yield from _broken_rules(each, value[name], f"{path}.{name}" if path else name)
        beyond = schema.get("additionalProperties")
        if isinstance(beyond, Mapping):
            for name in value.keys() - (schema.get("properties") or {}).keys():
                yield from _broken_rules(beyond, value[name], f"{path}.{name}")
    elif isinstance(value, list):
        yield from _repeated_keys(schema, value, path)
        for number, each in enumerate(value):
            yield from _broken_rules(schema.get("items") or {}, each, f"{path}[{number}]")


def _repeated_keys(schema: Schema, value: list[Any], path: str) -> Iterator[str]:
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") != "map" or not keys:
        return
    seen = set()
    for number, each in enumerate(value):
        key = tuple(each.get(name) for name in keys)
        if key in seen:
            yield f"{path}[{number}]: {', '.join(map(str, key))} is there already"
        seen.add(key)


@lru_cache(maxsize=512)
def _program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule))


def _holds(rule: str, value: Any) -> bool:
    try:
        return bool(_program(rule).evaluate({"self": json_to_cel(value)}))
    except CELEvalError:
        return False  # as the API server: a rule that cannot be evaluated does not hold


def _path(parts: Any) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return f"{text}: " if text else ""


def _words(error: jsonschema.ValidationError) -> str:
    """The problem and the fix; jsonschema's own words where they say it."""
    rule: Any = error.validator_value
    instance: Any = error.instance
    match error.validator:
        case "required":
            return f"{error.message.removesuffix(' is a required property')} is required"
        case "additionalProperties" if rule is False:
            schema: Any = error.schema
            known = schema.get("properties", {})
            unknown = ", ".join(sorted(instance.keys() - known.keys()))
            return f"unknown field {unknown}; known are {', '.join(known)}"
        case "type":
            return f"{_brief(instance)} is no {' or '.join(_listed(rule))}"
        case "enum":
            return f"{_brief(instance)} is none of {', '.join(map(str, rule))}"
        case "minimum" | "maximum":
            bound = "less" if error.validator == "minimum" else "more"
            return f"{instance} is {bound} than {rule}"
        case "minLength" | "minItems":
            return "must not be empty" if rule == 1 else f"needs at least {rule}"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"is longer than {rule}"
    return str(error.message).replace(repr(instance), _brief(instance))


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
