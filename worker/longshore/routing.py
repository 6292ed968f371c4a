"""From a task's type to its handler, and from a function to something the server can call."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from longshore.context import Context
from longshore.errors import HandlerNotFound, InvalidOption
from longshore.payload import Reader, reader_for

RetryDelay = Callable[[int, BaseException], "timedelta | float"]
"""(failed attempts before this one, the error) to the wait before the next; a number is seconds."""

IsFailure = Callable[[BaseException], bool]
"""Whether an error counts as a failure; when not, the task waits like after one, but loses no retry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A parameter of a handler's function."""

    name: str
    positional_only: bool  # passed by name when it can be, so that the order of parameters does not matter
    optional: bool  # it has a default

    def put(self, value: Any, positional: list[Any], named: dict[str, Any]) -> None:
        if self.positional_only:
            positional.append(value)
        else:
            named[self.name] = value


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """A registered function with everything known about it before the first task."""

    pattern: str  # a task type, or a prefix of task types
    function: Callable[..., Any]
    is_async: bool
    context: Parameter | None  # None: the function takes no context
    payload: Parameter | None  # None: the function takes no payload
    reader: Reader | None  # set together with payload
    retry_delay: RetryDelay | None = None  # None: Asynq's default delays
    is_failure: IsFailure | None = None  # None: every error is a failure

    def arguments(self, context: Context, payload: bytes | None) -> tuple[list[Any], dict[str, Any]]:
        """What to call the function with. Raises PayloadError when the payload does not fit."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        if self.context is not None:
            self.context.put(context, positional, named)
        if self.payload is not None and self.reader is not None and (payload or not self.payload.optional):
            self.payload.put(self.reader(payload), positional, named)
        return positional, named


class Router:
    """Patterns to handlers. Exact type first, else the longest pattern that begins the type, as in Asynq."""

    def __init__(self) -> None:
        self._exact: dict[str, Handler] = {}
        self._by_length: list[Handler] = []

    def add(self, handler: Handler) -> None:
        """Register. Raises InvalidOption for a blank or repeated pattern."""
        if not handler.pattern.strip():
            raise InvalidOption("pattern", "is blank; give the task type the handler is for")
        if handler.pattern in self._exact:
            taken = self._exact[handler.pattern].function
            raise InvalidOption("pattern", f"{handler.pattern!r} is already handled by {_name(taken)}")
        self._exact[handler.pattern] = handler
        self._by_length.append(handler)
        self._by_length.sort(key=lambda one: -len(one.pattern))

    def find(self, task_type: str) -> Handler:
        """The handler for a type. Raises HandlerNotFound."""
        handler = self._exact.get(task_type)
        if handler is not None:
            return handler
        for handler in self._by_length:
            if task_type.startswith(handler.pattern):
                return handler
        raise HandlerNotFound(task_type)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._exact.values())

    def __len__(self) -> int:
        return len(self._exact)


def handler_for(
    pattern: str,
    function: Callable[..., Any],
    *,
    retry_delay: RetryDelay | None = None,
    is_failure: IsFailure | None = None,
) -> Handler:
    """Look at a function once and say how it is called.

    Its context is the parameter annotated ``Context``, or an unannotated one called ``ctx`` or ``context``, or the
    first of two when it is unannotated; its payload is the one other parameter. Both may be missing.
    Raises InvalidOption for anything else.
    """
    if not callable(function):
        raise InvalidOption("handler", f"{function!r} is not a function")
    where = _name(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidOption("handler", f"{where} yields, and nobody would take what it yields; return a value instead")
    parameters = _parameters(function, where)
    context = _context_parameter(parameters)
    rest = [one for one in parameters if one is not context]
    required = [one for one in rest if one.default is inspect.Parameter.empty]
    if len(required) > 1:
        names = ", ".join(one.name for one in required)
        raise InvalidOption("handler", f"{where} takes {names}; a handler takes a context and one payload at most")
    payload = required[0] if required else (rest[0] if rest else None)
    reader: Reader | None = None
    if payload is not None:
        try:
            reader = reader_for(Any if payload.annotation is inspect.Parameter.empty else payload.annotation)
        except InvalidOption as error:
            raise InvalidOption("handler", f"{where}, parameter {payload.name}: {error.problem}") from error
    return Handler(
        pattern=pattern,
        function=function,
        is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
        context=_parameter(context) if context else None,
        payload=_parameter(payload) if payload else None,
        reader=reader,
        retry_delay=retry_delay,
        is_failure=is_failure,
    )


def _parameter(parameter: inspect.Parameter) -> Parameter:
    return Parameter(
        name=parameter.name,
        positional_only=parameter.kind is inspect.Parameter.POSITIONAL_ONLY,
        optional=parameter.default is not inspect.Parameter.empty,
    )


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
        if isinstance(one.annotation, type) and issubclass(one.annotation, Context):
            return one
    bare = [one for one in parameters if one.annotation is inspect.Parameter.empty]
    for one in bare:
        if one.name in ("ctx", "context"):
            return one
    required = [one for one in parameters if one.default is inspect.Parameter.empty]
    if len(required) == 2 and required[0] in bare:
        return required[0]
    return None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
