"""An application: the handlers of its tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from longshore.handler import Handler, IsFailure, RetryDelay, handler_for
from longshore.routing import Router

F = TypeVar("F", bound=Callable[..., Any])


class App:
    """Registers handlers; a server runs them.

    ``retry_delay`` and ``is_failure`` hold for every handler that does not bring its own.
    """

    def __init__(self, *, retry_delay: RetryDelay | None = None, is_failure: IsFailure | None = None) -> None:
        self._router = Router()
        self._retry_delay = retry_delay
        self._is_failure = is_failure

    def task(
        self, pattern: str, *, retry_delay: RetryDelay | None = None, is_failure: IsFailure | None = None
    ) -> Callable[[F], F]:
        """Register the decorated function for a task type, or for every type that begins with ``pattern``.

        An exact match wins over a prefix, the longer prefix over the shorter. Async functions run as asyncio tasks,
        plain ones in a thread. ``retry_delay(retried, error)`` gives the wait before the next attempt (timedelta or
        seconds); ``is_failure(error)`` says whether the attempt counts. Raises InvalidOption for a blank or repeated
        pattern and for a signature that no task can be given to.
        """

        def register(function: F) -> F:
            self._router.add(
                handler_for(
                    pattern,
                    function,
                    retry_delay=retry_delay or self._retry_delay,
                    is_failure=is_failure or self._is_failure,
                )
            )
            return function

        return register

    def handler(self, task_type: str) -> Handler:
        """The handler of a task type. Raises HandlerNotFound."""
        return self._router.find(task_type)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The registered patterns, in the order of registration."""
        return tuple(handler.pattern for handler in self._router)
