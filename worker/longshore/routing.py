"""From a task's type to its handler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from longshore.errors import HandlerNotFound
from longshore.handler import Handler


class Router:
    """Patterns to handlers. Exact type first, else the longest pattern that begins the type, as in Asynq."""

    def __init__(self, handlers: Iterable[Handler] = ()) -> None:
        """``handlers``: no two of one pattern."""
        self._exact = {handler.pattern: handler for handler in handlers}
        self._by_length = sorted(self._exact.values(), key=lambda one: -len(one.pattern))

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
        """In the order of registration."""
        return iter(self._exact.values())

    def __len__(self) -> int:
        return len(self._exact)
