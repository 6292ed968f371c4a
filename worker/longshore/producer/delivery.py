"""Gets new tasks to Redis, through an outage if it is short, and never twice."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random

from longshore.broker.base import Broker, EnqueueResult, NewTask, Sending
from longshore.errors import BrokerUnavailable, WrongType
from longshore.policy.backoff import pause_before

# How long Redis recognises a repeated call beyond the time in which it is repeated: one that was frozen reads, when it
# comes to itself, what was sent to it before.
_MARGIN = timedelta(seconds=60)


class Delivery:
    """Sends portions of tasks; each is repeated while Redis cannot be reached, for at most ``retry_for``.

    A call whose reply was lost may have been carried out, and its tasks may have run and be gone before it is repeated.
    So each names its sender and a number, which its script records with its reply: that is how the repetition is
    recognised. There are as many senders as there are calls under way at once.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        retry_for: timedelta,
        random: Random,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """``retry_for``: zero sends once, and records nothing. ``elapsed``: a clock of seconds that never goes back."""
        self._broker = broker
        self._retry_for_s = retry_for.total_seconds()
        self._lifetime = timedelta(seconds=-(-(retry_for + _MARGIN) // timedelta(seconds=1)))
        self._random = random
        self._elapsed = elapsed
        self._idle: list[_Sender] = []
        self._closing = False

    async def send(self, tasks: Sequence[NewTask], *, now: datetime) -> list[EnqueueResult | WrongType]:
        """Create the tasks of one portion. Raises BrokerUnavailable, after which they may or may not exist."""
        if self._closing:
            raise BrokerUnavailable("the client is closed")
        if not self._retry_for_s:
            return await self._broker.enqueue(tasks, now=now)
        sender = self._idle.pop() if self._idle else _Sender()
        results = await self._send(tasks, now, sender.next_call(self._lifetime))
        # Not after a failure or a cancellation: that call may still be carried out, and must not hide a later one.
        self._idle.append(sender)
        return results

    async def _send(self, tasks: Sequence[NewTask], now: datetime, sending: Sending) -> list[EnqueueResult | WrongType]:
        began = self._elapsed()
        tries = 0
        while True:
            tries += 1
            try:
                return await self._broker.enqueue(tasks, now=now, sending=sending)
            except BrokerUnavailable as error:
                pause_s = pause_before(tries, jitter=self._random.random()).total_seconds()
                spent_s = self._elapsed() - began
                if error.refused:
                    raise
                if self._closing or spent_s + pause_s >= self._retry_for_s:
                    raise BrokerUnavailable(
                        f"{error} (tried {tries} times in {spent_s:.1f} s; the tasks may or may not have been taken)"
                        if tries > 1
                        else f"{error} (tried for {spent_s:.1f} s; the tasks may or may not have been taken)"
                    ) from error
                await asyncio.sleep(pause_s)

    def close(self) -> None:
        """Let nothing be repeated any more."""
        self._closing = True


class _Sender:
    __slots__ = ("_calls", "_name")

    def __init__(self) -> None:
        self._name = uuid.uuid4().hex
        self._calls = 0

    def next_call(self, lifetime: timedelta) -> Sending:
        self._calls += 1
        return Sending(sender=self._name, number=self._calls, lifetime=lifetime)
