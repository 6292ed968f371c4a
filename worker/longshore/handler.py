"""From a function to something the server can call."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from longshore.context import Context
from longshore.defaults import NO_DEFAULTS
from longshore.errors import InvalidOption
from longshore.middleware import Middleware
from longshore.payload import Reader, reader_for
from longshore.policy.failure_policy import FailurePolicy
from longshore.policy.limits import Limit

NO_POLICY = FailurePolicy()

FROM_ANNOTATION: Any = inspect.Parameter.empty
_REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A parameter of a handler's function that a task fills."""

    name: str
    positional_only: bool  # passed by name when it can be, so that the order of parameters does not matter
    reader: Reader | None  # makes the payload's value; None: this one takes the context
    default: Any = _REQUIRED  # the value for an empty payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """A registered function with everything known about it before the first task."""

    pattern: str  # a task type, or a prefix of task types
    function: Callable[..., Any]
    is_async: bool
    parameters: tuple[Parameter, ...]  # in the function's order; at most one for the context and one for the payload
    failure_policy: FailurePolicy = NO_POLICY
    # checked options of tasks enqueued through the application's client
    defaults: Mapping[str, Any] = field(default_factory=lambda: NO_DEFAULTS)
    limit: Limit | None = None  # of its tasks over all workers of a queue together
    middleware: tuple[Middleware, ...] = ()  # outermost first
    around: Middleware | None = None  # all of it as one; None when there is none
    process: bool = False  # runs in a process of its own, which finds the function by its module and name

    def arguments(self, context: Context, payload: bytes | None) -> tuple[list[Any], dict[str, Any]]:
        """What to call the function with. Raises PayloadError when the payload does not fit."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.reader is None:
                value: Any = context
            elif payload or parameter.default is _REQUIRED:
                value = parameter.reader(payload)
            else:
                value = parameter.default
            if parameter.positional_only:
                positional.append(value)
            else:
                named[parameter.name] = value
        return positional, named


def handler_for(
    pattern: str,
    function: Callable[..., Any],
    *,
    failure_policy: FailurePolicy = NO_POLICY,
    payload_type: Any = FROM_ANNOTATION,
    defaults: Mapping[str, Any] = NO_DEFAULTS,
    limit: Limit | None = None,
    middleware: tuple[Middleware, ...] = (),
    process: bool = False,
) -> Handler:
    """Look at a function once and say how it is called.

    Its context is the parameter annotated ``Context``, or an unannotated one called ``ctx`` or ``context``, or the
    first of two when it is unannotated; its payload is the one other parameter. Both may be missing.
    ``payload_type``: what the payload becomes, whatever the parameter's annotation. Raises InvalidOption for anything
    else.
    """
    if not callable(function):
        raise InvalidOption("handler", f"{function!r} is not a function")
    where = name_of(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidOption("handler", f"{where} yields, and nobody would take what it yields; return a value instead")
    if process:
        _check_for_process(function, where)
    parameters = _parameters(function, where)
    context = _context_parameter(parameters)
    rest = [one for one in parameters if one is not context]
    required = [one for one in rest if one.default is inspect.Parameter.empty]
    if len(required) > 1:
        names = ", ".join(one.name for one in required)
        raise InvalidOption("handler", f"{where} takes {names}; a handler takes a context and one payload at most")
    payload = required[0] if required else (rest[0] if rest else None)
    if payload_type is not FROM_ANNOTATION:
        if process:  # whose process finds the function, and not what was said here
            raise InvalidOption("payload", f"annotate the parameter of {where}, which runs in a process of its own")
        if payload is None:
            raise InvalidOption("handler", f"{where} takes no payload; let it take one")
        typed = payload.replace(annotation=payload_type)
        parameters = [typed if one is payload else one for one in parameters]
        payload = typed
    return Handler(
        pattern=pattern,
        function=function,
        is_async=_is_async(function),
        parameters=tuple(
            Parameter(
                name=one.name,
                positional_only=one.kind is inspect.Parameter.POSITIONAL_ONLY,
                reader=None if one is context else _reader(one, where),
                default=one.default,
            )
            for one in parameters
            if one is context or one is payload
        ),
        failure_policy=failure_policy,
        defaults=defaults,
        limit=limit,
        middleware=middleware,
        process=process,
    )


def check_importable(handler: Handler) -> None:
    """Make sure that another process will find the function. Raises InvalidOption. Once the application is complete."""
    function = handler.function
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not function:
        where = f"{function.__module__}.{function.__qualname__}"
        raise InvalidOption(
            "process", f"{where} is something else than the handler of {handler.pattern!r}; put @app.task(…) above any "
            "other decorator, so that the handler's own process finds it under that name"
        )  # fmt: skip


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _check_for_process(function: Callable[..., Any], where: str) -> None:
    if _is_async(function):
        raise InvalidOption("process", f"{where} is async; only plain functions run in a process of their own")
    if not inspect.isfunction(function) or "<" in function.__qualname__:
        raise InvalidOption(
            "process", f"{where} cannot be found by another process; give a function defined at the top of a module"
        )


def _reader(parameter: inspect.Parameter, where: str) -> Reader:
    annotation = parameter.annotation
    try:
        return reader_for(Any if annotation is inspect.Parameter.empty else annotation)
    except InvalidOption as error:
        raise InvalidOption("handler", f"{where}, parameter {parameter.name}: {error.problem}") from error


def _parameters(function: Callable[..., Any], where: str) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(function)
        target = inspect.unwrap(function)
        annotated = target if inspect.isroutine(target) else getattr(target, "func", None) or type(target).__call__
        hints = typing.get_type_hints(annotated)
    except NameError as error:
        raise InvalidOption("handler", f"{where}: an annotation cannot be resolved at run time: {error}") from error
    except (TypeError, ValueError) as error:
        raise InvalidOption("handler", f"{where}: its parameters cannot be read: {error}") from error
    return [
        one.replace(annotation=hints.get(one.name, one.annotation))
        for one in signature.parameters.values()
        if one.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]


def _context_parameter(parameters: list[inspect.Parameter]) -> inspect.Parameter | None:
    for one in parameters:
        asked = typing.get_origin(one.annotation) or one.annotation  # of Context[Services], Context
        if isinstance(asked, type) and issubclass(asked, Context):
            return one
    bare = [one for one in parameters if one.annotation is inspect.Parameter.empty]
    for one in bare:
        if one.name in ("ctx", "context"):
            return one
    required = [one for one in parameters if one.default is inspect.Parameter.empty]
    if len(required) == 2 and required[0] in bare:
        return required[0]
    return None


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
