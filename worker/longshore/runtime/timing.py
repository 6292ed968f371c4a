"""Every period and limit of a worker server, in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""The wall clock, aware."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How often and how long. Lease, server lifetime and skew allowance are Asynq's: Go peers count on them."""

    lease: timedelta = timedelta(seconds=30)  # what dequeue and each beat grant
    heartbeat: timedelta = timedelta(
        seconds=5
    )  # server state and leases; a third of the server key's 10 s would be less
    announce_gap: timedelta = timedelta(milliseconds=200)  # least time between two early beats (idle ↔ busy)
    skew: timedelta = timedelta(seconds=30)  # a lease counts as lost only when over for so long (clocks may differ)
    recover: timedelta = timedelta(seconds=5)  # Asynq: 60 s; the check is one read a queue
    forward: timedelta = timedelta(seconds=1)  # Asynq: 5 s; due times are whole seconds, so finer gains nothing
    clock: timedelta = timedelta(seconds=60)  # between two looks at Redis' clock
    clock_at_start: timedelta = timedelta(seconds=1)  # how long a server waits for the first, before it takes tasks
    clean: timedelta = timedelta(seconds=8)  # as Asynq
    aggregate: timedelta = timedelta(seconds=1)  # Asynq: 7 s, or the grace period; the look is one script a queue
    aggregate_idle: timedelta = timedelta(seconds=2)  # the same where there is no group
    aggregate_aside: timedelta = timedelta(seconds=10)  # the same where another server does the duties of the queue
    aggregation: timedelta = timedelta(seconds=120)  # as Asynq: for so long a set is its server's
    aggregation_hold: timedelta = timedelta(seconds=5)  # before a failed one is tried again; doubled each time
    reclaim: timedelta = timedelta(seconds=60)  # as Asynq: sets of dead servers; those that aggregate look oftener
    sync: timedelta = timedelta(seconds=1)  # Asynq: 5 s
    announce: timedelta = timedelta(seconds=2)  # between two announcements of the duties that a server does
    silence: timedelta = timedelta(seconds=6)  # a server not heard for so long does its duties no more
    poll: timedelta = timedelta(seconds=1)  # whether a paused queue still is; and queues beyond the parking limit
    paused: timedelta = timedelta(seconds=60)  # a server asks itself so rarely, as it is told of the end of a pause
    park: timedelta = timedelta(seconds=20)  # one blocking wait on an empty queue, before it is renewed
    parking_limit: int = 16  # queues waited on, each with a connection of its own
    cancel_grace: timedelta = timedelta(seconds=5)  # for a cancelled handler to end before its task goes on without it
    error_callback: timedelta = timedelta(seconds=10)  # for one error callback to end
    settle_at_stop: timedelta = timedelta(seconds=3)  # for the last dequeue, and the last acknowledgements, at the end
    clear_at_stop: timedelta = timedelta(seconds=2)  # for removing a stopped server's keys
    permit_horizon: timedelta = timedelta(milliseconds=250)  # how far ahead a limit gives starts; they hold a slot then
    permit_poll: timedelta = timedelta(milliseconds=500)  # while tasks wait for others to end, on whatever server
    permit_grace: timedelta = timedelta(seconds=15)  # a cut-off worker sees its lease end within a beat, and ends tasks
    lines: timedelta = timedelta(seconds=10)  # between two looks whether tasks wait for limits without our knowing
    backoff: timedelta = timedelta(seconds=2)  # longest pause between attempts while Redis is away
    stuck: timedelta = timedelta(seconds=60)  # a duty busy with one step for longer is not alive
    loop_blocked: timedelta = timedelta(seconds=5)  # an event loop that stands still for longer is told of
