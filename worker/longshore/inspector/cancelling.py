"""Asking servers to end a task that they run."""

from __future__ import annotations

from longshore.errors import InvalidOption
from longshore.inspector.connected import Connected
from longshore.protocol import keys
from longshore.protocol.notices import Afterwards, CancelTask


class Cancelling(Connected):
    """The inspector's word to servers."""

    async def cancel(self, task_id: str, *, queue: str | None = None, then: str = "retry") -> int:
        """Ask whichever server runs the task to cancel it; how many servers heard it. Nothing is stored.

        With a ``queue``, Longshore's servers cancel the task of that queue; without one, and Go servers always, every
        task of that id. ``then``: what Longshore's servers do with the task: "retry" counts as a failure and may retry
        it, as Go servers always do; "archive" archives it at once, "delete" deletes it; both need the queue.
        """
        try:
            afterwards = Afterwards(then)
        except ValueError:
            raise InvalidOption("then", f"is {then!r}; give retry, archive or delete") from None
        if queue is not None:
            # A round trip of its own: our servers must hear it before the bare id.
            await self._broker.notify(CancelTask(queue=queue, task_id=task_id, then=afterwards))
        elif afterwards is not Afterwards.RETRY:
            raise InvalidOption("then", f"{then!r} needs the task's queue: Asynq's own cancellation cannot say it")
        [listeners] = await self._redis.run([("PUBLISH", keys.CANCEL_CHANNEL, task_id)])
        return int(listeners)
