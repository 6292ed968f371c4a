"""Task messages with defaults, for tests that care about one field."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from longshore.protocol.messages import TaskMessage


def new_message(type: str = "test:task", **fields: Any) -> TaskMessage:  # noqa: A002
    """A message as the client would make it: a fresh id, queue ``default``, 25 retries, 30 minutes."""
    defaults: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "queue": "default",
        "payload": b"{}",
        "timeout": timedelta(minutes=30),
    }
    return TaskMessage(type=type, **(defaults | fields))
