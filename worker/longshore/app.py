"""An application: the handlers of its tasks, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, Unpack

from longshore.app_lifespan import Lifespan, checked_lifespan
from longshore.broker.base import Broker, RedisSettings
from longshore.client import DEFAULT_RETRY_FOR, Client
from longshore.context import Context
from longshore.defaults import NO_DEFAULTS, DefaultOptions, checked_defaults
from longshore.errors import HandlerNotFound, InvalidOption
from longshore.group_aggregator import Aggregate, GroupAggregator, aggregator_for
from longshore.handler import FROM_ANNOTATION, Handler, handler_for, name_of
from longshore.middleware import Middleware, checked_middleware, compose
from longshore.periodic_task import EntryProvider, PeriodicOptions, PeriodicTask
from longshore.policy.failure_policy import (
    ErrorCallback,
    FailurePolicy,
    IsFailure,
    RetryDelay,
    RetryFunction,
    checked_policy,
)
from longshore.policy.limits import Limit, RateLimit
from longshore.producer.middleware import EnqueueMiddleware, EnqueueNext, composed
from longshore.protocol.periodic import CatchUp
from longshore.protocol.snapshots import TaskInfo
from longshore.routing import Router
from longshore.sync_client import SyncClient
from longshore.task import Task

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Middleware)
L = TypeVar("L", bound=Lifespan)
E = TypeVar("E", bound=ErrorCallback)
Q = TypeVar("Q", bound=EnqueueMiddleware)
A = TypeVar("A", bound=Aggregate)
P = TypeVar("P", bound=EntryProvider)
PayloadT = TypeVar("PayloadT")


class HandlerSettings(DefaultOptions, total=False):
    """What ``App.task`` takes, for those who hand it on."""

    retry: RetryFunction | None
    retry_delay: RetryDelay | None
    is_failure: IsFailure | None
    rate_limit: str | RateLimit | None
    max_concurrency: int | None
    middleware: Sequence[Middleware]


class App:
    """Registers handlers; a server runs them.

    What is given here holds for every handler that does not bring its own: ``retry``, ``retry_delay`` and
    ``is_failure``. What is added here goes around all of them: ``middleware``. ``lifespan``: see there.
    """

    def __init__(
        self,
        *,
        retry: RetryFunction | None = None,
        retry_delay: RetryDelay | None = None,
        is_failure: IsFailure | None = None,
        middleware: Sequence[Middleware] = (),
        lifespan: Lifespan | None = None,
    ) -> None:
        self._handlers: dict[str, Handler] = {}
        self._aggregators: dict[str, GroupAggregator] = {}
        self._included: list[tuple[str, App]] = []  # prefix of its patterns, and the application
        self._includers: list[tuple[str, App]] = []
        self._failure_policy = checked_policy(retry=retry, retry_delay=retry_delay, is_failure=is_failure)
        self._middleware = [checked_middleware(one) for one in middleware]
        self._enqueue_middleware: list[EnqueueMiddleware] = []
        self._enqueue_chains: dict[str, tuple[EnqueueMiddleware, ...]] = {}  # by pattern, made when first needed
        self._provider: EntryProvider | None = None
        self._periodic: list[Callable[[App], PeriodicTask]] = []  # given the application they were declared on
        self._lifespan = None if lifespan is None else checked_lifespan(lifespan)
        self._queue_limits: dict[str, Limit] = {}
        self._router: Router | None = None  # made when first needed, and again after a change

    # -- registering -------------------------------------------------------------------------------------------------

    def task(
        self,
        pattern: str,
        *,
        retry: RetryFunction | None = None,
        retry_delay: RetryDelay | None = None,
        is_failure: IsFailure | None = None,
        rate_limit: str | RateLimit | None = None,
        max_concurrency: int | None = None,
        middleware: Sequence[Middleware] = (),
        process: bool = False,
        payload: Any = FROM_ANNOTATION,
        **defaults: Unpack[DefaultOptions],
    ) -> Callable[[F], F]:
        """Register the decorated function for a task type, or for every type that begins with ``pattern``.

        An exact match wins over a prefix, the longer prefix over the shorter. Async functions run as asyncio tasks,
        plain ones in a thread, or with ``process`` in a process of their own (docs/worker.md). ``payload``: what the
        payload becomes, instead of what the parameter's annotation says.

        ``retry(failed)`` says what becomes of the task after a failed attempt: a RetryDecision, or None for the usual;
        a RetryPolicy is one. What is usual: ``retry_delay(retried, error)`` gives the wait before the next attempt
        (timedelta or seconds), ``is_failure(error)`` says whether the attempt counts. One that raises is logged, and
        not heeded. ``middleware``: around this handler only, inside the application's. ``defaults``: options of the
        tasks that ``client()`` enqueues, such as ``queue`` or ``max_retry``.

        ``rate_limit`` (such as ``"100/s"``) and ``max_concurrency`` hold over all workers together, for the pattern's
        tasks of each queue (docs/rate-limits.md). A task that has to wait is scheduled, and loses no retry.

        Raises InvalidOption for a blank or repeated pattern, for a signature that no task can be given to, and for an
        option that cannot be used.
        """
        checked = checked_defaults(defaults)
        policy = checked_policy(retry=retry, retry_delay=retry_delay, is_failure=is_failure)
        limit = Limit.of(rate_limit=rate_limit, max_concurrency=max_concurrency)
        around = tuple(checked_middleware(one) for one in middleware)

        def register(function: F) -> F:
            self._add(
                handler_for(
                    pattern,
                    function,
                    payload_type=payload,
                    failure_policy=policy,
                    defaults=checked,
                    limit=limit,
                    middleware=around,
                    process=process,
                )
            )
            return function

        return register

    def aggregator(
        self,
        prefix: str = "",
        *,
        grace_period: timedelta | float | None = None,
        max_delay: timedelta | float | None = None,
        max_size: int | None = None,
    ) -> Callable[[A], A]:
        """Register the decorated function to make one task of the tasks that wait in a group.

        For every group whose name begins with ``prefix``, all groups by default; the longest prefix wins. The function
        takes the group's name and a list of :class:`GroupedTask`, and returns the task that takes their place, in the
        same queue. Async functions run as asyncio tasks, plain ones in a thread. It may raise RevokeTask to drop the
        tasks, or SkipRetry to archive them; after any other error it is called with them again later.

        When a group is ready the server's settings say, unless they are given here: nobody joined for
        ``grace_period``, somebody has waited for ``max_delay``, or ``max_size`` tasks wait. Raises InvalidOption for a
        repeated prefix, for a signature that groups cannot be given to, and for a setting that cannot be used.
        """

        def register(function: A) -> A:
            one = aggregator_for(prefix, function, grace_period=grace_period, max_delay=max_delay, max_size=max_size)
            self._refuse_aggregated(prefix)
            self._aggregators[prefix] = one
            return function

        return register

    def subscribe(
        self,
        pattern: str,
        handler: Callable[[Context[Any], PayloadT], Awaitable[Any] | Any],
        *,
        payload: type[PayloadT],
        **settings: Unpack[HandlerSettings],
    ) -> None:
        """Register a handler and the type of its payload, both checked against each other by the type checker.

        For functions that are not decorated where they are written, such as bound methods of a service. ``settings``,
        and what is raised, are as for ``task``.
        """
        self.task(pattern, payload=payload, **settings)(handler)

    def limit_queue(
        self, queue: str, *, rate_limit: str | RateLimit | None = None, max_concurrency: int | None = None
    ) -> None:
        """Let the tasks of a queue begin within a limit, over all workers of this application together.

        What has to wait stays pending. ``rate_limit``: such as ``"100/s"``; ``max_concurrency``: tasks at once. Raises
        InvalidOption for what cannot be used, and for a queue that has a limit already.
        """
        limit = Limit.of(rate_limit=rate_limit, max_concurrency=max_concurrency)
        if limit is None:
            raise InvalidOption("limit_queue", "give a rate_limit, a max_concurrency, or both")
        if not queue.strip():
            raise InvalidOption("limit_queue", "the queue's name is blank")
        if queue in self._queue_limits:
            raise InvalidOption("limit_queue", f"queue {queue!r} has a limit already")
        self._queue_limits[queue] = limit

    def middleware(self, function: M) -> M:
        """Add a middleware (a decorator): around every handler, inside those added before it."""
        self._middleware.append(checked_middleware(function))
        self._changed()
        return function

    def on_error(self, function: E) -> E:
        """Add an error callback (a decorator): told of every failed attempt, and of what has become of its task.

        For reporting, to Sentry and its like. It delays no task and ends nothing, whatever it raises; a plain function
        runs in a thread. Of a lost lease, the server that recovers the task tells.
        """
        checked = checked_policy(on_error=(*self._failure_policy.on_error, function))
        self._failure_policy = replace(self._failure_policy, on_error=checked.on_error)
        self._changed()
        return function

    def enqueue_middleware(self, function: Q) -> Q:
        """Add an enqueue middleware (a decorator): around every task that ``client()`` creates, inside earlier ones."""
        self._enqueue_middleware.append(
            checked_middleware(function, name="enqueue_middleware", takes="task, call_next")
        )
        self._changed()
        return function

    def include(self, app: App, *, prefix: str = "") -> None:
        """Take over the handlers of another application, their patterns led by ``prefix``; also those it gets later.

        Its own settings and middleware stay with its handlers, inside this one's. Its aggregators come along, for the
        groups they name. Raises InvalidOption when a pattern is handled already, or the other application has a
        lifespan: only one that is served has.
        """
        if app is self or self in app._within():
            raise InvalidOption("app", "an application cannot include itself")
        if app._lifespan is not None:
            raise InvalidOption("lifespan", "give it to the application that is served, not to an included one")
        for pattern in app.patterns:
            self._refuse_taken(prefix + pattern)
        for one in app.aggregators:
            self._refuse_aggregated(one.prefix)
        self._included.append((prefix, app))
        app._includers.append((prefix, self))
        self._changed()

    def lifespan(self, function: L) -> L:
        """Set the lifespan (a decorator): an async generator function of one value; each server enters it once.

        It is entered before the first task. What it yields is ``ctx.state`` of every handler; what follows the yield is
        run when the last handler has ended. Raises InvalidOption for a second one.
        """
        if self._lifespan is not None:
            raise InvalidOption("lifespan", "there is one already; an application has one")
        if self._includers:
            raise InvalidOption("lifespan", "give it to the application that is served, not to an included one")
        self._lifespan = checked_lifespan(function)
        return function

    def periodic(
        self,
        schedule: str,
        *,
        name: str | None = None,
        payload: Any = None,
        time_zone: str | None = None,
        catch_up: CatchUp = CatchUp.LATEST,
        starting_deadline: timedelta | float | None = None,
        **options: Unpack[PeriodicOptions],
    ) -> Callable[[F], F]:
        """Enqueue the decorated handler's task again and again; beside ``@app.task``, above or below it.

        A scheduler runs it (docs/periodic.md). ``name``: unique among all of the application; the default is the task's
        type. ``options`` win over the handler's own defaults. Raises InvalidOption for what cannot be used.
        """

        def register(function: F) -> F:
            # the type is known once the function is registered, which may come after this
            def task_of(app: App) -> PeriodicTask:
                task_type = app._type_of(function)
                return PeriodicTask(
                    schedule=schedule,
                    task=Task(task_type, payload, **options),
                    name=task_type.replace("/", ":") if name is None else name,
                    time_zone=time_zone,
                    catch_up=catch_up,
                    starting_deadline=starting_deadline,
                )

            self._periodic.append(task_of)
            return function

        PeriodicTask(  # what can be told now is told where it stands
            schedule=schedule,
            task=Task("task", payload, **options),
            name=name,
            time_zone=time_zone,
            catch_up=catch_up,
            starting_deadline=starting_deadline,
        ).checked()
        return register

    def add_periodic(
        self,
        name: str,
        schedule: str,
        task: Task,
        *,
        time_zone: str | None = None,
        catch_up: CatchUp = CatchUp.LATEST,
        starting_deadline: timedelta | float | None = None,
    ) -> None:
        """Enqueue a task again and again; its handler may be another application's. Raises InvalidOption."""
        periodic = PeriodicTask(
            schedule=schedule,
            task=task,
            name=name,
            time_zone=time_zone,
            catch_up=catch_up,
            starting_deadline=starting_deadline,
        )
        periodic.checked()
        self._periodic.append(lambda app: periodic)

    def periodic_provider(self, function: P) -> P:
        """Set the provider of periodic tasks (a decorator): asked now and then for all besides those in code.

        A function without parameters, async or plain, that returns PeriodicTasks. Raises InvalidOption for a second.
        """
        if self._provider is not None:
            raise InvalidOption("periodic_provider", "there is one already; an application has one")
        self._provider = function
        return function

    @property
    def entry_provider(self) -> EntryProvider | None:
        """The provider, for the scheduler."""
        return self._provider

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to run, neither tasks nor periodic ones."""
        return not (self.patterns or self.aggregators or self.periodic_tasks or self._provider)

    @property
    def periodic_tasks(self) -> tuple[PeriodicTask, ...]:
        """What is declared as periodic, also by included applications.

        The tasks of an included application's handlers, and the names made of them, are led by its prefix. Raises
        InvalidOption for ``@app.periodic`` on a function that is no handler, or that of several types.
        """
        own = [task_of(self) for task_of in self._periodic]
        return (*own, *(_led(prefix, app, one) for prefix, app in self._included for one in app.periodic_tasks))

    def _type_of(self, function: Callable[..., Any]) -> str:
        types = [pattern for pattern, handler in self._handlers.items() if handler.function is function]
        if len(types) != 1:
            what = "is the handler of several types" if types else "is no handler; put @app.task(…) on it, too"
            raise InvalidOption(
                "periodic", f"{name_of(function)} {what}; or declare it by app.add_periodic(name, schedule, Task(…))"
            )
        return types[0]

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

    def _within(self) -> list[App]:
        """The applications it includes, at any depth."""
        return [one for _, app in self._included for one in (app, *app._within())]

    def _changed(self) -> None:
        self._router = None
        self._enqueue_chains.clear()
        for _, app in self._includers:
            app._changed()

    # -- enqueueing --------------------------------------------------------------------------------------------------

    def client(
        self,
        redis: str | RedisSettings | None = None,
        *,
        broker: Broker | None = None,
        retry_for: timedelta | float = DEFAULT_RETRY_FOR,
    ) -> Client:
        """A client that knows the defaults of each task type, and goes through the enqueue middleware.

        The arguments are those of Client. Made after the middleware was added.
        """
        through = self._through_middleware()
        return Client(redis, broker=broker, retry_for=retry_for, defaults=self.options_for, middleware=through)

    def sync_client(
        self, redis: str | RedisSettings | None = None, *, retry_for: timedelta | float = DEFAULT_RETRY_FOR
    ) -> SyncClient:
        """The same for code without an event loop. The arguments are those of SyncClient."""
        through = self._through_middleware()
        return SyncClient(redis, retry_for=retry_for, defaults=self.options_for, middleware=through)

    def _through_middleware(self) -> tuple[EnqueueMiddleware, ...]:
        return (self.enqueue_through,) if any(one._enqueue_middleware for one in (self, *self._within())) else ()

    async def enqueue_through(self, task: Task, call_next: EnqueueNext) -> TaskInfo:
        """All of the enqueue middleware as one: what is around a task of this type."""
        try:
            pattern = self.handler(task.type).pattern
        except HandlerNotFound:
            pattern = ""
        chain = self._enqueue_chains.get(pattern)
        if chain is None:
            chain = self._enqueue_chains[pattern] = self._enqueue_middleware_of(pattern)
        return await composed(chain, call_next)(task)

    def _enqueue_middleware_of(self, pattern: str) -> tuple[EnqueueMiddleware, ...]:
        """Its own, then that of the included application the pattern is of."""
        own = tuple(self._enqueue_middleware)
        for prefix, app in self._included:
            rest = pattern.removeprefix(prefix)
            if pattern.startswith(prefix) and app._taken(rest) is not None:
                return own + app._enqueue_middleware_of(rest)
        return own

    # -- what was registered -----------------------------------------------------------------------------------------

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

    @property
    def served_lifespan(self) -> Lifespan | None:
        """The lifespan, for the server."""
        return self._lifespan

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


def _led(prefix: str, app: App, periodic: PeriodicTask) -> PeriodicTask:
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
