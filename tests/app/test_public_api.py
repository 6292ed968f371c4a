"""What `import longshore` gives: this list is the promise; a change of it is a change for users."""

from __future__ import annotations

import longshore

PUBLIC = {
    "App": "handlers are registered on it",
    "ArchiveLimits": "how much of an archive is kept",
    "ArchiveTrim": "what one step of trimming an archive did",
    "BrokerSnapshot": "what an inspector saw of a Redis at one time",
    "BrokerUnavailable": "Redis cannot be reached",
    "CallNext": "what a middleware goes on with",
    "CatchUp": "which missed ticks run",
    "Overlap": "whether a tick runs beside an earlier one's task",
    "PeriodicTask": "a task that is enqueued again and again",
    "Scheduler": "runs periodic tasks, embedded",
    "Client": "enqueues",
    "Context": "what a handler knows of its task",
    "DeadlineExceeded": "an attempt took too long",
    "DuplicateTask": "the unique lock is held",
    "EnqueueError": "a task was not created",
    "EnqueueMiddleware": "stands between a client's caller and Redis",
    "EnqueueNext": "what an enqueue middleware goes on with",
    "FailedAttempt": "what policies and error callbacks are told",
    "GroupSnapshot": "a group in which tasks wait",
    "ForeignError": "an error that cannot leave its process",
    "GroupedTask": "what an aggregator is given",
    "HandlerNotFound": "no handler for a type",
    "HandlerSignal": "root of what handlers raise on purpose",
    "Inspector": "reads and administers",
    "Interrupted": "an attempt was ended from outside",
    "InvalidData": "a peer's bytes cannot be read",
    "InvalidOption": "an option cannot be used",
    "LeaseExpired": "a worker died",
    "LongshoreError": "root of all",
    "Middleware": "code around handlers",
    "NO_TIMEOUT": "no time limit",
    "NotFound": "a queue or task is not there",
    "PayloadError": "the payload does not fit",
    "QueueDay": "what a queue counted on one day",
    "QueueNotEmpty": "a queue with tasks cannot be removed",
    "ProcessDied": "a handler's process ended before it",
    "ProcessError": "a handler in a process could not be run to its end",
    "QueueNotFound": "no such queue",
    "QueueSnapshot": "what an inspector saw of a queue",
    "RateLimit": "so many starts of tasks in a period",
    "RedisSettings": "where and how to connect",
    "RedisTls": "certificates and names of a TLS connection",
    "RetryAction": "retry, archive or drop",
    "RetryDecision": "what becomes of a failed task",
    "RetryLater": "raised to be attempted again after so long",
    "RetryPolicy": "growing delays, errors by type",
    "RevokeTask": "raised to drop a task",
    "Server": "runs handlers, embedded",
    "ServerSnapshot": "what an inspector saw of a worker server",
    "SkipRetry": "raised to archive a task",
    "SyncClient": "enqueues, without an event loop",
    "Task": "what to enqueue",
    "TaskCancelled": "somebody cancelled it",
    "TaskFailed": "a task that was waited for failed for good",
    "TaskIDConflict": "the id is taken",
    "TaskInfo": "a task as it is stored",
    "TaskNotFound": "no such task",
    "TaskResult": "what a completed task left behind",
    "TaskState": "where a task is",
    "UsageError": "the caller's mistake",
    "WrongState": "the task's state does not allow that",
    "WrongType": "a key holds another Redis type",
    "lifespan": "runs handlers inside a web service",
    "log_attempts": "a middleware that logs starts and successes",
    "run": "runs handlers until a signal",
}


def test_the_public_names_are_these() -> None:
    assert set(longshore.__all__) == set(PUBLIC)


def test_each_public_name_is_there_and_documented() -> None:
    for name in longshore.__all__:
        assert getattr(longshore, name).__doc__, name
