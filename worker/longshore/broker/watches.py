"""Waiting for tasks on a real Redis."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

from longshore.broker.connection import RedisConnection
from longshore.broker.reading import text
from longshore.broker.task_reading import reading_command, task_read
from longshore.errors import BrokerUnavailable
from longshore.protocol import keys
from longshore.protocol.snapshots import TaskInfo

# A wish to be told is forgotten when the one who wishes has not looked for so long.
_WISH_LIFETIME_S = 60

# A subscription silent for so long is probed.
_SUBSCRIPTION_IDLE = timedelta(seconds=15)


class RedisWatches:
    """Implements :class:`longshore.broker.watches_base.Watches`.

    A wish lies beside the queue, in a hash of channel and token that the settling scripts read. So nothing is published
    for tasks that nobody waits for: in a Redis Cluster each message goes to every node.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def look(self, queue: str, task_id: str, *, hearer: str, token: str, now: datetime) -> TaskInfo | None:
        wishes = keys.waiting(queue, task_id)
        # The wish before the look: what happens in between is told, what happened before is seen.
        *_, reply = await self._connection.run(
            [
                ("HSET", wishes, keys.hearer(hearer), token),
                ("EXPIRE", wishes, _WISH_LIFETIME_S),
                reading_command(queue, task_id, now),
            ]
        )
        return task_read(reply, now)

    async def hear(self, hearer: str) -> AsyncGenerator[str | None, None]:
        messages = self._connection.messages([keys.hearer(hearer)], idle=_SUBSCRIPTION_IDLE)
        async with contextlib.aclosing(messages):
            async for _, data in messages:
                if isinstance(data, BrokerUnavailable):
                    raise data
                yield None if data is None else text(data)
