"""What the four kinds have in common: metadata, the way fields are spelt, and how a raw object becomes a value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from longshore_operator.errors import InvalidResource

GROUP = "longshore.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class ApiModel(BaseModel):
    """A part of a resource: frozen, camel case outside and snake case inside.

    Unknown fields are ignored: a newer CRD may know more than this operator.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class Metadata(ApiModel):
    """The part of an object's metadata that anyone here reads."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0  # raised by the API server at each change of the spec
    creation_timestamp: datetime | None = None  # None only for an object that was never stored
    deletion_timestamp: datetime | None = None  # set: being deleted
    finalizers: tuple[str, ...] = ()
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)


class Resource(ApiModel):
    """An object of one of our kinds."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]

    metadata: Metadata
    status: Mapping[str, Any] = Field(default_factory=dict)  # as stored; {} before the first write

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def ref(self) -> str:
        """The object in words, as ``Queue/critical``; always read within a namespace."""
        return f"{self.KIND}/{self.metadata.name}"

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """The object that the API server sent. Raises InvalidResource, naming every field that cannot be read."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            name = (raw.get("metadata") or {}).get("name", "?")
            raise InvalidResource(f"{cls.KIND}/{name}", _problems(error)) from error


def _problems(error: ValidationError) -> str:
    """One line a person can act on: each field's path and what is wrong with it."""
    lines = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in each["loc"])
        lines.append(f"{path}: {each['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)
