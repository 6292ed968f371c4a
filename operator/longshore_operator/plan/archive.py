"""The archive of a Queue: when its limits must be set in Redis, and when it must be trimmed by them.

Nothing is read of an archive but what each poll tells of every queue, its size. Its age is known from the last time
that it was trimmed: the oldest task can only have become younger since.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from longshore.protocol.snapshots import ArchiveLimits, QueueSnapshot
from longshore_operator.api import reasons
from longshore_operator.api.queue import Queue
from longshore_operator.plan.actions import LimitArchive, Note
from longshore_operator.plan.observed import ArchiveReading

TRIMMED_FIELD = "trimmedTasks"
# The limits have a lifetime in Redis, and someone may delete them.
_RENEWED_EVERY = timedelta(minutes=5)
_TOLD_EVERY = timedelta(minutes=10)


def plan_archive(
    queue: Queue, depth: QueueSnapshot, read_at: datetime | None, known: ArchiveReading | None, now: datetime
) -> LimitArchive | None:
    """What to do about the archive. ``read_at``: when ``depth`` was read."""
    wanted = _limits(queue)
    if wanted is None:
        # A process that has just started knows from the status that there were some.
        in_force = known.limits is not None if known is not None else TRIMMED_FIELD in queue.status
        return _action(queue, None, "spec.archive was removed") if in_force else None
    if known is None or known.limits != wanted:
        return _action(queue, wanted, "spec.archive is new or has changed")
    if known.left > 0:
        return _action(queue, wanted, f"{known.left} more tasks are beyond spec.archive")
    if known.oldest_at is not None and now >= known.oldest_at + wanted.max_age:
        return _action(queue, wanted, "the oldest archived task is older than spec.archive.maxAge")
    if depth.archived and (read_at is None or read_at > known.at):
        if depth.archived > wanted.max_tasks:
            return _action(queue, wanted, f"{depth.archived} tasks are archived")
        if known.oldest_at is None:
            return _action(queue, wanted, "the archive is no longer empty")
    if now >= known.at + _RENEWED_EVERY:
        return _action(queue, wanted, "the limits are renewed")
    return None


def trimmed_tasks(queue: Queue, known: ArchiveReading | None) -> int | None:
    """The status field; None without limits."""
    if known is not None:
        return None if known.limits is None else known.trimmed
    count: int | None = queue.status.get(TRIMMED_FIELD)
    return count


def archive_note(known: ArchiveReading | None, now: datetime) -> Note | None:
    """What to tell of tasks that were deleted. However many, it is told seldom."""
    if known is None or not known.untold or (known.told_at is not None and now < known.told_at + _TOLD_EVERY):
        return None
    message = f"{known.untold} archived tasks beyond spec.archive were deleted."
    return Note(type="Normal", reason=reasons.ARCHIVE_TRIMMED, message=message)


def _limits(queue: Queue) -> ArchiveLimits | None:
    archive = queue.spec.archive
    return None if archive is None else ArchiveLimits(max_tasks=archive.max_tasks, max_age=archive.max_age)


def _action(queue: Queue, limits: ArchiveLimits | None, why: str) -> LimitArchive:
    return LimitArchive(queue=queue.queue_name, limits=limits, why=why)
