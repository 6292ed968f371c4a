"""WorkerPool: workers of some queues, as many as the backlog needs."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from longshore_operator.api.broker import DEFAULT_BROKER
from longshore_operator.api.durations import Duration
from longshore_operator.api.nesting import OpenObject
from longshore_operator.api.resource import ApiModel, Resource


class WeightedQueue(ApiModel):
    """A queue in Redis that a pool serves."""

    name: str
    weight: int = 1  # Asynq's priority: the chance to be asked first, or the rank when priority is strict


class ScaleUp(ApiModel):
    """How fast a count may grow."""

    stabilization: Duration = timedelta(0)  # the lowest demand of this long counts
    max_step: int | str = "100%"  # replicas, or percent of maxReplicas


class ScaleDown(ApiModel):
    """How fast a count may shrink."""

    stabilization: Duration = timedelta(seconds=60)  # the highest demand of this long counts
    max_step: int | str = "100%"  # replicas, or percent of maxReplicas


class ScheduledMinimum(ApiModel):
    """Windows of time with more workers than the pool's own minimum: one opens at each tick of a cron."""

    cron: str
    time_zone: str | None = None  # None: UTC
    duration: Duration
    min_replicas: int


class FallbackBehavior(StrEnum):
    """What becomes of the count while Redis cannot be read."""

    HOLD = "Hold"
    STATIC = "Static"
    CURRENT_IF_HIGHER = "CurrentIfHigher"


class Fallback(ApiModel):
    """What to do while Redis cannot be read."""

    after_failures: int = 3  # polls in a row
    behavior: FallbackBehavior = FallbackBehavior.HOLD
    replicas: int | None = None  # given unless the behavior is Hold


class Autoscaling(ApiModel):
    """The bounds and the manner of scaling by backlog."""

    min_replicas: int = 0
    max_replicas: int
    target_per_replica: int | None = None  # tasks waiting or running per replica; None: twice the concurrency
    target_latency: Duration | None = None  # in what time the backlog shall be worked off, once the speed is known
    lookahead: Duration = timedelta(0)  # scheduled and retry tasks that are due within it count as waiting
    scale_up: ScaleUp = Field(default_factory=ScaleUp)
    scale_down: ScaleDown = Field(default_factory=ScaleDown)
    zero_after: Duration = timedelta(seconds=120)  # idle time before the step to zero
    schedules: tuple[ScheduledMinimum, ...] | None = None
    fallback: Fallback = Field(default_factory=Fallback)
    paused: bool = False  # the count stays as it is
    dry_run: bool = False  # decide and report, but leave the count to others


class RollingUpdate(ApiModel):
    """How workers of an older spec are replaced: workers, or percent of the count."""

    # New pods are ready before old ones go: capacity never falls below the count, and a broken image takes no working
    # pod away. An old worker that has to go finishes its tasks meanwhile.
    max_unavailable: int | str = 0
    max_surge: int | str = "25%"
    min_ready_seconds: int = 0  # how long a new one must have been ready before an old one goes for it


class Disruption(ApiModel):
    """What the drain of a node may take at once: workers, or percent of the count."""

    max_unavailable: int | str = 1


class WorkerPoolSpec(ApiModel):
    """What a person asks of a WorkerPool."""

    broker_ref: str = DEFAULT_BROKER
    queues: tuple[WeightedQueue, ...]
    strict_priority: bool = False
    image: str | None = None  # None: the template's
    app: str | None = None  # module:attribute; None: the image's or the template's own command runs
    concurrency: int = 20  # tasks one worker runs at once
    replicas: int = 1  # without autoscaling; what /scale writes
    drain_seconds: int = 60
    autoscaling: Autoscaling | None = None
    rollout: RollingUpdate = Field(default_factory=RollingUpdate)
    disruption: Disruption | None = None  # None: no PodDisruptionBudget
    template: OpenObject | None = None  # a PodTemplateSpec; its container `worker` is ours to complete


class WorkerPool(Resource):
    """A pool of workers."""

    KIND: ClassVar[str] = "WorkerPool"
    PLURAL: ClassVar[str] = "workerpools"

    spec: WorkerPoolSpec
