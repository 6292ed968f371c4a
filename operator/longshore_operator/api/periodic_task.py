"""PeriodicTask: a task that is enqueued by the clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from longshore.protocol.periodic import CatchUp, Overlap
from longshore_operator.api.broker import DEFAULT_BROKER
from longshore_operator.api.durations import Duration
from longshore_operator.api.nesting import OpenObject
from longshore_operator.api.resource import ApiModel, Resource


class TaskTemplate(ApiModel):
    """The task that each tick enqueues."""

    type: str
    payload: OpenObject | None = None  # a JSON object
    payload_base64: str | None = None  # any bytes, instead of payload
    queue: str = "default"
    max_retry: int = 25
    timeout: Duration | None = None  # None: Asynq's own default
    retention: Duration | None = None  # None: forgotten when done
    unique_for: Duration | None = None  # None: not unique
    headers: Mapping[str, str] | None = None


class PeriodicTaskSpec(ApiModel):
    """What a person asks of a PeriodicTask."""

    broker_ref: str = DEFAULT_BROKER
    schedule: str
    time_zone: str | None = None  # None: the schedule's own prefix, or UTC
    task: TaskTemplate
    suspend: bool = False
    starting_deadline: Duration = timedelta(seconds=60)  # how late a tick may still run
    catch_up: CatchUp = CatchUp.LATEST
    overlap: Overlap = Overlap.ALLOW  # whether a tick runs while the task of an earlier one has not ended
    jitter: Duration = timedelta()  # how far a tick is delayed at most


class PeriodicTask(Resource):
    """A cron entry."""

    KIND: ClassVar[str] = "PeriodicTask"
    PLURAL: ClassVar[str] = "periodictasks"

    spec: PeriodicTaskSpec
