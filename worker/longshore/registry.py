"""What is registered in an application and in those within it, and what holds for each handler.

Registering is in ``app``. An application completes what is within it: it leads patterns with its prefix, puts its
middleware around, and fills in the policies that are not said further in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from longshore.defaults import NO_DEFAULTS
from longshore.errors import HandlerNotFound, InvalidOption
from longshore.group_aggregator import GroupAggregator
from longshore.handler import Handler, name_of
from longshore.middleware import Middleware, compose
from longshore.periodic_task import PeriodicTask
from longshore.policy.failure_policy import FailurePolicy
from longshore.policy.limits import Limit
from longshore.producer.middleware import EnqueueMiddleware
from longshore.routing import Router
from longshore.task import Task


class Registry:
    """The registered handlers with their surroundings. For an application, its server and its clients."""

    def __init__(self, *, failure_policy: FailurePolicy, middleware: Sequence[Middleware]) -> None:
        self._handlers: dict[str, Handler] = {}
        self._aggregators: dict[str, GroupAggregator] = {}
        self._queue_limits: dict[str, Limit] = {}
        self._included: list[tuple[str, Registry]] = []  # prefix of its patterns, and the application
        self._includers: list[tuple[str, Registry]] = []
        self._failure_policy = failure_policy
        self._middleware = list(middleware)
        self._enqueue_middleware: list[EnqueueMiddleware] = []
        self._enqueue_chains: dict[str, tuple[EnqueueMiddleware, ...]] = {}  # by pattern, made when first needed
        self._periodic: list[Callable[[Registry], PeriodicTask]] = []  # given the application they were declared on
        self._router: Router | None = None  # made when first needed, and again after a change

    def handler(self, task_type: str) -> Handler:
        """The handler of a task type. Raises HandlerNotFound."""
        router = self._routes() if self._router is None else self._router
        return router.find(task_type)

    def failure_policy(self, task_type: str) -> FailurePolicy:
        """What holds for failed attempts at tasks of this type; the application's own for a type without handler."""
        try:
            return self.handler(task_type).failure_policy
        except HandlerNotFound:
            return self._failure_policy

    def options_for(self, task_type: str) -> Mapping[str, Any]:
        """The options that tasks of this type have by default, checked; empty for a type without handler."""
        try:
            return self.handler(task_type).defaults
        except HandlerNotFound:
            return NO_DEFAULTS

    @property
    def handlers(self) -> tuple[Handler, ...]:
        """What is registered, with what holds for each; in the order of ``patterns``."""
        return tuple(self._resolved())

    @property
    def patterns(self) -> tuple[str, ...]:
        """The registered patterns: its own, then those of included applications, each in the order of registration."""
        included = (prefix + pattern for prefix, app in self._included for pattern in app.patterns)
        return (*self._handlers, *included)

    @property
    def aggregators(self) -> tuple[GroupAggregator, ...]:
        """The registered aggregators, its own and those of included applications."""
        return (*self._aggregators.values(), *(one for _, app in self._included for one in app.aggregators))

    @property
    def limits(self) -> Mapping[str, Limit]:
        """The limits of task types, by the pattern of their handler."""
        return {handler.pattern: handler.limit for handler in self._resolved() if handler.limit is not None}

    @property
    def queue_limits(self) -> Mapping[str, Limit]:
        """The limits of queues; an application's own come before those of included ones."""
        limits: dict[str, Limit] = {}
        for _, app in reversed(self._included):
            limits |= app.queue_limits
        return limits | self._queue_limits

    def _routes(self) -> Router:
        self._router = Router(self._resolved())
        return self._router

    def _resolved(self) -> list[Handler]:
        """All handlers, with what holds for each."""
        own = [("", handler) for handler in self._handlers.values()]
        included = [(prefix, handler) for prefix, app in self._included for handler in app._resolved()]
        return [self._completed(prefix, handler) for prefix, handler in own + included]

    def _completed(self, prefix: str, handler: Handler) -> Handler:
        middleware = (*self._middleware, *handler.middleware)
        return replace(
            handler,
            pattern=prefix + handler.pattern,
            failure_policy=handler.failure_policy.within(self._failure_policy),
            middleware=middleware,
            around=compose(middleware),
        )

    @property
    def periodic_tasks(self) -> tuple[PeriodicTask, ...]:
        """What is declared as periodic, also by included applications.

        The tasks of an included application's handlers, and the names made of them, are led by its prefix. Raises
        InvalidOption for ``@app.periodic`` on a function that is no handler, or that of several types.
        """
        own = [task_of(self) for task_of in self._periodic]
        return (*own, *(_led(prefix, app, one) for prefix, app in self._included for one in app.periodic_tasks))

    # -- registering and including -----------------------------------------------------------------------------------

    def _add(self, handler: Handler) -> None:
        if not handler.pattern.strip():
            raise InvalidOption("pattern", "is blank; give the task type the handler is for")
        self._refuse_taken(handler.pattern)
        self._handlers[handler.pattern] = handler
        self._changed()

    def _refuse_taken(self, pattern: str) -> None:
        taken = self._taken(pattern)
        if taken is not None:
            raise InvalidOption("pattern", f"{pattern!r} is already handled by {name_of(taken.function)}")
        for prefix, app in self._includers:
            app._refuse_taken(prefix + pattern)

    def _refuse_aggregated(self, prefix: str) -> None:
        for one in self.aggregators:
            if one.prefix == prefix:
                where = f"groups that begin with {prefix!r}" if prefix else "all groups"
                raise InvalidOption("aggregator", f"{where} are already aggregated by {name_of(one.function)}")
        for _, app in self._includers:
            app._refuse_aggregated(prefix)

    def _taken(self, pattern: str) -> Handler | None:
        if pattern in self._handlers:
            return self._handlers[pattern]
        for prefix, app in self._included:
            if pattern.startswith(prefix) and (taken := app._taken(pattern.removeprefix(prefix))) is not None:
                return taken
        return None

    def _within(self) -> list[Registry]:
        """The applications it includes, at any depth."""
        return [one for _, app in self._included for one in (app, *app._within())]

    def _changed(self) -> None:
        self._router = None
        self._enqueue_chains.clear()
        for _, app in self._includers:
            app._changed()

    def _enqueue_middleware_of(self, pattern: str) -> tuple[EnqueueMiddleware, ...]:
        """Its own, then that of the included application the pattern is of."""
        own = tuple(self._enqueue_middleware)
        for prefix, app in self._included:
            rest = pattern.removeprefix(prefix)
            if pattern.startswith(prefix) and app._taken(rest) is not None:
                return own + app._enqueue_middleware_of(rest)
        return own

    def _type_of(self, function: Callable[..., Any]) -> str:
        types = [pattern for pattern, handler in self._handlers.items() if handler.function is function]
        if len(types) != 1:
            what = "is the handler of several types" if types else "is no handler; put @app.task(…) on it, too"
            raise InvalidOption(
                "periodic", f"{name_of(function)} {what}; or declare it by app.add_periodic(name, schedule, Task(…))"
            )
        return types[0]


def _led(prefix: str, app: Registry, periodic: PeriodicTask) -> PeriodicTask:
    """A periodic task of an included application, as the including one has it."""
    task = periodic.task
    if not prefix or task.type not in app.patterns:
        return periodic
    named_after_type = periodic.name == task.type.replace("/", ":")
    return replace(
        periodic,
        task=Task(prefix + task.type, task.payload, **task.options),
        name=(prefix + task.type).replace("/", ":") if named_after_type else periodic.name,
    )
