"""Queue: one queue of a Broker, watched, and paused on request."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import ClassVar

from pydantic import Field

from longshore_operator.api.broker import DEFAULT_BROKER
from longshore_operator.api.durations import Duration
from longshore_operator.api.resource import ApiModel, Resource


class DeletionPolicy(Enum):
    """What becomes of the queue in Redis when its object is deleted."""

    RETAIN = "Retain"  # it stays as it is
    DELETE_IF_EMPTY = "DeleteIfEmpty"  # the object waits until the queue has no tasks, and takes it along
    DELETE = "Delete"  # its tasks are deleted; those that are running end first


class ArchiveSpec(ApiModel):
    """How much of the archive is kept."""

    max_tasks: int = 10_000  # the newest
    max_age: Duration = timedelta(hours=2160)


class QueueSpec(ApiModel):
    """What a person asks of a Queue."""

    broker_ref: str = DEFAULT_BROKER
    queue_name: str | None = None  # None: the object's name
    paused: bool | None = None  # None: whoever pauses it by hand decides
    max_latency: Duration | None = None  # None: no objective
    archive: ArchiveSpec | None = None  # None: as whoever archives does it
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN


class Queue(Resource):
    """A queue in Redis."""

    KIND: ClassVar[str] = "Queue"
    PLURAL: ClassVar[str] = "queues"

    spec: QueueSpec = Field(default_factory=QueueSpec)

    @property
    def queue_name(self) -> str:
        """The name in Redis."""
        return self.spec.queue_name or self.name
