"""An application: the handlers of its tasks, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, Unpack

from longshore.app_lifespan import Lifespan, checked_lifespan
from longshore.broker.base import Broker, RedisSettings
from longshore.client import DEFAULT_RETRY_FOR, Client
from longshore.context import Context
from longshore.defaults import DefaultOptions, checked_defaults
from longshore.errors import HandlerNotFound, InvalidOption
from longshore.group_aggregator import Aggregate, aggregator_for
from longshore.handler import FROM_ANNOTATION, handler_for
from longshore.middleware import Middleware, checked_chain, checked_middleware
from longshore.periodic_task import EntryProvider, PeriodicOptions, PeriodicTask
from longshore.policy.failure_policy import (
    ErrorCallback,
    IsFailure,
    RetryDelay,
    RetryFunction,
    checked_policy,
)
from longshore.policy.limits import Limit, RateLimit
from longshore.producer.middleware import EnqueueMiddleware, EnqueueNext, composed
from longshore.protocol.periodic import CatchUp, Overlap
from longshore.protocol.snapshots import TaskInfo
from longshore.registry import Registry
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


class App(Registry):
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
        super().__init__(
            failure_policy=checked_policy(retry=retry, retry_delay=retry_delay, is_failure=is_failure),
            middleware=checked_chain(middleware),
        )
        self._provider: EntryProvider | None = None
        self._lifespan = None if lifespan is None else checked_lifespan(lifespan)

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
        if not isinstance(pattern, str):
            raise InvalidOption("pattern", f"is {pattern!r}; give the task type, as in @app.task('email:welcome')")
        checked = checked_defaults(defaults)
        policy = checked_policy(retry=retry, retry_delay=retry_delay, is_failure=is_failure)
        limit = Limit.of(rate_limit=rate_limit, max_concurrency=max_concurrency)
        around = checked_chain(middleware)

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
        if not isinstance(queue, str) or not queue.strip():
            raise InvalidOption("limit_queue", f"{queue!r} is not the name of a queue")
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

    @property
    def served_lifespan(self) -> Lifespan | None:
        """The lifespan, for the server."""
        return self._lifespan

    def include(self, app: App, *, prefix: str = "") -> None:
        """Take over the handlers of another application, their patterns led by ``prefix``; also those it gets later.

        Its own settings and middleware stay with its handlers, inside this one's. Its aggregators come along, for the
        groups they name. Raises InvalidOption when a pattern is handled already, or the other application has a
        lifespan: only one that is served has.
        """
        if not isinstance(app, App):
            raise InvalidOption("app", f"{app!r} is not an App")
        if not isinstance(prefix, str):
            raise InvalidOption("prefix", f"is {prefix!r}; give the beginning of task types, such as 'email:'")
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
        overlap: Overlap = Overlap.ALLOW,
        jitter: timedelta | float = 0,
        **options: Unpack[PeriodicOptions],
    ) -> Callable[[F], F]:
        """Enqueue the decorated handler's task again and again; beside ``@app.task``, above or below it.

        A scheduler runs it (docs/periodic.md). ``name``: unique among all of the application; the default is the task's
        type. ``options`` win over the handler's own defaults. Raises InvalidOption for what cannot be used.
        """

        def register(function: F) -> F:
            # the type is known once the function is registered, which may come after this
            def task_of(app: Registry) -> PeriodicTask:
                task_type = app._type_of(function)
                return PeriodicTask(
                    schedule=schedule,
                    task=Task(task_type, payload, **options),
                    name=task_type.replace("/", ":") if name is None else name,
                    time_zone=time_zone,
                    catch_up=catch_up,
                    starting_deadline=starting_deadline,
                    overlap=overlap,
                    jitter=jitter,
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
            overlap=overlap,
            jitter=jitter,
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
        overlap: Overlap = Overlap.ALLOW,
        jitter: timedelta | float = 0,
    ) -> None:
        """Enqueue a task again and again; its handler may be another application's. Raises InvalidOption."""
        periodic = PeriodicTask(
            schedule=schedule,
            task=task,
            name=name,
            time_zone=time_zone,
            catch_up=catch_up,
            starting_deadline=starting_deadline,
            overlap=overlap,
            jitter=jitter,
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
