"""Lets tasks begin within the limits of their type and queue, over all servers together.

Three ways to a permit, each one call to Redis: a queue with a limit is asked for no more tasks than may begin; tasks
of a limited type are asked for after they were taken, and those that must wait are scheduled by the same call; and when
a permit may be free, the tasks that wait longest are taken straight out of the line. So each task that has to wait is
put away once, whatever the length of the line, and those of other types behind it are served.

Without Redis no permit is given: what was taken waits for the answer, for as long as its lease holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random

from longshore.broker.base import Broker, Leased
from longshore.broker.permits_base import Asker, Permitted, Taken
from longshore.errors import BrokerUnavailable, HandlerNotFound, LongshoreError
from longshore.policy.limits import Limit
from longshore.protocol.notices import TakeTurn
from longshore.runtime.attempt import Attempt
from longshore.runtime.line import Line
from longshore.runtime.outage import Outage, backoff_s
from longshore.runtime.pulse import Pulse
from longshore.runtime.rounds import visit_each
from longshore.runtime.runner import Runner
from longshore.runtime.timing import Clock, Timing

_logger = logging.getLogger("longshore.server")


class Limiter:
    """For one server. Every method is for the event loop's thread; ``stop`` first, then no call any more."""

    def __init__(
        self,
        broker: Broker,
        *,
        server_id: str,
        queues: Collection[str],
        concurrency: int,
        limits: Mapping[str, Limit],
        queue_limits: Mapping[str, Limit],
        pattern_of: Callable[[str], str],
        runner: Runner,
        timing: Timing,
        clock: Clock,
        outage: Outage,
        pulse: Pulse,
        random: Random,
    ) -> None:
        """``limits``: by handler's pattern. ``pattern_of``: a task type's pattern; it may raise HandlerNotFound."""
        self.on_ready: Callable[[], None] = lambda: None  # a line may be asked
        self.on_place_free: Callable[[str], None] = lambda queue: None  # … a queue with a limit
        self._broker = broker
        self._permits = broker.permits
        self._limits = limits
        self._queue_limits = {queue: limit for queue, limit in queue_limits.items() if queue in queues}
        self._queues = list(queues)
        self._pattern_of = pattern_of
        self._runner = runner
        self._timing = timing
        self._clock = clock
        self._outage = outage
        self._pulse = pulse
        self._random = random
        self._asker = Asker(
            server_id=server_id, lease=timing.lease, grace=timing.permit_grace, horizon=timing.permit_horizon
        )
        self._stopping = asyncio.Event()
        # What is held until its start holds a slot. At most half of them, so that others are served meanwhile.
        self._most_held = max(1, concurrency // 2)
        self._held = 0
        self._loop = loop = asyncio.get_running_loop()
        self._lines = {
            (queue, name): Line(
                queue, name, limit, on_ready=lambda: self.on_ready(), timing=timing, loop=loop, random=random
            )
            for queue in queues
            for name, limit in limits.items()
        }
        # Not lines, but asked for in the same rhythm.
        self._whole = {
            queue: Line(queue, "", limit, on_ready=lambda: None, timing=timing, loop=loop, random=random)
            for queue, limit in self._queue_limits.items()
        }

    # -- what the processor asks -------------------------------------------------------------------------------------

    def limits_queue(self, queue: str) -> bool:
        """Whether the queue has a limit of its own."""
        return queue in self._queue_limits

    def ready_lines(self) -> list[Line]:
        """Lines that may be asked now, in a random order."""
        ready = [line for line in self._lines.values() if line.ready]
        self._random.shuffle(ready)
        return ready

    async def dequeue(self, queue: str, *, most: int) -> Taken:
        """Take tasks of a queue that has a limit: only what may begin. Raises what the broker raises."""
        found = await self._permits.dequeue_within(
            queue, limit=self._queue_limits[queue], most=most, holds=self._holds, now=self._clock(), asker=self._asker
        )
        self._tell_of_other(self._whole[queue], found.declared_otherwise)
        await self._leave_turn(queue, "", found.goes_first)
        return found

    def pause_s(self, queue: str, found: Taken) -> float | None:
        """How long not to ask a queue with a limit for more, after this reply; None: it was not the limit."""
        line = self._whole[queue]
        line.asked()
        return None if found.again is None else line.pause_s(found.again)

    async def take_from(self, line: Line, *, most: int) -> Taken:
        """Take tasks that wait longest. Raises what the broker raises; the line is to be asked again then."""
        line.asked()
        try:
            found = await self._permits.take_from_line(
                line.queue,
                name=line.name,
                limit=line.limit,
                queue_limit=self._queue_limits.get(line.queue),
                most=most,
                holds=self._holds,
                now=self._clock(),
                asker=self._asker,
            )
        except BaseException:
            line.ask_in(self._timing.poll.total_seconds())
            raise
        self._tell_of_other(line, found.declared_otherwise)
        if found.line:
            line.ask_again(found.again)
        await self._leave_turn(line.queue, line.name, found.goes_first)
        return found

    async def take_in(self, queue: str, tasks: Sequence[Permitted], *, of: Line | None = None) -> None:
        """Begin tasks that were taken; first ask for those whose type has a limit, but not for those ``of`` a line."""
        asked: dict[str, list[Permitted]] = {}
        for task in tasks:
            name = self._limit_of(task.leased.message.type)
            if name is None or (of is not None and name == of.name):
                self._begin(task)
            else:
                asked.setdefault(name, []).append(task)
        for name, some in asked.items():
            await self._admit(self._lines[queue, name], some)

    # -- what others tell it -----------------------------------------------------------------------------------------

    def ended(self, attempt: Attempt) -> None:
        """An attempt's task is not this server's any more: its places, if it had any, are free."""
        queue = attempt.message.queue
        name = self._limit_of(attempt.message.type)
        if name is not None and self._limits[name].max_concurrency is not None:
            self._lines[queue, name].ask_now()
        whole = self._queue_limits.get(queue)
        if whole is not None and whole.max_concurrency is not None:
            self.on_place_free(queue)

    def take_turn(self, notice: TakeTurn) -> None:
        """Another server has left what may begin to the one that is named."""
        if notice.server_id != self._asker.server_id:
            return
        line = self._lines.get((notice.queue, notice.limit))
        if line is not None:
            line.ask_now()
        elif not notice.limit and notice.queue in self._queue_limits:
            self.on_place_free(notice.queue)

    async def tick(self) -> None:
        """Look which lines there are: others may have made them, and be gone."""
        if self._limits:
            await visit_each(await self._permits.lines(self._queues), self._look_at)

    def stop(self) -> None:
        """Let nothing begin any more; what is taken still is put back. Idempotent."""
        self._stopping.set()
        for line in self._lines.values():
            line.close()

    @property
    def frees_places(self) -> bool:
        """Whether it wants to know what has ended."""
        return any(one.max_concurrency for one in (*self._limits.values(), *self._queue_limits.values()))

    # -- within ------------------------------------------------------------------------------------------------------

    async def _look_at(self, queue: str, names: Collection[str]) -> None:
        for name in names:
            line = self._lines.get((queue, name))  # an earlier release may have had another limit
            if line is not None:
                line.ask_now()

    def _limit_of(self, task_type: str) -> str | None:
        try:
            name = self._pattern_of(task_type)
        except HandlerNotFound:
            return None
        return name if name in self._limits else None

    def _begin(self, task: Permitted) -> None:
        now = self._clock()
        if self._stopping.is_set():
            self._runner.give_back(task.leased, now=now)
        else:
            self._runner.begin(task.leased, now=now, after_s=task.after_s)
            if task.after_s:
                self._held += 1
                self._loop.call_later(task.after_s, self._begun)

    @property
    def _holds(self) -> int:
        """How many more tasks may be held until their start."""
        return max(0, self._most_held - self._held)

    def _begun(self) -> None:
        """One that was held begins. The lines that waited for that are asked when half the room is there again."""
        self._held -= 1
        if self._held > self._most_held // 2:
            return
        for line in self._lines.values():
            if line.wants_room:
                line.ask_now()
        for queue, line in self._whole.items():
            if line.wants_room:
                line.wants_room = False
                self.on_place_free(queue)

    async def _leave_turn(self, queue: str, name: str, server_id: str) -> None:
        if server_id:
            with contextlib.suppress(LongshoreError):  # it will ask by itself
                await self._broker.notify(TakeTurn(server_id=server_id, queue=queue, limit=name))

    async def _admit(self, line: Line, tasks: list[Permitted]) -> None:
        duty = f"limit {line.name} of queue {line.queue}"
        failures = 0
        while tasks:
            try:
                with self._pulse.working("processor"):
                    admission = await self._permits.admit(
                        line.queue, tasks, name=line.name, limit=line.limit, holds=self._holds, asker=self._asker
                    )
            except BrokerUnavailable as error:
                self._outage.failed(duty, error)
            except LongshoreError as error:
                self._outage.refused(duty, error)
            except Exception:
                _logger.exception(
                    "Permits could not be asked for", extra={"action": "admit_failed", "queue": line.queue}
                )
            else:
                self._outage.succeeded(duty)
                break
            failures += 1
            await self._pause(failures)
            if self._stopping.is_set():
                self._outage.over(duty)
                self._give_back(tasks)
                return
            tasks = self._still_ours(tasks)
        else:
            self._outage.over(duty)
            return
        self._tell_of_other(line, admission.declared_otherwise)
        for task in admission.permitted:
            self._begin(task)
        if admission.waiting:
            _logger.debug(
                "Tasks have to wait for a limit",
                extra={
                    "action": "tasks_wait_for_limit",
                    "queue": line.queue,
                    "limit": line.name,
                    "tasks": len(admission.waiting),
                    "line": admission.line,
                },
            )
        if admission.line and not line.awaited:
            line.ask_now()

    async def _pause(self, failures: int) -> None:
        pause_s = backoff_s(failures, longest_s=self._timing.backoff.total_seconds(), random=self._random)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s)

    def _give_back(self, tasks: Sequence[Permitted]) -> None:
        for task in tasks:
            self._runner.give_back(task.leased, now=self._clock())

    def _still_ours(self, tasks: Sequence[Permitted]) -> list[Permitted]:
        now = self._clock()
        ours = []
        for task in tasks:
            if task.leased.lease_expires_at > now:
                ours.append(task)
            else:
                _tell_lost(task.leased)
        return ours

    def _tell_of_other(self, line: Line, declared: str) -> None:
        if not declared or declared == line.told:
            return
        line.told = declared  # two servers would else tell of each other at every call
        _logger.warning(
            "Servers declare different limits; each keeps its own",
            extra={
                "action": "limits_differ",
                "queue": line.queue,
                "limit": line.name or "(queue)",
                "ours": str(line.limit),
                "theirs": declared,
            },
        )


def _tell_lost(leased: Leased) -> None:
    message = leased.message
    _logger.error(
        "A task's lease was lost; it will run again elsewhere",
        extra={"action": "lease_lost", "queue": message.queue, "task_id": message.id, "task_type": message.type},
    )
