"""The operator's models and the schemas in crds/ tell the same: fields, types, what is required, every default."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from longshore_operator.api.broker import Broker
from longshore_operator.api.conditions import CONDITIONS
from longshore_operator.api.durations import format_duration, parse_duration
from longshore_operator.api.periodic_task import PeriodicTask
from longshore_operator.api.queue import Queue
from longshore_operator.api.resource import Resource
from longshore_operator.api.worker_pool import WorkerPool
from longshore_operator.errors import InvalidResource

KINDS: tuple[type[Resource], ...] = (Broker, Queue, WorkerPool, PeriodicTask)
Schema = Mapping[str, Any]


def schema_of(definitions: Mapping[str, Any], kind: type[Resource]) -> Schema:
    schema: Schema = definitions[kind.KIND]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def inner(annotation: Any) -> Any:
    """The type without None."""
    if get_origin(annotation) in (Union, types.UnionType):
        found = [each for each in get_args(annotation) if each is not types.NoneType]
        return found[0] if len(found) == 1 else Union[tuple(found)]  # noqa: UP007 - made at run time
    return annotation


def json_type(annotation: Any) -> str | None:
    """What the schema calls the type; None: an integer or a string."""
    plain = inner(annotation)
    if plain == int | str or plain == Union[int, str]:  # noqa: UP007
        return None
    if get_origin(plain) is Annotated:
        plain = get_args(plain)[0]
    origin = get_origin(plain)
    if origin is tuple:
        return "array"
    if origin is not None and issubclass(origin, Mapping):
        return "object"
    if isinstance(plain, type):
        if issubclass(plain, BaseModel):
            return "object"
        if issubclass(plain, Enum | timedelta | str):
            return "string"
        return {bool: "boolean", int: "integer"}[plain]
    raise AssertionError(f"no schema type for {annotation}")


def pairs(model: type[BaseModel], schema: Schema, path: str) -> Iterator[tuple[str, type[BaseModel], Schema]]:
    """Every model and the schema that describes it."""
    yield path, model, schema
    for name, field in model.model_fields.items():
        described = schema["properties"][field.alias or name]
        plain = inner(field.annotation)
        if get_origin(plain) is tuple:
            plain, described = get_args(plain)[0], described["items"]
        if isinstance(plain, type) and issubclass(plain, BaseModel):
            yield from pairs(plain, described, f"{path}.{field.alias or name}")


def default_of(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, timedelta):
        return value
    if isinstance(value, Enum):
        return value.value
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_of_the_spec_has_a_model_field_and_the_reverse(definitions: Any, kind: type[Resource]) -> None:
    spec = kind.model_fields["spec"].annotation
    assert spec is not None
    for path, model, schema in pairs(spec, schema_of(definitions, kind)["properties"]["spec"], "spec"):
        described = schema["properties"]
        assert {field.alias for field in model.model_fields.values()} == set(described), path
        for field in model.model_fields.values():
            assert described[field.alias].get("type") == json_type(field.annotation), f"{path}.{field.alias}"


@pytest.mark.parametrize("kind", KINDS)
def test_required_fields_and_defaults_are_the_same(definitions: Any, kind: type[Resource]) -> None:
    spec = kind.model_fields["spec"].annotation
    assert spec is not None
    for path, model, schema in pairs(spec, schema_of(definitions, kind)["properties"]["spec"], "spec"):
        required = {field.alias for field in model.model_fields.values() if field.is_required()}
        assert required == set(schema.get("required", [])), path
        for field in model.model_fields.values():
            described = schema["properties"][field.alias]
            where = f"{path}.{field.alias}"
            if "default" not in described:
                assert field.is_required() or default_of(field) is None, where
                continue
            default = default_of(field)
            if isinstance(default, timedelta):
                assert parse_duration(described["default"]) == default, where
            elif isinstance(default, BaseModel):
                assert type(default).model_validate(described["default"]) == default, where
            else:
                assert described["default"] == default, where


@pytest.mark.parametrize("kind", KINDS)
def test_the_definition_is_complete(definitions: Any, kind: type[Resource]) -> None:
    definition = definitions[kind.KIND]
    version = definition["spec"]["versions"][0]
    assert definition["metadata"]["name"] == f"{kind.PLURAL}.longshore.dev"
    assert definition["spec"]["scope"] == "Namespaced"
    assert definition["spec"]["names"]["plural"] == kind.PLURAL
    assert definition["spec"]["names"]["categories"] == ["longshore"]
    assert version["subresources"]["status"] == {}
    assert [column["name"] for column in version["additionalPrinterColumns"]][:2] == ["Ready", "Reason"]
    conditions = schema_of(definitions, kind)["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    for each in CONDITIONS:
        if each.kind == kind.KIND:
            assert re.search(rf"\b{each.type}\b", conditions["description"]), each.type


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described_and_bounded(definitions: Any, kind: type[Resource]) -> None:
    def check(schema: Schema, path: str, *, ours: bool) -> None:
        if path not in (".metadata",):
            assert schema.get("description") or not ours, path
        if schema.get("type") == "string":
            assert {"maxLength", "enum", "format"} & set(schema) or path in (".apiVersion", ".kind"), path
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
        if schema.get("type") == "integer":
            assert "minimum" in schema, path
            assert "maximum" in schema or path.startswith(".status") or schema["minimum"] >= 0, path
        if isinstance(schema.get("additionalProperties"), dict):
            assert "maxProperties" in schema, path
            check(schema["additionalProperties"], f"{path}.*", ours=False)
        for name, each in schema.get("properties", {}).items():
            check(each, f"{path}.{name}", ours=True)
        if "items" in schema:
            check(schema["items"], f"{path}[]", ours=True)

    check(schema_of(definitions, kind), "", ours=True)


def test_the_scale_subresource_reads_and_writes_a_pool(definitions: Any) -> None:
    version = definitions["WorkerPool"]["spec"]["versions"][0]
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("500ms", timedelta(milliseconds=500)),
        ("60s", timedelta(seconds=60)),
        ("1m30s", timedelta(seconds=90)),
        ("2160h", timedelta(days=90)),
        ("1h1m1s1ms", timedelta(hours=1, minutes=1, seconds=1, milliseconds=1)),
    ],
)
def test_durations_are_read_and_written(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize("text", ["", "60", "1d", "-1s", "1.5s", " 1s", "1 s", "9" * 20 + "h"])
def test_what_is_no_duration_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_an_object_that_cannot_be_read_names_each_field_that_is_wrong() -> None:
    raw = {
        "metadata": {"name": "mail", "namespace": "shop"},
        "spec": {"queues": "mail", "autoscaling": {"maxReplicas": 3, "zeroAfter": "soon"}},
    }
    with pytest.raises(InvalidResource) as caught:
        WorkerPool.parse(raw)
    assert caught.value.ref == "WorkerPool/mail"
    assert "spec.queues: " in caught.value.problem
    assert "spec.autoscaling.zeroAfter: 'soon' is not a duration; write whole numbers" in caught.value.problem


def test_fields_of_a_newer_schema_are_ignored() -> None:
    raw = {"metadata": {"name": "mail", "namespace": "shop", "new": 1}, "spec": {"new": {"x": 1}}, "other": 2}
    assert Queue.parse(raw).queue_name == "mail"
