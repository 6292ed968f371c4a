"""A queue's own limits of the archive, in place of Asynq's 9,999 tasks and 90 days."""

from __future__ import annotations

from datetime import timedelta

from longshore.broker.limits import ARCHIVE_LIMITS_LIFETIME
from longshore.broker.reading import text
from longshore.broker.scripts import LIMIT_ARCHIVE
from longshore.errors import InvalidOption
from longshore.inspector.connected import Connected
from longshore.protocol import codec, keys
from longshore.protocol.snapshots import ArchiveLimits, ArchiveTrim

_CHUNK = 250  # tasks that one call deletes for each of the two reasons: some milliseconds


class Archive(Connected):
    """The inspector's acts on archives."""

    async def limit_archive(self, queue: str, limits: ArchiveLimits) -> ArchiveTrim:
        """Have an archive keep no more than this, and delete up to 500 tasks that are beyond it.

        Call it again while ``left`` says so, and now and then: the limits hold for seven days after the last call, and
        Go servers archive by their own. Python servers archive by these at once. A deleted task frees its unique lock.
        Raises InvalidOption, and WrongType.
        """
        if limits.max_tasks < 1:
            raise InvalidOption("max_tasks", "must be at least 1")
        if limits.max_age < timedelta(seconds=1):
            raise InvalidOption("max_age", "must be at least 1 second")
        deleted, ever, left, oldest = await self._redis.call(
            LIMIT_ARCHIVE,
            [keys.archive_limits(queue), keys.archived(queue)],
            [
                keys.task_prefix(queue),
                codec.unix_seconds(self._clock()),
                limits.max_tasks,
                limits.max_age // timedelta(seconds=1),
                ARCHIVE_LIMITS_LIFETIME // timedelta(seconds=1),
                _CHUNK,
            ],
        )
        oldest_at = codec.from_unix_seconds(float(text(oldest))) if oldest else None
        return ArchiveTrim(deleted=deleted, deleted_ever=ever, left=left, oldest_at=oldest_at)

    async def unlimit_archive(self, queue: str) -> bool:
        """Undo limit_archive: from now on the archive is kept as Asynq does. False when it had no limits."""
        [deleted] = await self._redis.run([("DEL", keys.archive_limits(queue))])
        return bool(deleted)
