"""Queue: one queue of a Broker, watched, and paused on request."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from longshore_operator.api.broker import DEFAULT_BROKER
from longshore_operator.api.durations import Duration
from longshore_operator.api.resource import ApiModel, Resource


class QueueSpec(ApiModel):
    """What a person asks of a Queue."""

    broker_ref: str = DEFAULT_BROKER
    queue_name: str | None = None  # None: the object's name
    paused: bool | None = None  # None: whoever pauses it by hand decides
    max_latency: Duration | None = None  # None: no objective


class Queue(Resource):
    """A queue in Redis."""

    KIND: ClassVar[str] = "Queue"
    PLURAL: ClassVar[str] = "queues"

    spec: QueueSpec = Field(default_factory=QueueSpec)

    @property
    def queue_name(self) -> str:
        """The name in Redis."""
        return self.spec.queue_name or self.name
