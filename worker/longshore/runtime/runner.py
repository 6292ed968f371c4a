"""Runs handlers, each under its deadline, and ends them when they shall end.

A slot is free again when the handler's code has ended, not when its deadline has passed: Asynq hands the slot to the
next task while a timed-out handler still runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from longshore.broker.base import Broker, Leased
from longshore.context import Context
from longshore.errors import HandlerNotFound
from longshore.handler import Handler
from longshore.middleware import Middleware
from longshore.runtime.attempt import Attempt, InFlight, Interruption
from longshore.runtime.deadlines import Deadlines
from longshore.runtime.judge import Judge, report
from longshore.runtime.process_pool import Call, ProcessPool
from longshore.runtime.threads import Threads
from longshore.runtime.timing import Clock, Timing

_HELD_UP_S = 0.1  # handlers that await give the loop back within milliseconds
_KILLED_S = 1.0  # for what is around a handler whose process was killed, such as middleware
_BREATH_S = 0.01  # for a few round trips; a single turn of the loop is not enough for one

_Early = tuple[str, str | None, Interruption]  # id, queue or any, and why


class Runner:
    """The attempts under way. Every method is for the event loop's thread."""

    def __init__(
        self,
        broker: Broker,
        *,
        find_handler: Callable[[str], Handler],
        in_flight: InFlight,
        judge: Judge,
        on_load: Callable[[], None],
        processes: ProcessPool,
        timing: Timing,
        clock: Clock,
    ) -> None:
        """``on_load`` is called when the runner turns from idle to busy or back."""
        self.on_slot_free: Callable[[], None] = lambda: None
        self.state: object = None  # what the application's lifespan yielded
        self._broker = broker
        self._find_handler = find_handler
        self._in_flight = in_flight
        self._judge = judge
        self._on_load = on_load
        self._grace_s = timing.cancel_grace.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._threads = Threads(loop=self._loop)
        self._processes = processes
        self._calls: dict[Attempt, Call] = {}  # the attempts whose handlers run in processes
        self._running: set[Attempt] = set()
        self.taking = False  # tasks are on their way here: a cancellation may mean one of them
        self.arriving = 0  # tasks that are here and about to be begun
        self._early: list[_Early] = []  # cancellations that met no attempt meanwhile
        self._earlier: list[_Early] = []  # those of them that may mean a task that is arriving
        self._begun = 0  # handlers whose code has begun, ever
        self._deadlines = Deadlines(self._running, on_over=self._time_is_up, clock=clock, loop=self._loop)
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = self._loop.create_future()

    @property
    def running(self) -> int:
        """Handlers whose code has not ended."""
        return len(self._running)

    @property
    def stuck(self) -> int:
        """Handlers that were given up and go on: each keeps its slot until its code has ended."""
        return sum(attempt.answered for attempt in self._running)

    def begin(self, leased: Leased, *, now: datetime, after_s: float = 0.0) -> None:
        """Run the handler of a task that was just taken. At once and without waiting.

        ``after_s``: the handler begins only so many seconds from now; the slot is taken from now on.
        """
        try:
            handler = self._find_handler(leased.message.type)
        except HandlerNotFound as error:
            self._judge.judge(self._attempt_at(leased, now=now, is_async=False), error=error)
            return
        attempt = self._attempt_at(leased, now=now, is_async=handler.is_async)
        if attempt.deadline <= now:
            attempt.interruption = Interruption.DEADLINE
            self._judge.judge(attempt)
            return
        if not self._running:
            self._idle.clear()
            self._on_load()
        self._running.add(attempt)
        run = self._run_after(after_s, attempt, handler) if after_s else self._run(attempt, handler, monotonic())
        attempt.task = self._loop.create_task(run)
        self._deadlines.watch()
        if self._earlier or self._early:
            self._cancel_early(attempt)

    def give_back(self, leased: Leased, *, now: datetime) -> None:
        """Put a task back that was taken but shall not be run any more."""
        attempt = self._attempt_at(leased, now=now, is_async=False)
        attempt.interruption = Interruption.SHUTDOWN
        self._judge.judge(attempt, error=asyncio.CancelledError())

    def _attempt_at(self, leased: Leased, *, now: datetime, is_async: bool) -> Attempt:
        attempt = Attempt(leased, now=now, broker=self._broker, loop=self._loop, is_async=is_async, state=self.state)
        self._in_flight.add(attempt)
        return attempt

    async def _run_after(self, seconds: float, attempt: Attempt, handler: Handler) -> None:
        await asyncio.sleep(seconds)  # not interrupted: it is short, and what interrupts is seen after it
        await self._run(attempt, handler, monotonic())

    async def _run(self, attempt: Attempt, handler: Handler, taken_at: float) -> None:
        attempt.stepped = True
        result: Any = None
        error: BaseException | None = None
        try:
            attempt.begun_s = monotonic()
            if attempt.begun_s - taken_at > _HELD_UP_S:
                await self._breathe()
                attempt.begun_s = monotonic()
            self._begun += 1
            if attempt.interruption is not None:
                raise asyncio.CancelledError
            if handler.around is not None:
                result = await self._through_middleware(attempt, handler, handler.around)
            elif handler.is_async:
                args, kwargs = handler.arguments(Context(attempt), attempt.message.payload)
                result = await handler.function(*args, **kwargs)
            else:
                result = await self._call_plain(attempt, handler, Context(attempt))
        except BaseException as raised:  # also SystemExit: a handler does not end the worker
            if isinstance(raised, GeneratorExit) and not self._loop.is_running():
                raise  # what is left of a loop that has ended is being cleared away
            error = raised
        self._ended(attempt, result, error)

    async def _breathe(self) -> None:
        """Let others have the event loop for a moment: handlers before this one have held it up.

        All that were begun together have their first step in one turn of the loop. Async handlers that block, though
        they should not, would keep the heartbeat from extending the leases until the last of them is through. At least
        one handler begins after each breath.
        """
        held_up = True
        while held_up:
            since, begun_before = monotonic(), self._begun
            await asyncio.sleep(_BREATH_S)
            held_up = monotonic() - since > _HELD_UP_S and self._begun > begun_before

    async def _call_plain(self, attempt: Attempt, handler: Handler, context: Context[Any]) -> Any:
        if handler.process:
            return await self._call_in_process(attempt, handler)
        args, kwargs = handler.arguments(context, attempt.message.payload)
        thread = self._threads.call(handler.function, args, kwargs)
        try:
            result = await asyncio.shield(thread)
        except asyncio.CancelledError:
            await self._outlast(thread)
            raise
        return await self._go_on(attempt, result) if inspect.iscoroutine(result) else result

    async def _call_in_process(self, attempt: Attempt, handler: Handler) -> Any:
        call = self._calls[attempt] = self._processes.call(attempt, handler)
        try:
            return await asyncio.shield(call.future)
        except asyncio.CancelledError:
            if not call.future.done():
                call.interrupt()
                killing = self._loop.call_later(self._grace_s, call.kill)
                await self._outlast(call.future)
                killing.cancel()
            raise
        finally:
            del self._calls[attempt]

    async def _outlast(self, code: asyncio.Future[Any]) -> None:
        """Wait for the end of a handler's code that is not waited for any more, say because middleware has a timeout.

        Until then it takes up its slot. However often it is cancelled; not beyond ``close``.
        """
        while not (code.done() or self._closing.done()):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([code, self._closing], return_when=asyncio.FIRST_COMPLETED)

    async def _through_middleware(self, attempt: Attempt, handler: Handler, around: Middleware) -> Any:
        async def call(context: Context) -> Any:
            if handler.is_async:
                args, kwargs = handler.arguments(context, attempt.message.payload)
                return await handler.function(*args, **kwargs)
            # Cancelling would end the waiting for the thread, not the thread.
            attempt.is_async = False
            try:
                result = await self._call_plain(attempt, handler, context)
            finally:
                attempt.is_async = True
            # It was told to end while the thread ran. Work that a shutdown has waited for is done, and goes on as such.
            if attempt.interruption not in (None, Interruption.SHUTDOWN):
                raise asyncio.CancelledError
            return result

        attempt.is_async = True  # middleware can be cancelled, whatever the handler is
        return await around(Context(attempt), call)

    async def _go_on(self, attempt: Attempt, coroutine: Any) -> Any:
        """Run what a plain function has returned: a decorator may hide that its function is async."""
        attempt.is_async = True
        if attempt.interruption is not None:
            coroutine.close()
            raise asyncio.CancelledError
        return await coroutine

    def _ended(self, attempt: Attempt, result: Any, error: BaseException | None) -> None:
        attempt.ended = True
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._running.discard(attempt)
        self.on_slot_free()
        if not self._running:
            self._idle.set()
            self._on_load()
        if attempt.answered:
            report("A handler that had been given up has ended", "handler_ended_late", attempt, logging.WARNING)
        else:
            self._judge.judge(attempt, result=result, error=error)

    # -- interrupting ------------------------------------------------------------------------------------------------

    def cancel(self, task_id: str, *, queue: str | None = None, why: Interruption = Interruption.CANCELLED) -> None:
        """A cancellation was heard: end the attempts at tasks of that id, in one queue or any, if any run here.

        A task that is active in Redis already, but on its way here, is ended when it arrives.
        """
        attempts = self._in_flight.of_task(task_id, queue)
        for attempt in attempts:
            self._cancel(attempt, why)
        if not attempts and self.taking:
            self._early.append((task_id, queue, why))
        if not attempts and self.arriving:
            self._earlier.append((task_id, queue, why))

    def arrive(self, count: int) -> None:
        """What was on its way is here, so many tasks; ``arrived`` follows when they have been begun."""
        self.arriving += count
        self._earlier += self._early
        self._early.clear()

    def arrived(self) -> None:
        """What was arriving has been begun."""
        self.arriving = 0
        self._earlier.clear()

    def taken(self) -> None:
        """What was on its way has been begun."""
        self._early.clear()

    def _cancel_early(self, attempt: Attempt) -> None:
        message = attempt.message
        for task_id, queue, why in [*self._earlier, *self._early]:
            if task_id == message.id and queue in (None, message.queue):
                self._cancel(attempt, why)

    def _cancel(self, attempt: Attempt, why: Interruption) -> None:
        if not attempt.answered:
            report("A task was cancelled", "task_cancelled", attempt, logging.INFO)
            self._interrupt(attempt, why)

    def lose(self, attempt: Attempt) -> None:
        """The lease of an attempt is over: end it and write nothing."""
        self._in_flight.discard(attempt)
        if not attempt.answered:
            report("A task's lease was lost; it will run again elsewhere", "lease_lost", attempt, logging.ERROR)
            attempt.interruption = None  # outranks a deadline or cancellation under way
            self._interrupt(attempt, Interruption.LEASE_LOST)

    def _time_is_up(self, attempt: Attempt) -> None:
        self._interrupt(attempt, Interruption.DEADLINE)

    def _interrupt(self, attempt: Attempt, why: Interruption) -> None:
        if attempt.interruption is not None or attempt.ended:
            return
        attempt.interruption = why
        if attempt.timer is not None:
            attempt.timer.cancel()
        # A thread cannot be stopped; its handler may look at ctx.cancelled.
        if attempt.is_async and attempt.stepped and attempt.task is not None:
            attempt.task.cancel()
        elif (call := self._calls.get(attempt)) is not None:
            call.interrupt()
        attempt.timer = self._loop.call_later(self._grace_s, self._give_up, attempt)

    def _give_up(self, attempt: Attempt) -> None:
        """The handler was told to end and goes on: answer for its task, and keep the slot for as long as it runs.

        A process is killed instead; the attempt then ends at once.
        """
        if attempt.ended or attempt.answered:
            return
        if (call := self._calls.get(attempt)) is not None:
            report("A handler does not end; its process is killed", "process_killed", attempt, logging.WARNING)
            call.kill()
            return
        kind = "async handler" if attempt.is_async else "thread"
        report("A handler does not end; its slot stays taken", "handler_stuck", attempt, logging.ERROR, kind=kind)
        self._judge.judge(attempt, error=asyncio.CancelledError())

    # -- ending ------------------------------------------------------------------------------------------------------

    async def wait_until_idle(self) -> None:
        """Wait until no handler runs."""
        await self._idle.wait()

    async def abort(self, *, grace: timedelta) -> int:
        """End what still runs and put its tasks back; how many handlers had not ended after ``grace``."""
        for attempt in list(self._running):
            self._interrupt(attempt, Interruption.SHUTDOWN)
        try:
            await asyncio.wait_for(self._idle.wait(), grace.total_seconds())
        except TimeoutError:
            killed = [attempt.task for attempt in self._calls if attempt.task is not None]
            for attempt in list(self._running):
                self._give_up(attempt)
            if killed:
                await asyncio.wait(killed, timeout=_KILLED_S)
        return len(self._running)

    def close(self) -> None:
        """Let go of the threads and timers. Handlers that do not end are left to themselves."""
        if not self._closing.done():
            self._closing.set_result(None)
        self._threads.close()
        self._deadlines.close()
        for attempt in self._running:
            if attempt.timer is not None:
                attempt.timer.cancel()
            if attempt.is_async and attempt.task is not None:
                attempt.task.cancel()
