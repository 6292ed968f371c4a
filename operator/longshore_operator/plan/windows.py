"""Which of a pool's scheduled windows are open, and until when that answer holds.

A window opens at each tick of its cron and stays open for its duration, counted in elapsed time. Ticks follow the wall
clock of the zone by the rules of PeriodicTasks: a time of day that daylight saving leaves out opens nothing, one that
comes twice opens twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from longshore.errors import InvalidOption
from longshore.policy.periodic import Schedule
from longshore_operator.api import reasons
from longshore_operator.api.worker_pool import ScheduledMinimum

# An answer is computed anew after this time at the latest, so that neither a clock that jumped nor a schedule that has
# no tick for years needs a rule of its own.
_LONGEST_ANSWER = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleProblem:
    """Why one of the schedules opens no window."""

    reason: str  # one of api.reasons
    message: str  # names the field


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """What the schedules of a pool ask for. Nothing changes within ``since ≤ time < until``."""

    schedules: tuple[ScheduledMinimum, ...]
    open: ScheduledMinimum | None  # of the open windows the one that asks for most; None: none is open
    since: datetime
    until: datetime
    problem: ScheduleProblem | None  # of the first schedule that cannot be understood; the others go on

    @property
    def min_replicas(self) -> int:
        return 0 if self.open is None else self.open.min_replicas


def windows_at(schedules: tuple[ScheduledMinimum, ...], now: datetime, known: Windows | None) -> Windows:
    """``known`` as long as it holds: finding a place in the calendar is too much work for each second and pool."""
    if known is not None and known.since <= now < known.until and known.schedules == schedules:
        return known
    problem: ScheduleProblem | None = None
    opened: list[ScheduledMinimum] = []
    until = now + _LONGEST_ANSWER
    for number, each in enumerate(schedules):
        try:
            schedule = Schedule.parse(each.cron, each.time_zone)
        except InvalidOption as error:
            problem = problem or _problem(number, error)
            continue
        changes = schedule.next_after(now, now)
        tick = schedule.last_until(now, later_than=now - each.duration)
        if tick is not None:
            opened.append(each)
            changes = tick + each.duration
        if changes is not None:
            until = min(until, changes)
    highest = max(opened, key=lambda each: each.min_replicas, default=None)
    return Windows(schedules=schedules, open=highest, since=now, until=until, problem=problem)


def _problem(number: int, error: InvalidOption) -> ScheduleProblem:
    in_zone = error.field == "timeZone" or error.problem.startswith("unknown time zone")
    field = "timeZone" if error.field == "timeZone" else "cron"
    return ScheduleProblem(
        reason=reasons.INVALID_TIME_ZONE if in_zone else reasons.INVALID_SCHEDULE,
        message=f"spec.autoscaling.schedules[{number}].{field}: {error.problem}; the other schedules go on.",
    )
