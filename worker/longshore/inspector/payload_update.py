"""A new payload for a task that waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from longshore.broker.reading import text
from longshore.broker.scripts import UPDATE_PAYLOAD
from longshore.errors import DuplicateTask, TaskNotFound, WrongState
from longshore.inspector.connected import Connected
from longshore.protocol import codec, keys
from longshore.protocol.messages import TaskMessage
from longshore.task import encode_payload

# Each attempt that fails means that somebody else has changed the task in between.
_ATTEMPTS = 10


class PayloadUpdate(Connected):
    """The inspector's change of a task's content."""

    async def update_payload(self, queue: str, task_id: str, payload: Any) -> None:
        """Replace the payload of a task that is scheduled, pending, archived, or waits for a retry or in a group.

        ``payload`` as in Client.enqueue. In one step: no change that somebody else makes is undone. A unique lock that
        the task holds moves to the new payload, and keeps its lifetime. Of the message, only fields that Longshore
        knows are kept. Raises TaskNotFound; WrongState for any other state; DuplicateTask when another task holds the
        lock of the new payload; InvalidData when the task's content cannot be read.
        """
        data = encode_payload(payload)
        key = keys.task(queue, task_id)
        for _ in range(_ATTEMPTS):
            [(before, state)] = await self._redis.run([("HMGET", key, "msg", "state")])
            if state is None:
                raise TaskNotFound(queue, task_id)
            message = codec.decode_task(before or b"")
            changed = replace(message, payload=data)
            locks: list[str] = []
            if message.unique_key in _unique_keys(message):
                changed = replace(changed, unique_key=keys.unique(queue, message.type, data))
                if changed.unique_key != message.unique_key:
                    locks = [message.unique_key or "", changed.unique_key or ""]
            reply = await self._redis.call(
                UPDATE_PAYLOAD,
                [key, *locks],
                [task_id, keys.queue_prefix(queue), before or b"", codec.encode_task(changed)],
            )
            if reply == 1:
                return
            if reply == 0:
                raise TaskNotFound(queue, task_id)
            if reply == -1:
                raise WrongState(queue, task_id, text(state), "change")
            if reply == -3:
                raise DuplicateTask(
                    f"queue {queue!r}: another {message.type!r} task with this payload exists",
                    queue=queue,
                    task_id=task_id,
                )
        raise WrongState(queue, task_id, "being changed by others", "change")


def _unique_keys(message: TaskMessage) -> set[str]:
    """The lock's names by type and payload; another one does not depend on the payload. An empty one may be absent."""
    payloads = {message.payload, message.payload or b""}
    return {keys.unique(message.queue, message.type, payload) for payload in payloads}
