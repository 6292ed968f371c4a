"""Frozen values that are made for every task, at a fraction of what a frozen dataclass costs.

The generated ``__init__`` of a frozen dataclass stores each field by a call, since plain assignment is what it forbids:
two microseconds for a dozen fields, where a task as a whole has some twenty. Here a new object is, while its fields are
stored, of another class with the same slots and no such rule; nobody else sees it then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


def quick_init(cls: type[T]) -> type[T]:
    """Give a frozen, keyword-only dataclass with slots another ``__init__``, of the same arguments and effect.

    Where an interpreter does not let an object change its class so, the class stays as it is.
    """
    names = _names(cls)
    known = _known(cls) | {"be": object.__setattr__, "MISSING": MISSING}
    parameters = []
    lines = ["be(self, '__class__', draft)"]
    for each in fields(cls):  # type: ignore[arg-type]  # a dataclass, which mypy does not see here
        value = each.name
        if each.default_factory is not MISSING:
            known[f"make_{each.name}"] = each.default_factory
            parameters.append(f"{each.name}=MISSING")
            value = f"make_{each.name}() if {each.name} is MISSING else {each.name}"
        elif each.default is not MISSING:
            known[f"default_{each.name}"] = each.default
            parameters.append(f"{each.name}=default_{each.name}")
        else:
            parameters.append(each.name)
        lines.append(f"self.{each.name} = {value}")
    lines.append("self.__class__ = cls")
    quick = _function("__init__", f"self, *, {', '.join(parameters)}", lines, known)
    quick.__qualname__ = f"{cls.__qualname__}.__init__"
    with contextlib.suppress(TypeError):
        quick(object.__new__(cls), **dict.fromkeys(names))
        cls.__init__ = quick  # type: ignore[method-assign]  # on purpose
    return cls


def maker_like(example: T, *varying: str) -> Callable[..., T]:
    """A function that makes values equal to ``example`` but for the fields named, which it takes in that order."""
    cls: Any = type(example)
    factory, shared = _factory(cls, varying)
    if factory is None:
        return lambda *values: replace(example, **dict(zip(varying, values, strict=True)))  # type: ignore[type-var]  # it is one
    make: Callable[..., T] = factory(*[getattr(example, name) for name in shared])
    return make


@lru_cache(maxsize=64)  # compiling takes longer than a small batch of tasks
def _factory(cls: type[Any], varying: tuple[str, ...]) -> tuple[Callable[..., Any] | None, list[str]]:
    """A function of the shared fields' values that makes makers, or None where the interpreter cannot; those fields."""
    shared = [name for name in _names(cls) if name not in varying]
    lines = [
        f"def make({', '.join(varying)}):",
        "    self = new(draft)",
        *(f"    self.{name} = {name}" for name in _names(cls)),
        "    self.__class__ = cls",
        "    return self",
        "return make",
    ]
    factory = _function("factory", ", ".join(shared), lines, _known(cls))
    try:
        factory(*shared)(*varying)
    except TypeError:
        return None, shared
    return factory, shared


def _names(cls: type[Any]) -> list[str]:
    return [each.name for each in fields(cls)]


def _known(cls: type[Any]) -> dict[str, Any]:
    draft = type("Draft", (), {"__slots__": cls.__slots__})
    return {"cls": cls, "draft": draft, "new": object.__new__}


def _function(name: str, parameters: str, lines: list[str], known: dict[str, Any]) -> Callable[..., Any]:
    exec(f"def {name}({parameters}):\n    " + "\n    ".join(lines), known)  # as dataclasses makes its own
    function: Callable[..., Any] = known[name]
    return function
