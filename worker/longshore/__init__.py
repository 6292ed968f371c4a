"""Longshore: background jobs on Redis, in Asynq's own protocol."""

from longshore.app import App
from longshore.attempt_log import log_attempts
from longshore.blocking import run
from longshore.broker.base import RedisSettings
from longshore.broker.tls import RedisTls
from longshore.client import Client
from longshore.context import Context
from longshore.embedding import lifespan
from longshore.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    DuplicateTask,
    EnqueueError,
    ForeignError,
    HandlerNotFound,
    HandlerSignal,
    Interrupted,
    InvalidData,
    InvalidOption,
    LeaseExpired,
    LongshoreError,
    NotFound,
    PayloadError,
    ProcessDied,
    ProcessError,
    QueueNotEmpty,
    QueueNotFound,
    RetryLater,
    RevokeTask,
    SkipRetry,
    TaskCancelled,
    TaskFailed,
    TaskIDConflict,
    TaskNotFound,
    UsageError,
    WrongState,
    WrongType,
)
from longshore.group_aggregator import GroupedTask
from longshore.inspector import Inspector
from longshore.middleware import CallNext, Middleware
from longshore.periodic_task import PeriodicTask
from longshore.policy.failed_attempt import FailedAttempt, RetryAction, RetryDecision
from longshore.policy.limits import RateLimit
from longshore.policy.retry_policy import RetryPolicy
from longshore.producer.middleware import EnqueueMiddleware, EnqueueNext
from longshore.producer.results import TaskResult
from longshore.protocol.periodic import CatchUp, Overlap
from longshore.protocol.snapshots import (
    ArchiveLimits,
    ArchiveTrim,
    BrokerSnapshot,
    GroupSnapshot,
    QueueDay,
    QueueSnapshot,
    ServerSnapshot,
    TaskInfo,
)
from longshore.protocol.states import TaskState
from longshore.scheduler import Scheduler
from longshore.server import Server
from longshore.sync_client import SyncClient
from longshore.task import NO_TIMEOUT, Task

__all__ = [
    "NO_TIMEOUT",
    "App",
    "ArchiveLimits",
    "ArchiveTrim",
    "BrokerSnapshot",
    "BrokerUnavailable",
    "CallNext",
    "CatchUp",
    "Client",
    "Context",
    "DeadlineExceeded",
    "DuplicateTask",
    "EnqueueError",
    "EnqueueMiddleware",
    "EnqueueNext",
    "FailedAttempt",
    "ForeignError",
    "GroupSnapshot",
    "GroupedTask",
    "HandlerNotFound",
    "HandlerSignal",
    "Inspector",
    "Interrupted",
    "InvalidData",
    "InvalidOption",
    "LeaseExpired",
    "LongshoreError",
    "Middleware",
    "NotFound",
    "Overlap",
    "PayloadError",
    "PeriodicTask",
    "ProcessDied",
    "ProcessError",
    "QueueDay",
    "QueueNotEmpty",
    "QueueNotFound",
    "QueueSnapshot",
    "RateLimit",
    "RedisSettings",
    "RedisTls",
    "RetryAction",
    "RetryDecision",
    "RetryLater",
    "RetryPolicy",
    "RevokeTask",
    "Scheduler",
    "Server",
    "ServerSnapshot",
    "SkipRetry",
    "SyncClient",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskIDConflict",
    "TaskInfo",
    "TaskNotFound",
    "TaskResult",
    "TaskState",
    "UsageError",
    "WrongState",
    "WrongType",
    "lifespan",
    "log_attempts",
    "run",
]
