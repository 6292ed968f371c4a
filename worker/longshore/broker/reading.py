"""From what lies in a task's hash to a message, or to what is wrong with it."""

from __future__ import annotations

from longshore.errors import InvalidData
from longshore.protocol import codec
from longshore.protocol.messages import TaskMessage


def read_message(queue: str, task_id: bytes, data: bytes | None) -> TaskMessage:
    """The task, if it is one and the one its keys say. Raises InvalidData."""
    if data is None:
        raise InvalidData("the task has no content")
    message = codec.decode_task(data)
    # What becomes of a task is written under the names in its message; those of another would never be cleaned up.
    if message.id.encode() != task_id:
        raise InvalidData(f"the task's content is that of task {message.id!r}")
    if message.queue != queue:
        raise InvalidData(f"the task's content is that of queue {message.queue!r}")
    return message


def text(data: bytes) -> str:
    """Text for people and logs, whatever the bytes are."""
    return data.decode("utf-8", "replace")
