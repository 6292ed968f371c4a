"""Runs handlers: each under its deadline, each with one outcome.

A slot is free again when the handler's code has ended, not when its deadline has passed: Asynq hands the slot to the
next task while a timed-out handler still runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from longshore.broker.base import Broker, Done, Leased, Requeue
from longshore.context import Context
from longshore.errors import HandlerNotFound, InvalidOption, LongshoreError
from longshore.policy.retry import Failure, Step, decide
from longshore.routing import Handler
from longshore.runtime.acknowledger import Acknowledger
from longshore.runtime.attempt import Attempt, InFlight, Interruption
from longshore.runtime.deadlines import Deadlines
from longshore.runtime.ending import failure_from, outcome_for
from longshore.runtime.threads import Threads
from longshore.runtime.timing import Clock, Timing
from longshore.task import encode_payload

_logger = logging.getLogger("longshore.server")


class Runner:
    """The attempts under way. Every method is for the event loop's thread."""

    def __init__(
        self,
        broker: Broker,
        *,
        find_handler: Callable[[str], Handler],
        in_flight: InFlight,
        acknowledger: Acknowledger,
        on_load: Callable[[], None],
        timing: Timing,
        clock: Clock,
        random: Random,
    ) -> None:
        """``on_load`` is called when the runner turns from idle to busy or back."""
        self.on_slot_free: Callable[[], None] = lambda: None
        self._broker = broker
        self._find_handler = find_handler
        self._in_flight = in_flight
        self._acknowledger = acknowledger
        self._on_load = on_load
        self._grace_s = timing.cancel_grace.total_seconds()
        self._clock = clock
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._threads = Threads(loop=self._loop)
        self._deadlines = Deadlines(on_over=self._time_is_up, clock=clock, loop=self._loop)
        self._running: set[Attempt] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Handlers whose code has not ended."""
        return len(self._running)

    def begin(self, leased: Leased, *, now: datetime) -> None:
        """Run the handler of a task that was just taken. At once and without waiting."""
        try:
            handler = self._find_handler(leased.message.type)
        except HandlerNotFound as error:
            attempt = Attempt(leased, now=now, broker=self._broker, loop=self._loop, is_async=False)
            self._in_flight.add(attempt)
            self._answer(attempt, None, None, error)
            return
        attempt = Attempt(leased, now=now, broker=self._broker, loop=self._loop, is_async=handler.is_async)
        self._in_flight.add(attempt)
        if attempt.deadline <= now:
            attempt.interruption = Interruption.DEADLINE
            self._answer(attempt, handler, None, None)
            return
        if not self._running:
            self._idle.clear()
            self._on_load()
        self._running.add(attempt)
        attempt.task = self._loop.create_task(self._attempt(attempt, handler))
        self._deadlines.watch(attempt, now=now)

    def give_back(self, leased: Leased, *, now: datetime) -> None:
        """Put a task back that was taken but shall not be run any more."""
        attempt = Attempt(leased, now=now, broker=self._broker, loop=self._loop, is_async=False)
        attempt.interruption = Interruption.SHUTDOWN
        self._in_flight.add(attempt)
        self._answer(attempt, None, None, asyncio.CancelledError())

    async def _attempt(self, attempt: Attempt, handler: Handler) -> None:
        attempt.stepped = True
        result: Any = None
        error: BaseException | None = None
        try:
            if attempt.interruption is not None:
                raise asyncio.CancelledError
            args, kwargs = handler.arguments(Context(attempt), attempt.message.payload)
            if handler.is_async:
                result = await handler.function(*args, **kwargs)
            else:
                result = await self._threads.call(handler.function, args, kwargs)
        except GeneratorExit:
            raise
        except BaseException as raised:  # also SystemExit: a handler does not end the worker
            error = raised
        self._ended(attempt, handler, result, error)

    def _ended(self, attempt: Attempt, handler: Handler, result: Any, error: BaseException | None) -> None:
        attempt.ended = True
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._running.discard(attempt)
        self.on_slot_free()
        if attempt.answered:
            self._report("A handler that had been given up has ended", "handler_ended_late", attempt, logging.WARNING)
        else:
            self._answer(attempt, handler, result, error)
        if not self._running:
            self._idle.set()
            self._on_load()

    def _answer(self, attempt: Attempt, handler: Handler | None, result: Any, error: BaseException | None) -> None:
        """Choose the outcome of an attempt and hand it over."""
        attempt.answered = True
        message = attempt.message
        if error is None and attempt.interruption is None and message.retention is None:
            self._acknowledger.submit(attempt, Done(message=message))  # what decide() would say, for nearly every task
            return
        failure: Failure | None = None
        interruption = attempt.interruption
        if interruption is Interruption.LEASE_LOST:
            self._in_flight.discard(attempt)
            return
        if interruption is Interruption.SHUTDOWN and error is not None:
            self._acknowledger.submit(attempt, Requeue(message=message))
            self._report("A task was put back", "task_requeued", attempt, logging.INFO)
            return
        if interruption is Interruption.DEADLINE or interruption is Interruption.CANCELLED:
            failure = Failure(error=interruption.value)  # whatever the handler made of it, as in Asynq
        elif error is not None:
            failure = failure_from(error, handler=handler, retried=message.retried)
        kept = None if failure is not None or message.retention is None else self._encoded(attempt, result)
        decision = decide(message, failure, now=self._clock(), jitter=self._random.random())
        self._acknowledger.submit(attempt, outcome_for(decision, result=kept))
        if failure is not None:
            level = logging.ERROR if decision.step is Step.ARCHIVE else logging.WARNING
            # A traceback where there is something to trace: not for our own errors, whose text says it all.
            traced = not (error is None or isinstance(error, LongshoreError | asyncio.CancelledError))
            self._report(
                "A task failed",
                "task_failed",
                attempt,
                level,
                raised=error if traced else None,
                error=failure.error,
                step=decision.step.value,
                reason=decision.reason,
            )

    def _encoded(self, attempt: Attempt, result: Any) -> bytes | None:
        try:
            return encode_payload(result)
        except InvalidOption as error:  # the work is done: a result nobody can store is no reason to do it again
            self._report(
                "A task's result cannot be stored", "result_unusable", attempt, logging.ERROR, error=error.problem
            )
            return None

    def _report(
        self,
        sentence: str,
        action: str,
        attempt: Attempt,
        level: int,
        *,
        raised: BaseException | None = None,
        **fields: object,
    ) -> None:
        message = attempt.message
        identity = {"queue": message.queue, "task_id": message.id, "task_type": message.type}
        _logger.log(level, sentence, extra={"action": action, **identity, **fields}, exc_info=raised)

    # -- interrupting ------------------------------------------------------------------------------------------------

    def cancel(self, task_id: str) -> None:
        """A cancellation was heard: end the attempts at tasks of that id, if any run here."""
        for attempt in self._in_flight.of_task(task_id):
            if not attempt.answered:
                self._report("A task was cancelled", "task_cancelled", attempt, logging.INFO)
                self._interrupt(attempt, Interruption.CANCELLED)

    def lose(self, attempt: Attempt) -> None:
        """The lease of an attempt is over: end it and write nothing."""
        self._in_flight.discard(attempt)
        if not attempt.answered:
            self._report("A task's lease was lost; it will run again elsewhere", "lease_lost", attempt, logging.ERROR)
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
        attempt.timer = self._loop.call_later(self._grace_s, self._give_up, attempt)

    def _give_up(self, attempt: Attempt) -> None:
        """The handler was told to end and goes on: answer for its task, and keep the slot for as long as it runs."""
        if attempt.ended or attempt.answered:
            return
        kind = "async handler" if attempt.is_async else "thread"
        self._report("A handler does not end; its slot stays taken", "handler_stuck", attempt, logging.ERROR, kind=kind)
        self._answer(attempt, None, None, asyncio.CancelledError())

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
            for attempt in list(self._running):
                self._give_up(attempt)
        return len(self._running)

    def close(self) -> None:
        """Let go of the threads and timers. Handlers that do not end are left to themselves."""
        self._threads.close()
        for attempt in self._running:
            if attempt.timer is not None:
                attempt.timer.cancel()
            if attempt.is_async and attempt.task is not None:
                attempt.task.cancel()
