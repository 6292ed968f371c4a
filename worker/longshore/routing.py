"""From a task's type to its handler."""

from __future__ import annotations

from collections.abc import Iterator

from longshore.errors import HandlerNotFound, InvalidOption
from longshore.handler import Handler, name_of


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
            raise InvalidOption("pattern", f"{handler.pattern!r} is already handled by {name_of(taken)}")
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
